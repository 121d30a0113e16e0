"""What a programming policy is given and what it gives back."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from swim import streams
from swim.devices import Device


@dataclass(frozen=True)
class Chip:
    """One accelerator to program: its target weights and the luck of its devices.

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

    @cached_property
    def scales(self) -> dict[str, float]:
        """``max|W|`` of each layer."""
        return {name: float(target.abs().max()) for name, target in self.targets.items()}

    def normals(self, name: str) -> Tensor:
        """Standard normals of a layer's first write: (slices, *weight.shape), float32.

        One draw per (chip, layer, weight, slice), from a stream keyed by exactly these, so it
        is the same for every method, fraction, sigma and verified state.
        """
        target = self.targets[name]
        draw = streams.generator(self.seed, "chip", self.index, name).standard_normal(
            (self.device.slices, *target.shape), dtype="float32"
        )
        return torch.from_numpy(draw).to(target.device)


@dataclass(frozen=True)
class Programmed:
    """A chip after programming.

    Attributes:
        weights: weight name -> weight as the devices hold it.
        nwc: write cycles beyond each device's first, over those of verifying everything.
    """

    weights: dict[str, Tensor]
    nwc: float


class Policy(Protocol):
    """Writes the devices of one chip."""

    def program(self, chip: Chip) -> Programmed:
        """Program ``chip`` and count what it cost."""
