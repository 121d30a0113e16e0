"""Bit-sliced devices with Gaussian programming error."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from swim.devices import level_factors
from swim.errors import SettingError, short
from swim.settings.arguments import flag, number, whole
from swim.settings.sections import SMALLEST_TOLERANCE

# Of full scale; and bits, beyond which a magnitude in single precision has no digits.
LARGEST_SIGMA, MOST_BITS = 1000, 24
WriteVerify = Literal["closed_form", "redraw", "pulse"]
Convention = Literal["full-scale", "release"]


@dataclass(frozen=True)
class Device:
    """A weight's M-bit magnitude, sliced over M/K devices of K bits each.

    Device j adds ``N(0, sigma^2)``, of its own full-scale conductance, at its significance
    (SWIM, DAC 2022, arXiv:2202.08395, and its first release).

    Attributes:
        sigma: standard deviation of a device written once, as a fraction of its full scale.
        M: bits of the magnitude.
        K: bits per device.
        verified_sigma: the standard deviation after write-verify, in the closed form.
        convention: ``full-scale``: slice j weighs ``(2^K - 1) 2^(jK) / (2^M - 1)``,
            j = 0 .. M/K - 1, so that one device (M = K) has exactly sigma.
            ``release``: ``2^(-iK)``, i = 1 .. M/K, as the first release draws it. The two
            differ threefold at K = 2.
        tolerance: write-verify accepts a device read within this error, a fraction of full scale.
        write_verify: ``closed_form``: a verified device's error has ``verified_sigma``, and its
            cycles are those that ``redraw`` expects. ``redraw``, ``pulse``: cycle by cycle, see
            :mod:`swim.devices.write_verify`.
        read_noise: standard deviation of a read, a fraction of full scale; needs simulated cycles.
        clip: whether a conductance stays between zero and full scale; needs simulated cycles.
        cycle_limit: write-verify gives up a device after this many rewrites.
        pulse_gain: fraction of the remaining error that a pulse removes on average.
        variation: how the standard deviation depends on a device's level: a function of levels,
            fractions of full scale, that returns factors of sigma of the same shape; None if it
            does not depend on the level. :func:`swim.table` makes one of measurements,
            :func:`swim.variation` of a name. It must be hashable, may have a method
            ``check(bits)`` that refuses a K, and is tried at every level of a device, on CPU.
        equal_variance: whether the variation is rescaled for each network, so that the mean
            variance of its weights is that of devices of one sigma, see
            :func:`swim.devices.equal_variance.at_equal_variance`.

    Raises:
        SettingError: a value is out of range, M is no multiple of K, or the variation gives no
            factors (:func:`swim.devices.level_factors.require`).
    """

    sigma: float
    M: int = 4
    K: int = 4
    verified_sigma: float = 0.03
    convention: Convention = "full-scale"
    tolerance: float = 0.06
    write_verify: WriteVerify = "closed_form"
    read_noise: float = 0.0
    clip: bool = False
    cycle_limit: int = 1000
    pulse_gain: float = 0.2
    variation: Callable[[Tensor], Tensor] | None = None
    equal_variance: bool = False

    def __post_init__(self) -> None:
        self._numbers()
        if self.M % self.K:
            raise SettingError(f"M ({self.M}) must be a multiple of K ({self.K})")
        for name, known in (("convention", Convention), ("write_verify", WriteVerify)):
            value = getattr(self, name)
            if not isinstance(value, str) or value not in get_args(known):
                names = ", ".join(get_args(known))
                raise SettingError(f"unknown {name} {short(value)}; known: {names}")
        if self.write_verify == "closed_form" and (self.read_noise or self.clip):
            raise SettingError(
                "read_noise and clip need simulated write cycles; set write_verify to redraw or "
                "pulse instead of closed_form"
            )
        if self.equal_variance and self.variation is None:
            raise SettingError(
                "equal_variance rescales a variation, and this device has none; give a variation, "
                "or leave equal_variance out"
            )
        if self.variation is not None:
            level_factors.require(self.variation, self.K)

    def _numbers(self) -> None:
        """Check numbers, and keep numpy's as Python's, so that equal devices are equal."""
        for name in ("sigma", "verified_sigma", "read_noise"):
            try:
                self._keep(name, number(name, getattr(self, name), 0, LARGEST_SIGMA))
            except SettingError:
                raise SettingError(
                    f"{name} must be a finite number of at least 0 and at most {LARGEST_SIGMA}, "
                    f"not {short(getattr(self, name))}"
                ) from None
        self._keep("tolerance", number("tolerance", self.tolerance, 0, above=True))
        if self.tolerance < SMALLEST_TOLERANCE:
            raise SettingError(
                f"tolerance ({self.tolerance}) must be at least {SMALLEST_TOLERANCE:g}: what is "
                "smaller is lost in rounding"
            )
        self._keep("pulse_gain", number("pulse_gain", self.pulse_gain, 0, 1, above=True))
        self._keep("cycle_limit", whole("cycle_limit", self.cycle_limit, 1))
        for name in ("M", "K"):
            try:
                self._keep(name, whole(name, getattr(self, name), 1, MOST_BITS))
            except SettingError as error:
                raise SettingError(
                    f"{error}; M ({short(self.M)}) must be a multiple of K ({short(self.K)})"
                ) from None
        for name in ("clip", "equal_variance"):
            self._keep(name, flag(name, getattr(self, name)))

    def _keep(self, name: str, value: float | int | bool) -> None:
        object.__setattr__(self, name, value)

    @property
    def slices(self) -> int:
        """Devices per weight."""
        return self.M // self.K

    @property
    def significance(self) -> tuple[float, ...]:
        """Weight of each slice's error in units of ``max|W_layer|``, the most significant first."""
        if self.convention == "release":
            return tuple(2.0 ** (-i * self.K) for i in range(1, self.slices + 1))
        return self.shares

    @property
    def shares(self) -> tuple[float, ...]:
        """What each slice adds to a weight at full scale, in units of ``max|W_layer|``."""
        unit = (2**self.K - 1) / (2**self.M - 1)
        return tuple(unit * 2.0 ** (j * self.K) for j in reversed(range(self.slices)))

    def factors(self, levels: Tensor) -> Tensor:
        """The variation's factors of sigma at levels, checked: in the shape of ``levels``.

        Without a variation they are ones.

        Raises:
            SettingError: the variation gives no factors.
        """
        if self.variation is None:
            return torch.ones_like(levels)
        return level_factors.factors(self.variation, levels)

    @staticmethod
    def magnitudes(target: Tensor) -> Tensor:
        """``|W| / max|W_layer|`` of a layer's ideal weight, in its shape: float32."""
        sizes = target.detach().abs().float()
        return sizes / (float(sizes.max()) or 1.0)

    def levels(self, magnitudes: Tensor) -> Tensor:
        """Target level of each device: the digits of a magnitude.

        Args:
            magnitudes: ``|W| / max|W_layer|``, of any shape.

        Returns:
            Fractions of a device's full scale, k / (2^K - 1): (slices, *shape), the most
            significant digit first.
        """
        return torch.stack(list(self.rows(magnitudes)))

    def rows(self, magnitudes: Tensor) -> Iterator[Tensor]:
        """As :meth:`levels`, one slice after the other, the most significant first."""
        code = (magnitudes.double() * (2**self.M - 1)).round_().long()
        for j in reversed(range(self.slices)):
            digit = (code >> (self.K * j)) & (2**self.K - 1)
            yield digit.to(magnitudes.dtype) / (2**self.K - 1)

    def clipped(self, errors: Tensor, levels: Tensor) -> Tensor:
        """Errors that keep each conductance between zero and full scale, if the device clips.

        Args:
            errors: beyond the target level, as fractions of full scale, any shape.
            levels: the target level of each, of a shape that broadcasts with ``errors``.
        """
        if not self.clip:
            return errors
        return torch.minimum(torch.maximum(errors, -levels), 1 - levels)

    def weight_std_at(self, magnitudes: Tensor) -> Tensor:
        """Standard deviation of each weight whose devices were written once.

        ``sigma sqrt(sum_j s_j^2 f_j^2)``, with f_j the variation's factor at the level of slice j.

        Args:
            magnitudes: ``|W| / max|W_layer|``, of any shape.

        Returns:
            In units of ``max|W_layer|``, in the shape of ``magnitudes``.
        """
        if self.variation is None:
            return torch.full_like(magnitudes, self.weight_std(False))
        factors = self.factors(self.levels(magnitudes))
        significance = torch.tensor(self.significance).to(factors)
        result: Tensor = self.sigma * torch.tensordot(significance**2, factors**2, dims=1).sqrt()
        return result

    def weight_std(self, verified: bool) -> float:
        """Standard deviation of a programmed weight whose devices all have one sigma.

        In units of ``max|W_layer|``.
        """
        sigma = self.verified_sigma if verified else self.sigma
        return sigma * math.sqrt(sum(s**2 for s in self.significance))
