"""Write-verify by fresh writes: each rewrite is a new sample around the target level.

Errors, sigmas, tolerances and read noise are fractions of a device's full scale.
"""

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from swim.devices.chunks import (
    AT_ONCE,
    Made,
    chosen,
    distinct,
    flat,
    narrow,
    part_at,
    positions,
    stretches,
)
from swim.devices.normals import SQRT_TAU, between, normal
from swim.devices.writer import Writer


class Redraw(Writer):
    """Each write is a fresh sample of ``N(0, sigma^2)`` around the target level.

    The number of rewrites is geometric, with the probability p that one write is read inside the
    acceptance window, and the final error is a sample conditioned on being read there. Both are
    drawn directly, without a loop over cycles.
    """

    simulates = False

    def once(self, error: Tensor, centre: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Zero and sigma: a fresh write forgets the error before it."""
        return torch.zeros_like(error), sigma.to(error.dtype)

    def chance(self, sigma: Tensor, level: Tensor, centre: Tensor) -> Tensor:
        """Probability p that one write is read within the tolerance of ``centre``.

        ``Phi(high / t) - Phi(low / t)``, t^2 = sigma^2 + read noise^2. With clipping, a write
        beyond the conductance range ends on the range's bound.
        """
        device = self._device
        low, high = centre - device.tolerance, centre + device.tolerance
        sigma, level = sigma.to(low.dtype), level.to(low.dtype)
        if not device.clip:
            return between(low, high, (sigma**2 + device.read_noise**2).sqrt())
        bottom, top = -level, 1 - level
        total = self._in_range(low, high, sigma, bottom, top)
        for end in (bottom, top):
            beyond = torch.special.ndtr(-end.abs() / sigma.clamp(min=1e-30))
            total = total + beyond * between(low - end, high - end, device.read_noise)
        return total.clamp(max=1)

    def _in_range(
        self, low: Tensor, high: Tensor, sigma: Tensor, bottom: Tensor, top: Tensor
    ) -> Tensor:
        """Probability that an error is inside the range, not on its bounds, and read in the window.

        The average over the narrower of read noise and error, by Gauss-Legendre quadrature:
        accurate to 1e-5 of the probability where that is above 0.004.
        """

        def inside(noise: Tensor | float) -> Tensor:
            left, right = torch.maximum(low - noise, bottom), torch.minimum(high - noise, top)
            return between(left, torch.maximum(left, right), sigma)

        spread = self._device.read_noise
        if not spread:
            return inside(0.0)
        # Between the noises at which a bound of the window meets a bound of the range.
        one, two = low - bottom, high - top
        cuts = [low - top, torch.minimum(one, two), torch.maximum(one, two), high - bottom]
        over_noise = _expectation(inside, cuts, torch.full_like(low, spread))

        def read(error: Tensor) -> Tensor:
            return between(low - error, high - error, spread)

        narrow = sigma.expand(low.shape).clamp(min=1e-30)
        over_errors = _expectation(read, [bottom, torch.zeros_like(low), top], narrow)
        return torch.where(narrow < spread, over_errors, over_noise)

    def verifying(self, sigma: Tensor, level: Tensor) -> Tensor:
        """``(1 - (1 - p)^L) / p``, L the cycle limit."""
        zero = torch.zeros_like(sigma, dtype=torch.float64)
        chance = self.chance(sigma, level, zero).clamp(min=1e-300)
        return -torch.expm1(self._device.cycle_limit * torch.log1p(-chance)) / chance

    def expected(self, sigma: Tensor, level: Tensor, centre: Tensor) -> Tensor:
        """``1 / p``; infinite where p is below 5 over the cycle limit.

        At that bound the limit ends one device in 150 before it is inside.
        """
        chance = self.chance(sigma, level, centre)
        return torch.where(chance * self._device.cycle_limit < 5, torch.inf, 1 / chance)

    def cycles(
        self, draws: np.random.Generator, sigma: Tensor, level: Tensor, centre: Tensor
    ) -> Tensor:
        """As :meth:`.Writer.cycles`, without simulating what the devices hold."""
        return self._tries(draws, *flat(sigma, level, centre))[0].long().view(centre.shape)

    def stream(
        self,
        draws: np.random.Generator,
        sigma: Tensor,
        level: Tensor,
        centre: Tensor,
        wanted: Tensor | None = None,
    ) -> tuple[Tensor, Iterator[Made]]:
        """As :meth:`.Writer.stream`."""
        parts = flat(sigma, level, centre)
        cycles, given_up = self._tries(draws, *parts)
        if wanted is not None and not wanted.any():
            return cycles, iter(())
        if self._device.clip or len(given_up):
            gave_up = torch.zeros(len(cycles), dtype=torch.bool, device=centre.device)
            gave_up[given_up] = True
            return cycles, chosen(*self._all_at_once(draws, *parts, gave_up), wanted)
        return cycles, self._made(draws, *parts, wanted)

    def _made(
        self,
        draws: np.random.Generator,
        sigma: Tensor,
        level: Tensor,
        centre: Tensor,
        wanted: Tensor | None,
    ) -> Iterator[Made]:
        """What the wanted devices hold, of which none was given up; a sample is drawn for each."""
        noise = self._device.read_noise
        uniforms = copy.deepcopy(draws) if noise else draws
        if noise:  # whose normals come after all uniforms
            for at in stretches(len(centre)):
                draws.random(at.stop - at.start)
        alike = len(sigma) == 1 and not any(centre.stride())
        for at in stretches(len(centre)):
            count = at.stop - at.start
            uniform = torch.from_numpy(uniforms.random(count)).to(centre.device)
            rest = None
            if noise:
                rest = torch.from_numpy(draws.standard_normal(count)).to(centre.device)
            own, middle = part_at(sigma, at), centre[:1] if alike else centre[at]
            if wanted is not None:
                where = positions(wanted[at])
                uniform = uniform.index_select(0, where)
                rest = None if rest is None else rest.index_select(0, where)
                own, middle = part_at(own, where), part_at(middle, where)
            yield self._inside(uniform, rest, own, middle)

    def _all_at_once(
        self,
        draws: np.random.Generator,
        sigma: Tensor,
        level: Tensor,
        centre: Tensor,
        gave_up: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Errors and readings where some devices are drawn by rejection, after all others."""
        if self._device.clip:
            return self._tried(draws, sigma, level, centre, gave_up)
        made = list(self._made(draws, sigma, level, centre, None))
        errors, readings = (torch.cat(parts) for parts in zip(*made, strict=True))
        at = positions(gave_up)
        sigma, level = (part_at(part, at) for part in (sigma, level))
        tried = self._tried(draws, sigma, level, centre[at], gave_up[at])
        errors[at], readings[at] = tried
        return errors, readings

    def _tries(
        self, draws: np.random.Generator, sigma: Tensor, level: Tensor, centre: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Geometric numbers of rewrites, and positions of the devices that the limit ends first."""
        limit, place = self._device.cycle_limit, centre.device
        cycles = torch.empty(len(centre), dtype=narrow(limit), device=place)
        given_up = [torch.zeros(0, dtype=torch.int64, device=place)]
        for at in stretches(len(centre)):
            chance = self._chances(part_at(sigma, at), part_at(level, at), centre[at])
            chance = chance.clamp(max=1 - 1e-15)
            uniform = torch.from_numpy(draws.random(at.stop - at.start)).to(place)
            tries = uniform.neg_().add_(1).log_().div_(torch.log1p(-chance))
            if not tries.max() < limit:
                given_up.append((~(tries < limit)).nonzero().squeeze(1) + at.start)
            cycles[at] = tries.clamp_(max=limit - 1).long() + 1
        return cycles, torch.cat(given_up)

    def _chances(self, sigma: Tensor, level: Tensor, centre: Tensor) -> Tensor:
        """As :meth:`chance`; computed once for devices of the same level, sigma and centre."""
        if any(centre.stride()):
            return self.chance(sigma, level, centre.double())
        middle = centre[:1].double()
        if len(sigma) == 1 and (len(level) == 1 or not self._device.clip):
            return self.chance(sigma, level[:1], middle)
        if not self._device.clip:
            level = level[:1]
        (sigma, level), places = distinct(sigma.expand(centre.shape), level.expand(centre.shape))
        return self.chance(sigma, level, middle.expand(level.shape)).index_select(0, places)

    def _inside(
        self, uniform: Tensor, rest: Tensor | None, sigma: Tensor, centre: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Errors and readings of devices that are read inside the window: a truncated normal.

        The reading m has the variance t^2 = sigma^2 + r^2; given m, the error is normal around
        ``m sigma^2 / t^2`` with the variance ``sigma^2 r^2 / t^2``.

        Args:
            uniform: a uniform number for each reading: float64 (n,), written over.
            rest: a standard normal for each error: float64 (n,); None without read noise.
            sigma: of each device, or one for all.
            centre: of each window, or one for all.
        """
        device, kind, sigma = self._device, centre.dtype, sigma.double()
        spread = (sigma**2 + device.read_noise**2).sqrt().clamp(min=1e-30)
        low, high = centre.double() - device.tolerance, centre.double() + device.tolerance
        side = (low > 0).double() * -2 + 1  # mirrored into the tail that keeps its digits
        ends = torch.special.ndtr(side * low / spread), torch.special.ndtr(side * high / spread)
        readings = torch.special.ndtri(uniform.mul_(ends[1] - ends[0]).add_(ends[0]))
        readings.mul_(spread).mul_(side)
        # Rounding in a far tail may leave the window or reach infinity.
        readings.clamp_(low, high)
        errors = readings * (sigma / spread) ** 2
        if rest is not None:
            errors += sigma * device.read_noise / spread * rest
        return errors.to(kind), readings.to(kind)

    def _tried(
        self,
        draws: np.random.Generator,
        sigma: Tensor,
        level: Tensor,
        centre: Tensor,
        given_up: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Errors and readings by rejection: repeat writes until one is read inside the window.

        Where ``given_up`` is True, until one is read outside.
        """
        errors = torch.zeros(len(centre), dtype=centre.dtype, device=centre.device)
        readings = torch.zeros_like(errors)
        left = torch.arange(len(centre), device=centre.device)
        while len(left):
            for part in left.split(AT_ONCE):
                tried = normal(draws, part) * part_at(sigma, part)
                errors[part] = self._device.clipped(tried, part_at(level, part))
            again = []
            for part in left.split(AT_ONCE):
                read = errors[part] + self._device.read_noise * normal(draws, part)
                inside = (read - centre[part]).abs() < self._device.tolerance
                readings[part] = read
                again.append(part[inside == given_up[part]])
            left = torch.cat(again)
        return errors, readings


def _expectation(
    function: Callable[[Tensor], Tensor], cuts: Sequence[Tensor], std: Tensor
) -> Tensor:
    """Mean of a function of N(0, std^2) between the first and the last cut; zero elsewhere.

    The function is smooth between neighbouring cuts, on the scale of ``std``.
    """
    total = torch.zeros_like(std)
    for start, end in itertools.pairwise(torch.clamp(cut / std, -7, 7) for cut in cuts):
        half = (end - start) / 2
        for node, share in zip(*np.polynomial.legendre.leggauss(24), strict=True):
            normal = start + half * (1 + float(node))
            density = torch.exp(-(normal**2) / 2) / SQRT_TAU
            total = total + float(share) * half * density * function(normal * std)
    return total
