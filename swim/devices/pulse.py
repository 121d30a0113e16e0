"""Write-verify by pulses: the device is erased, then moved towards its target level.

Errors, sigmas, tolerances and read noise are fractions of a device's full scale.
"""

import functools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from swim.devices.bit_sliced import Device
from swim.devices.chunks import AT_ONCE, Made, chosen, flat, narrow, part_at, stretches
from swim.devices.normals import normal
from swim.devices.writer import Writer
from swim.runtime import rng


class Pulse(Writer):
    """The device is erased, then pulsed towards the target until it is read within the tolerance.

    Erasing leaves the error ``-level + N(0, sigma^2)``; a pulse leaves
    ``e - gain (e - centre) + N(0, s^2)``, with ``s = sigma sqrt(1 - (1 - gain)^2)``, so that the
    stationary standard deviation of endless pulses is sigma. Erasing counts as one cycle, and each
    pulse as one more. Devices approach the target from one side, so their mean error is not zero.
    """

    def once(self, error: Tensor, centre: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`.Writer.once`, for one pulse towards ``centre``, without erasing."""
        gain = self._device.pulse_gain
        return torch.lerp(error, centre, gain), sigma * math.sqrt(1 - (1 - gain) ** 2)

    def verifying(self, sigma: Tensor, level: Tensor) -> Tensor:
        """:meth:`expected` around zero: a train always starts from the erased state."""
        return self.expected(sigma, level, torch.zeros_like(sigma))

    def expected(self, sigma: Tensor, level: Tensor, centre: Tensor) -> Tensor:
        """Mean cycles of simulated pulse trains, by the distance from the erased state: float64.

        The trains are simulated at the device's largest sigma. Infinite where the centre lies
        beyond the range (with clipping) or beyond the simulated distances.
        """
        device, wanted = self._device, (level + centre).double()
        distances, cycles, _ = simulate_trains(device)
        if device.clip:  # what lies beyond the range is never reached
            beyond = torch.maximum(-wanted, wanted - 1) >= device.tolerance
        else:
            beyond = wanted.abs() > distances[-1]
        position = wanted.abs().clamp(max=distances[-1]) / distances[1]
        lower = position.long().clamp(max=len(distances) - 2)
        table = torch.tensor(cycles, device=wanted.device)
        mean = table[lower] + (position - lower) * (table[lower + 1] - table[lower])
        return torch.where(beyond, torch.inf, mean)

    def largest_sigma(self) -> float:
        """Standard deviation of a write at the level where it is largest."""
        device = self._device
        if device.variation is None:
            return device.sigma
        levels = torch.arange(2**device.K) / (2**device.K - 1)
        return device.sigma * float(device.factors(levels).max())

    def stream(
        self,
        draws: np.random.Generator,
        sigma: Tensor,
        level: Tensor,
        centre: Tensor,
        wanted: Tensor | None = None,
    ) -> tuple[Tensor, Iterator[Made]]:
        """As :meth:`.Writer.stream`."""
        device = self._device
        sigma, level, centre = flat(sigma, level, centre)
        errors = torch.empty(len(centre), dtype=centre.dtype, device=centre.device)
        readings = torch.empty_like(errors)
        cycles = torch.ones(len(centre), dtype=narrow(device.cycle_limit), device=centre.device)
        for at in stretches(len(centre)):
            erased = normal(draws, errors[at]) * part_at(sigma, at) - part_at(level, at)
            errors[at] = device.clipped(erased, part_at(level, at))
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
                errors[few] = device.clipped(moved, part_at(level, few))
                cycles[few] += 1
            for few in map(Tensor.long, left.split(AT_ONCE)):
                readings[few] = errors[few] + device.read_noise * normal(draws, few)
        return cycles, chosen(errors, readings, wanted)


def _still(left: Tensor, readings: Tensor, centre: Tensor, tolerance: float) -> Tensor:
    """The devices of ``left`` that are read outside, written over the memory of ``left``."""
    count = 0
    for part in left.split(AT_ONCE):
        at = part.long()
        outside = part[(readings[at] - centre[at]).abs() >= tolerance]
        left[count : count + len(outside)] = outside
        count += len(outside)
    return left[:count]


class PulseTrains(NamedTuple):
    """Simulated pulse trains of a device, by the distance of the target from the erased state.

    Attributes:
        distances: evenly spaced from 0, as fractions of full scale.
        cycles: mean cycles of a train to each distance, erasing included.
        rms: root mean square error that trains to levels in [0, 1] leave.
    """

    distances: list[float]
    cycles: list[float]
    rms: float


@functools.lru_cache(maxsize=64)
def simulate_trains(device: Device) -> PulseTrains:
    """2,000 trains to each distance, at the device's largest sigma.

    Distances end at full scale with clipping, beyond which nothing is reached, and at twice
    full scale without.
    """
    pulse = Pulse(device)
    distances = torch.linspace(0, 1, 21) if device.clip else torch.linspace(0, 2, 41)
    starts = distances[:, None].expand(-1, 2000).contiguous()
    sigma = torch.full_like(starts, pulse.largest_sigma())
    draws = rng.generator(0, "pulse trains")
    made = pulse.rewrite(draws, sigma, starts, torch.zeros_like(starts))
    rms = float(made.errors[distances <= 1].double().square().mean().sqrt())
    return PulseTrains(distances.tolist(), made.cycles.double().mean(1).tolist(), rms)
