"""What a programming policy receives, a chip, and what it returns, a programmed chip."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from swim.devices.bit_sliced import Device
from swim.devices.chunks import stretches
from swim.devices.equal_variance import at_equal_variance
from swim.runtime import rng
from swim.runtime.normals import Errors, write_with_errors

_MOST = 1e38  # what float32 can hold, and some more


@dataclass(frozen=True)
class Chip:
    """One accelerator to program: its target weights and the noise realisation of its devices.

    Attributes:
        targets: weight name -> ideal weight, quantised if the network is.
        device: the memory device.
        seed: the experiment's seed.
        index: the chip's number.
    """

    targets: Mapping[str, Tensor]
    device: Device
    seed: int
    index: int

    def __post_init__(self) -> None:
        # swim.evaluation.monte_carlo does it once for all its chips; this is for a chip by itself.
        object.__setattr__(self, "device", at_equal_variance(self.device, self.targets))

    @cached_property
    def scales(self) -> dict[str, float]:
        """``max|W|`` of each layer."""
        return {name: _largest(target) for name, target in self.targets.items()}

    def unit_errors(self, name: str, write: int = 0) -> Tensor:
        """Error of each weight at its n-th write, in units of its standard deviation, float32.

        One standard normal per (chip, layer, weight), from a random generator keyed by these
        alone, so the sample is the same for every method, fraction, sigma and verified state.
        Later writes, 1, 2, ..., have independent samples.
        """
        purpose = f"write {write}" if write else "chip"
        return self._draw(purpose, name, self.targets[name].shape)

    def with_errors(
        self, name: str, std: float, mask: Tensor | None = None, masked_std: float = 0.0
    ) -> Tensor:
        """The target plus :meth:`unit_errors` times a standard deviation, as a new tensor.

        On a CPU the weights pass once through memory: a chunk of normals is scaled and added while
        it is in the cache.

        Args:
            name: the layer's weight.
            std: the standard deviation.
            mask: bool, shaped like the weight: where ``masked_std`` is taken instead.
            masked_std: that standard deviation.
        """
        target = self.targets[name]
        if mask is not None:
            mask = mask.to(target.device)
        if not (_is_plain(target) and abs(std) + abs(masked_std) < _MOST):
            factor = std if mask is None else torch.where(mask, masked_std, std)
            return target + self.unit_errors(name).mul_(factor).to(target.dtype)
        result = torch.empty_like(target)
        factors = (std, None if mask is None else mask.contiguous().view(-1).numpy(), masked_std)
        write_with_errors(
            self._generator("chip", name).bit_generator,
            Errors(target.view(-1).numpy(), *factors),
            result.view(-1).numpy(),
        )
        return result

    def normals(self, name: str) -> Tensor:
        """Standard normals of a layer's devices at their first write: (slices, *weight.shape).

        They are independent, and weighted by the significances s their sum is |s| times the
        weight's own normal z (:meth:`unit_errors`): ``e = y + u (z - u.y)``, u = s / |s|, with
        independent normals y. A policy for whole weights thus needs one sample per weight, and
        meets the same noise realisation as a policy for single devices.
        """
        target = self.targets[name]
        significance = torch.tensor(self.device.significance, device=target.device)
        direction = significance / significance.norm()
        own = self._draw("slices", name, (self.device.slices, *target.shape))
        rest = self.unit_errors(name).sub_(torch.tensordot(direction, own, dims=1)).view(-1)
        flat = own.view(len(own), -1)
        for at in stretches(len(rest), len(own)):  # in place, in the processor's cache
            for part, share in zip(flat, direction, strict=True):
                part[at] += share * rest[at]
        return own

    def _draw(self, purpose: str, name: str, shape: tuple[int, ...]) -> Tensor:
        draw = torch.from_numpy(rng.normals(self._generator(purpose, name), *shape))
        return draw.to(self.targets[name].device)

    def _generator(self, purpose: str, name: str) -> np.random.Generator:
        return rng.generator(self.seed, purpose, self.index, name)


def _largest(target: Tensor) -> float:
    """``max|W|``, without a tensor of magnitudes."""
    low, high = target.detach().aminmax()
    return float(torch.maximum(high, -low).abs())


def _is_plain(target: Tensor) -> bool:
    """Whether a tensor is float32 numbers without gaps in the CPU's memory, and no gradient's."""
    kind = target.layout is torch.strided and target.dtype is torch.float32 and target.is_cpu
    return kind and target.is_contiguous() and not target.requires_grad


@dataclass(frozen=True)
class Programmed:
    """A chip after programming.

    Attributes:
        weights: weight name -> weight as the devices hold it.
        nwc: normalised write cycles: cycles beyond each device's first write, over those of full
            write-verify on the same chip.
        reads: mean number of reads per device.
    """

    weights: dict[str, Tensor]
    nwc: float
    reads: float = 0.0


class Policy(Protocol):
    """Writes the devices of one chip."""

    def program(self, chip: Chip) -> Programmed:
        """Program ``chip`` and count what it cost."""
