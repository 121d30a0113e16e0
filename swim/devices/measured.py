"""A device of the user's own measurements: sigma by level, from a CSV file."""

import math
import os
from dataclasses import dataclass

import torch
from torch import Tensor

from swim.data import level_table
from swim.errors import SettingError

_ROUNDING = 1e-6  # of levels in float32


@dataclass(frozen=True)
class Table:
    """Standard deviation by level, interpolated linearly between measurements.

    As a device's ``variation`` it returns sigmas, fractions of full scale, where others return
    factors of sigma: a device of ``sigma=1`` is as measured.

    Attributes:
        path: the file of the measurements, for messages.
        levels: rising, in [0, 1] of full scale.
        sigmas: of each.

    Raises:
        SettingError: there are fewer than two levels, they do not rise from 0 to 1, or a sigma is
            negative or not finite.
    """

    path: str
    levels: tuple[float, ...]
    sigmas: tuple[float, ...]

    def __post_init__(self) -> None:
        pairs = list(zip((-math.inf, *self.levels), self.levels, strict=False))
        rising = all(before < level and 0 <= level <= 1 for before, level in pairs)
        if len(self.levels) < 2 or len(self.levels) != len(self.sigmas) or not rising:
            raise SettingError(
                f"{self.path}: needs at least two levels that rise from 0 to 1, and a sigma of each"
            )
        if not all(0 <= sigma < math.inf for sigma in self.sigmas):
            raise SettingError(f"{self.path}: a sigma is negative or not finite")

    @property
    def label(self) -> str:
        """What messages call it."""
        return self.path

    def __call__(self, levels: Tensor) -> Tensor:
        """Sigmas at levels, in the same shape.

        Raises:
            SettingError: a level is outside the range that was measured.
        """
        at = levels.double()
        low, high = self.levels[0], self.levels[-1]
        outside = ~((at >= low - _ROUNDING) & (at <= high + _ROUNDING))
        if outside.any():
            raise SettingError(
                f"{self.path}: covers levels from {low:g} to {high:g}, but a device must hold "
                f"level {float(at[outside][0]):g}; add a measurement there"
            )
        known, sigmas = (
            torch.tensor(values, dtype=torch.float64, device=levels.device)
            for values in (self.levels, self.sigmas)
        )
        at = at.clamp(low, high)
        upper = torch.searchsorted(known, at.contiguous()).clamp(1, len(known) - 1)
        part = (at - known[upper - 1]) / (known[upper] - known[upper - 1])
        return torch.lerp(sigmas[upper - 1], sigmas[upper], part).to(levels.dtype)


def table(path: str | os.PathLike[str]) -> Table:
    """The device of a file with the columns ``level`` and ``sigma``, both fractions of full scale.

    Returns:
        For the argument ``variation`` of :class:`swim.Device`, whose ``sigma`` is then a factor: 1
        is as measured.

    Raises:
        DataError: as :func:`swim.data.level_table.read`.
    """
    return Table(str(path), *level_table.read(path))


# The name that settings know it by.
read = table
