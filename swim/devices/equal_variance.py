"""Mean variance of a network on devices whose error depends on their level, and its rescaling."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from swim.devices import level_factors
from swim.devices.bit_sliced import Device
from swim.errors import SettingError


@dataclass(frozen=True)
class Scaled:
    """A variation times a factor."""

    variation: Callable[[Tensor], Tensor]
    factor: float

    @property
    def label(self) -> str:
        """What messages call it."""
        return level_factors.label(self.variation)

    def __call__(self, levels: Tensor) -> Tensor:
        """Factors of sigma at levels, in the same shape."""
        return self.variation(levels) * self.factor


def relative_variance(device: Device, targets: Mapping[str, Tensor]) -> float:
    """Mean variance of programmed weights, over that with the same sigma at all levels.

    The mean over all weights of ``sum_j s_j^2 f_j^2 / sum_j s_j^2``: s_j is the significance of a
    weight's slice j and f_j the variation's factor at that device's target level, for devices
    written once, without clipping. Levels are counted first, so the order of sums changes no bit.

    Args:
        device: the memory device; its ``equal_variance`` is ignored.
        targets: weight name -> ideal weight.
    """
    if device.variation is None:
        return 1.0
    top = 2**device.K - 1
    factors = device.factors(torch.arange(top + 1) / top).double() ** 2
    counts = torch.zeros(device.slices, top + 1, dtype=torch.int64)
    for target in targets.values():
        levels = device.levels(device.magnitudes(target).flatten()).cpu()
        for own, digits in zip(counts, (levels * top).round().long(), strict=True):
            own += torch.bincount(digits, minlength=top + 1)
    squares = torch.tensor(device.significance, dtype=torch.float64) ** 2
    means = counts.double() @ factors / counts[0].sum()
    return float(squares @ means / squares.sum())


def at_equal_variance(device: Device, targets: Mapping[str, Tensor]) -> Device:
    """A device with ``equal_variance``, rescaled for this network; any other device as it is.

    All its sigmas are divided by the root of :func:`relative_variance`, so that the mean variance
    of the network's weights is that of devices of one sigma.

    Raises:
        SettingError: the mean variance is zero.
    """
    if not device.equal_variance or device.variation is None:
        return device
    variance = relative_variance(device, targets)
    if not variance > 0:
        raise SettingError(
            "equal_variance: sigma is 0 at every level that this network's devices hold, and "
            "cannot be rescaled; leave equal_variance out"
        )
    scaled = Scaled(device.variation, 1 / math.sqrt(variance))
    return dataclasses.replace(device, variation=scaled, equal_variance=False)
