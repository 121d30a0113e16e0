"""How a device is rewritten until it is read inside its tolerance, and what that leaves.

Errors, sigmas, tolerances and read noise are fractions of a device's full scale. ``redraw``
(:mod:`.redraw`): each write is a fresh sample around the target level. ``pulse`` (:mod:`.pulse`):
the device is erased, and each pulse removes a fraction of the remaining error and adds noise.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

from swim.devices.bit_sliced import Device
from swim.devices.normals import density
from swim.devices.pulse import Pulse, simulate_trains
from swim.devices.redraw import Redraw
from swim.devices.writer import Writer


def writer(device: Device) -> Writer:
    """How a device is rewritten; the closed form takes the expectations of ``redraw``."""
    return Pulse(device) if device.write_verify == "pulse" else Redraw(device)


def residual(device: Device) -> float:
    """Residual error (root mean square after write-verify) to plan with, for one sigma."""
    return float(residual_at(device, torch.tensor(device.sigma, dtype=torch.float64)))


def residual_at(device: Device, sigma: Tensor) -> Tensor:
    """Residual error of devices with these sigmas, in the same shape.

    ``verified_sigma`` in the closed form. For ``redraw`` the standard deviation of ``N(0,
    sigma^2)`` truncated at the tolerance t, with a = t/sigma: its square is ``sigma^2 (1 - 2 a
    phi(a) / (2 Phi(a) - 1))``, which read noise and clipping change little. For ``pulse`` that of
    simulated trains at the device's largest sigma.
    """
    if device.write_verify == "closed_form" or not sigma.numel():
        return torch.full_like(sigma, device.verified_sigma)
    if device.write_verify == "pulse":
        return torch.full_like(sigma, simulate_trains(device).rms)
    a = device.tolerance / sigma.double().clamp(min=1e-30)
    inside = torch.special.erf(a / math.sqrt(2))
    part = (1 - 2 * a * density(a) / inside).clamp(min=0).sqrt()
    result: Tensor = sigma * part.to(sigma.dtype)
    return result


@lru_cache(maxsize=64)
def expected_rewrites(device: Device) -> float:
    """Mean rewrites to verify a device beyond its first write, for devices of one sigma.

    ``(1 - p) / p``: a device is outside with probability 1 - p, and then takes 1/p rewrites on
    average, unless the cycle limit ends them before.
    """
    zero = torch.zeros(1, dtype=torch.float64)
    redraw, sigma = Redraw(device), zero + device.sigma
    return float((1 - redraw.chance(sigma, zero, zero)) * redraw.verifying(sigma, zero))
