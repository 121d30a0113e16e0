"""Devices whose middle levels vary more: the four-level scheme of the SWIM authors' later code.

Source of the names and of s: later code by the authors of SWIM (Yan, Hu and Shi, DAC 2022,
arXiv:2202.08395). We know of no measurement behind them.
Unit: factors of sigma, which is a fraction of a device's full scale. Valid for levels in [0, 1] of
devices of two bits or more; anything else raises.

A level x, a fraction of full scale, has the standard deviation

    s sigma / n  if 0.25 < x < 0.75,  otherwise  sigma / n,    n = sqrt(0.4 s^2 + 0.6),

with one s for each device. n makes the mean variance sigma^2 where two in five devices hold a
middle level; for a network, :func:`swim.devices.equal_variance.relative_variance` computes it.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swim.errors import SettingError

if TYPE_CHECKING:  # the pipeline calls `check` before any work, without torch
    from torch import Tensor


@dataclass(frozen=True)
class MiddleLevels:
    """Factors of sigma: unitless; levels are fractions of a device's full scale.

    Meant for two-bit devices, whose levels are 0, 1/3, 2/3 and 1. Devices of more bits are
    accepted: half of their levels lie in the band, too. A one-bit device has no level in the band,
    so only n would remain of the scheme, and a larger s would make better devices.

    Attributes:
        s: standard deviation of middle levels over that of the others.
    """

    s: float

    def check(self, bits: int) -> None:
        """Raise SettingError where devices of so many bits have no middle level."""
        if bits < 2:
            raise SettingError(
                f"K is {bits}, but this is a scheme of four levels, and a device of one bit holds "
                "no middle level; set K to 2 (or more)"
            )

    def __call__(self, levels: "Tensor") -> "Tensor":
        """Factors of sigma at levels, in the same shape.

        Raises:
            SettingError: a level is not in [0, 1].
        """
        inside = (levels >= 0) & (levels <= 1)
        if not inside.all():
            wrong = float(levels[~inside].flatten()[0])
            raise SettingError(f"level {wrong:g} is not between 0 and 1 of a device's full scale")
        middle = (levels > 0.25) & (levels < 0.75)
        n = math.sqrt(0.4 * self.s**2 + 0.6)
        return levels.new_full(levels.shape, 1 / n).masked_fill_(middle, self.s / n)


# The factor by which the two middle levels of four vary more than the others.
RRAM1 = MiddleLevels(s=1)  # the same sigma at all levels
FEFET2 = MiddleLevels(s=2)
RRAM4 = MiddleLevels(s=4)
FEFET6 = MiddleLevels(s=6)
