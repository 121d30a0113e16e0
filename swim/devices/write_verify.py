"""Write-verify, cycle by cycle: a device is rewritten until it is read inside a tolerance.

Errors, sigmas, tolerances and read noise are parts of a device's full scale. ``redraw``: each
write is a fresh draw around the target. ``pulse``: the device is erased, and each pulse moves part
of the remaining error, with its own noise.
"""

import copy
import functools
import itertools
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from swim.devices.bit_sliced import Device
from swim.devices.normals import SQRT_TAU, between, normal
from swim.runtime import rng
from swim.runtime.chunks import (
    AT_ONCE,
    Made,
    Rewritten,
    collected,
    flat,
    narrow,
    part_at,
    stretches,
)


class Redraw:
    """Each write is a fresh draw of ``N(0, sigma^2)`` around the target.

    The number of rewrites is geometric with the probability p that one write is read inside the
    window, and what the device then holds is that draw, given that it was. Both are drawn so,
    without a loop over cycles.
    """

    def __init__(self, device: Device):
        self._device = device

    def once(self, error: Tensor, centre: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of a device's error after one cycle, before clipping."""
        return torch.zeros_like(error), sigma.to(error.dtype)

    def chance(self, sigma: Tensor, level: Tensor, centre: Tensor) -> Tensor:
        """Probability p that one write is read within the tolerance of ``centre``.

        ``Phi(high / t) - Phi(low / t)``, t^2 = sigma^2 + read noise^2. With clipping, what a write
        leaves beyond the range lies on its end.
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
        """Probability that an error lies in the range, not on its ends, and is read between.

        The average over the read noise is by Gauss-Legendre quadrature, between the values at
        which an end of the window meets an end of the range: to 3e-4 up to noise of sigma.
        """

        def inside(noise: Tensor | float) -> Tensor:
            left, right = torch.maximum(low - noise, bottom), torch.minimum(high - noise, top)
            return between(left, torch.maximum(left, right), sigma)

        spread = self._device.read_noise
        if not spread:
            return inside(0.0)
        most = 4.5 * spread
        one, two = (part.clamp(-most, most) for part in (low - bottom, high - top))
        cuts = [(low - top).clamp(-most, most), torch.minimum(one, two), torch.maximum(one, two),
                (high - bottom).clamp(-most, most)]  # fmt: skip
        total = torch.zeros((), dtype=low.dtype, device=low.device)
        for start, end in itertools.pairwise(cuts):
            half = (end - start) / 2
            for node, share in zip(*np.polynomial.legendre.leggauss(12), strict=True):
                noise = start + half * (1 + float(node))
                density = torch.exp(-((noise / spread) ** 2) / 2) / (spread * SQRT_TAU)
                total = total + float(share) * half * density * inside(noise)
        return total

    def verifying(self, sigma: Tensor, level: Tensor) -> Tensor:
        """Rewrites that verifying a device takes on average, once it is found outside.

        ``(1 - (1 - p)^L) / p``, L the limit of cycles.
        """
        zero = torch.zeros_like(sigma, dtype=torch.float64)
        chance = self.chance(sigma, level, zero).clamp(min=1e-300)
        return -torch.expm1(self._device.cycle_limit * torch.log1p(-chance)) / chance

    def expected(self, sigma: Tensor, level: Tensor, centre: Tensor) -> Tensor:
        """Rewrites that a device takes on average until it is inside around a centre: 1/p.

        Infinite where the limit of cycles would probably be met first (p of 5 in the limit fails
        once in 150 times).
        """
        chance = self.chance(sigma, level, centre)
        return torch.where(chance * self._device.cycle_limit < 5, torch.inf, 1 / chance)

    def rewrite(
        self, draws: np.random.Generator, sigma: Tensor, level: Tensor, centre: Tensor
    ) -> Rewritten:
        """Rewrite devices until each is read within the tolerance of its ``centre``.

        Args:
            draws: a generator of its own.
            sigma: standard deviation of a write of each device, any shape.
            level: what each is meant to hold, alike in shape.
            centre: error around which its reading shall lie, alike in shape.
        """
        return collected(centre, *self.stream(draws, sigma, level, centre))

    def cycles(
        self, draws: np.random.Generator, sigma: Tensor, level: Tensor, centre: Tensor
    ) -> Tensor:
        """The cycles alone that :meth:`rewrite` gives for the same generator."""
        return self._tries(draws, *flat(sigma, level, centre))[0].long().view(centre.shape)

    def stream(
        self, draws: np.random.Generator, sigma: Tensor, level: Tensor, centre: Tensor
    ) -> tuple[Tensor, Iterator[Made]]:
        """As :meth:`rewrite`, a stretch of devices after the other, to save memory.

        Returns:
            The cycles of all devices, flat and of a narrow type, and what they hold.
        """
        parts = flat(sigma, level, centre)
        cycles, given_up = self._tries(draws, *parts)
        return cycles, self._made(draws, *parts, given_up)

    def _made(
        self,
        draws: np.random.Generator,
        sigma: Tensor,
        level: Tensor,
        centre: Tensor,
        given_up: Tensor,
    ) -> Iterator[Made]:
        if self._device.clip:
            gave_up = torch.zeros(len(centre), dtype=torch.bool, device=centre.device)
            gave_up[given_up] = True
            yield slice(None), *self._tried(draws, sigma, level, centre, gave_up)
            return
        uniforms = draws
        if self._device.read_noise:  # whose normals come after all uniforms
            uniforms = copy.deepcopy(draws)
            for at in stretches(len(centre)):
                draws.random(at.stop - at.start)
        kept: list[tuple[Tensor, Tensor]] = []
        for at in stretches(len(centre)):
            made = self._inside(uniforms, draws, part_at(sigma, at), centre[at])
            if len(given_up):
                kept.append(made)
            else:
                yield at, *made
        if not len(given_up):
            return
        errors, readings = (torch.cat(parts) for parts in zip(*kept, strict=True))
        sigma, level = (part_at(part, given_up) for part in (sigma, level))
        gave_up = torch.ones_like(given_up, dtype=torch.bool)
        tried = self._tried(draws, sigma, level, centre[given_up], gave_up)
        errors[given_up], readings[given_up] = tried
        yield slice(None), errors, readings

    def _tries(
        self, draws: np.random.Generator, sigma: Tensor, level: Tensor, centre: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Geometric numbers of rewrites, and which devices meet the limit before success."""
        limit, place = self._device.cycle_limit, centre.device
        cycles = torch.empty(len(centre), dtype=narrow(limit), device=place)
        given_up = []
        for at in stretches(len(centre)):
            chance = self.chance(part_at(sigma, at), part_at(level, at), centre[at].double())
            chance = chance.clamp(max=1 - 1e-15)
            uniform = 1 - torch.from_numpy(draws.random(at.stop - at.start)).to(place)
            tries = torch.log(uniform) / torch.log1p(-chance)
            cycles[at] = tries.clamp(max=limit - 1).long() + 1
            given_up.append((~(tries < limit)).nonzero().squeeze(1) + at.start)
        empty = torch.zeros(0, dtype=torch.int64, device=place)
        return cycles, torch.cat([empty, *given_up])

    def _inside(
        self,
        uniforms: np.random.Generator,
        normals: np.random.Generator,
        sigma: Tensor,
        centre: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Errors and readings given that the reading is inside: a truncated normal.

        The reading m has the variance t^2 = sigma^2 + r^2; given m, the error is normal around
        ``m sigma^2 / t^2`` with the variance ``sigma^2 r^2 / t^2``.
        """
        device, sigma, shape = self._device, sigma.double(), tuple(centre.shape)
        spread = (sigma**2 + device.read_noise**2).sqrt().clamp(min=1e-30)
        low, high = centre.double() - device.tolerance, centre.double() + device.tolerance
        side = (low > 0).double() * -2 + 1  # mirrored into the tail that keeps its digits
        ends = torch.special.ndtr(side * low / spread), torch.special.ndtr(side * high / spread)
        uniform = torch.from_numpy(uniforms.random(shape)).to(centre.device)
        readings = torch.special.ndtri(ends[0] + uniform * (ends[1] - ends[0])) * spread * side
        # Rounding in a far tail may leave the window or reach infinity.
        readings = torch.minimum(torch.maximum(readings, low), high)
        errors = readings * (sigma / spread) ** 2
        if device.read_noise:
            rest = torch.from_numpy(normals.standard_normal(shape)).to(centre.device)
            errors = errors + sigma * device.read_noise / spread * rest
        return errors.to(centre.dtype), readings.to(centre.dtype)

    def _tried(
        self,
        draws: np.random.Generator,
        sigma: Tensor,
        level: Tensor,
        centre: Tensor,
        given_up: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """The same by trying: a write that is read inside, or outside where it was given up."""
        errors = torch.zeros(len(centre), dtype=centre.dtype, device=centre.device)
        readings = torch.zeros_like(errors)
        left = torch.arange(len(centre), device=centre.device)
        while len(left):
            for part in left.split(AT_ONCE):
                tried = normal(draws, part) * part_at(sigma, part)
                errors[part] = in_range(self._device, tried, part_at(level, part))
            again = []
            for part in left.split(AT_ONCE):
                read = errors[part] + self._device.read_noise * normal(draws, part)
                inside = (read - centre[part]).abs() < self._device.tolerance
                # A window that is hardly ever met is not tried for: its device was given up.
                readings[part] = read
                again.append(part[inside == given_up[part]])
            left = torch.cat(again)
        return errors, readings


class Pulse:
    """The device is erased, and pulses move it towards the target until it is read there.

    Erasing leaves the error ``-level + N(0, sigma^2)``; a pulse leaves
    ``e - gain (e - centre) + N(0, s^2)``, with ``s = sigma sqrt(1 - (1 - gain)^2)``, so that
    pulses without end have the standard deviation sigma that a single write has. Erasing counts as
    a cycle, each pulse as one more. Devices come from one side, so their errors have a mean.
    """

    def __init__(self, device: Device):
        self._device = device

    def once(self, error: Tensor, centre: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`Redraw.once`, of one pulse towards ``centre``, without erasing."""
        gain = self._device.pulse_gain
        return torch.lerp(error, centre, gain), sigma * math.sqrt(1 - (1 - gain) ** 2)

    def verifying(self, sigma: Tensor, level: Tensor) -> Tensor:
        """Cycles that verifying a device takes on average, once it is found outside."""
        return self.expected(sigma, level, torch.zeros_like(sigma))

    def expected(self, sigma: Tensor, level: Tensor, centre: Tensor) -> Tensor:
        """Cycles that a device takes on average until it is inside around a centre.

        Those of simulated trains at the largest sigma that the device has, by the distance from
        the erased state: float64.
        """
        device, wanted = self._device, (level + centre).double()
        distances, cycles, _ = _trains(device, self.largest_sigma())
        if device.clip:  # what lies beyond the range is never reached
            beyond = torch.maximum(-wanted, wanted - 1) >= device.tolerance
        else:
            beyond = wanted.abs() > distances[-1]
        position = wanted.abs().clamp(max=distances[-1]) / distances[1]
        lower = position.long().clamp(max=len(distances) - 2)
        table = torch.tensor(cycles, device=wanted.device)
        mean = table[lower] + (position - lower) * (table[lower + 1] - table[lower])
        return torch.where(beyond, torch.inf, mean)

    def cycles(
        self, draws: np.random.Generator, sigma: Tensor, level: Tensor, centre: Tensor
    ) -> Tensor:
        """The cycles alone that :meth:`rewrite` gives for the same generator."""
        return self.rewrite(draws, sigma, level, centre).cycles

    def largest_sigma(self) -> float:
        """Standard deviation of a write at the level where it is largest."""
        device = self._device
        if device.variation is None:
            return device.sigma
        levels = torch.arange(2**device.K) / (2**device.K - 1)
        return device.sigma * float(device.variation(levels).max())

    def rewrite(
        self, draws: np.random.Generator, sigma: Tensor, level: Tensor, centre: Tensor
    ) -> Rewritten:
        """As :meth:`Redraw.rewrite`, pulse by pulse."""
        return collected(centre, *self.stream(draws, sigma, level, centre))

    def stream(
        self, draws: np.random.Generator, sigma: Tensor, level: Tensor, centre: Tensor
    ) -> tuple[Tensor, Iterator[Made]]:
        """As :meth:`Redraw.stream`."""
        device = self._device
        sigma, level, centre = flat(sigma, level, centre)
        errors = torch.empty(len(centre), dtype=centre.dtype, device=centre.device)
        readings = torch.empty_like(errors)
        cycles = torch.ones(len(centre), dtype=narrow(device.cycle_limit), device=centre.device)
        for at in stretches(len(centre)):
            erased = normal(draws, errors[at]) * part_at(sigma, at) - part_at(level, at)
            errors[at] = in_range(device, erased, part_at(level, at))
        for at in stretches(len(centre)):
            readings[at] = errors[at] + device.read_noise * normal(draws, errors[at])
        kind = torch.int32 if len(centre) < 2**31 else torch.int64
        left = torch.arange(len(centre), dtype=kind, device=centre.device)
        for _ in range(device.cycle_limit - 1):
            left = _still(left, readings, centre, device.tolerance)
            if not len(left):
                break
            for few in map(Tensor.long, left.split(AT_ONCE)):
                mean, spread = self.once(errors[few], centre[few], part_at(sigma, few))
                moved = mean + normal(draws, few) * spread
                errors[few] = in_range(device, moved, part_at(level, few))
                cycles[few] += 1
            for few in map(Tensor.long, left.split(AT_ONCE)):
                readings[few] = errors[few] + device.read_noise * normal(draws, few)
        return cycles, ((at, errors[at], readings[at]) for at in stretches(len(centre)))


def _still(left: Tensor, readings: Tensor, centre: Tensor, tolerance: float) -> Tensor:
    """Of the devices that are left those that are outside, over the same memory."""
    count = 0
    for part in left.split(AT_ONCE):
        at = part.long()
        outside = part[(readings[at] - centre[at]).abs() >= tolerance]
        left[count : count + len(outside)] = outside
        count += len(outside)
    return left[:count]


def in_range(device: Device, errors: Tensor, level: Tensor) -> Tensor:
    """The conductance stays between zero and full scale, if the device clips."""
    return torch.minimum(torch.maximum(errors, -level), 1 - level) if device.clip else errors


@functools.lru_cache(maxsize=64)
def _trains(device: Device, sigma: float) -> tuple[list[float], list[float], float]:
    """Distances from the erased state, mean cycles of a train there, and the rms that it leaves.

    With clipping nothing beyond full scale is ever reached.
    """
    distances = torch.linspace(0, 1, 21) if device.clip else torch.linspace(0, 2, 41)
    starts = distances[:, None].expand(-1, 2000).contiguous()
    draws = rng.generator(0, "pulse trains")
    made = Pulse(device).rewrite(
        draws, torch.full_like(starts, sigma), starts, torch.zeros_like(starts)
    )
    rms = float(made.errors[distances <= 1].double().square().mean().sqrt())
    return distances.tolist(), made.cycles.double().mean(1).tolist(), rms


def writer(device: Device) -> Redraw | Pulse:
    """How a device is rewritten; the closed form expects the cycles of ``redraw``."""
    return Pulse(device) if device.write_verify == "pulse" else Redraw(device)


def residual(device: Device) -> float:
    """Root mean square error that write-verify leaves, to plan with, if all have one sigma."""
    return float(residual_at(device, torch.tensor(device.sigma, dtype=torch.float64)))


def residual_at(device: Device, sigma: Tensor) -> Tensor:
    """The same for devices of these sigmas, alike in shape.

    ``verified_sigma`` in the closed form. For ``redraw`` that of ``N(0, sigma^2)`` cut at the
    tolerance t, with a = t/sigma: ``sigma^2 (1 - 2 a phi(a) / (2 Phi(a) - 1))``, which read noise
    and clipping change little. For ``pulse`` that of simulated trains of the device's largest
    sigma, as its cycles are.
    """
    if device.write_verify == "closed_form" or not sigma.numel():
        return torch.full_like(sigma, device.verified_sigma)
    if device.write_verify == "pulse":
        return torch.full_like(sigma, _trains(device, Pulse(device).largest_sigma())[2])
    a = device.tolerance / sigma.double().clamp(min=1e-30)
    inside = torch.special.erf(a / math.sqrt(2))
    density = torch.exp(-(a**2) / 2) / SQRT_TAU
    part = (1 - 2 * a * density / inside).clamp(min=0).sqrt()
    result: Tensor = sigma * part.to(sigma.dtype)
    return result


def expected_rewrites(device: Device) -> float:
    """Rewrites beyond its first write that verifying a device takes, if all have one sigma.

    ``(1 - p) / p``: one that is outside, with the probability 1 - p, takes 1/p on average, unless
    the limit of cycles ends it before.
    """
    zero = torch.zeros(1, dtype=torch.float64)
    redraw, sigma = Redraw(device), zero + device.sigma
    return float((1 - redraw.chance(sigma, zero, zero)) * redraw.verifying(sigma, zero))
