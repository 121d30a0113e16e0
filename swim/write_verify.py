"""Write-verify, cycle by cycle: a device is written until its error is inside a tolerance."""

import math

import torch
from torch import Tensor

from swim import streams
from swim.policies.base import Chip


def success(sigma: float, tolerance: float) -> float:
    """Probability that one write of ``N(0, sigma^2)`` ends inside ``tolerance``."""
    return math.erf(tolerance / (sigma * math.sqrt(2))) if sigma > 0 else 1.0


def rewrites(chip: Chip, name: str) -> Tensor:
    """Writes beyond the first that verifying every device of a layer takes.

    Each write is a fresh draw (the redraw model). A device whose first write is inside the
    device model's tolerance is left; any other is written until one is, so the number is geometric
    with the success probability of one write.

    Args:
        chip: whose devices, with the luck of their first writes.
        name: of the layer's weight.

    Returns:
        int64 (slices, *weight.shape).
    """
    device = chip.device
    first = chip.normals(name)
    inside = (first * device.sigma).abs() < device.tolerance
    generator = streams.generator(chip.seed, "rewrites", chip.index, name)
    draws = generator.geometric(success(device.sigma, device.tolerance), tuple(first.shape))
    return torch.from_numpy(draws).to(first.device).masked_fill(inside, 0)
