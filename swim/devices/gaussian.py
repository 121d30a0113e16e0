"""Bit-sliced devices with Gaussian programming error, uniform over all conductances."""

import math
from dataclasses import dataclass
from typing import Literal

from swim.errors import SettingError


@dataclass(frozen=True)
class Device:
    """A weight's M-bit magnitude, sliced over M/K devices of K bits each.

    Device j adds ``N(0, sigma^2)``, of its own full-scale conductance, at its significance
    (SWIM, DAC 2022, arXiv:2202.08395, and its first release).

    Attributes:
        sigma: standard deviation of a device programmed once, as a part of its full scale.
        M: bits of the magnitude.
        K: bits a device.
        verified_sigma: the same after write-verify.
        tolerance: error inside which write-verify leaves a device, a part of its full scale.
        convention: ``full-scale``: slice j weighs ``(2^K - 1) 2^(jK) / (2^M - 1)``,
            j = 0 .. M/K - 1, so that one device (M = K) has exactly sigma.
            ``release``: ``2^(-iK)``, i = 1 .. M/K, as the first release draws it. The two
            differ threefold at K = 2.

    Raises:
        SettingError: a value is out of range or M is no multiple of K.
    """

    sigma: float
    M: int = 4
    K: int = 4
    verified_sigma: float = 0.03
    convention: Literal["full-scale", "release"] = "full-scale"
    tolerance: float = 0.06

    def __post_init__(self) -> None:
        for name in ("sigma", "verified_sigma"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise SettingError(f"{name} must be a finite number of at least 0, not {value!r}")
        if not self.tolerance > 0:
            raise SettingError(f"tolerance must be positive, not {self.tolerance!r}")
        if self.M < 1 or self.K < 1 or self.M % self.K:
            raise SettingError(f"M must be a multiple of K, both positive: M={self.M}, K={self.K}")
        if self.convention not in ("full-scale", "release"):
            raise SettingError(
                f"unknown convention {self.convention!r}; known: full-scale, release"
            )

    @property
    def slices(self) -> int:
        """Devices a weight."""
        return self.M // self.K

    @property
    def significance(self) -> tuple[float, ...]:
        """Weight of each slice's error in units of ``max|W_layer|``, the most significant first."""
        if self.convention == "release":
            return tuple(2.0 ** (-i * self.K) for i in range(1, self.slices + 1))
        unit = (2**self.K - 1) / (2**self.M - 1)
        return tuple(unit * 2.0 ** (j * self.K) for j in reversed(range(self.slices)))

    def weight_std(self, verified: bool) -> float:
        """Standard deviation of a programmed weight, in units of ``max|W_layer|``."""
        sigma = self.verified_sigma if verified else self.sigma
        return sigma * math.sqrt(sum(s**2 for s in self.significance))
