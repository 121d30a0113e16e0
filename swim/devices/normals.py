"""Normal distributions: samples, densities and probabilities."""

import math

import numpy as np
import torch
from torch import Tensor

SQRT_TAU = math.sqrt(2 * math.pi)


def normal(draws: np.random.Generator, like: Tensor) -> Tensor:
    """Standard normal samples, float32 (len(like),), on the torch device of ``like``.

    They are the generator's own: asked for in parts, they are the same as asked for at once.
    """
    return torch.from_numpy(draws.standard_normal(len(like), dtype="float32")).to(like.device)


def density(z: Tensor) -> Tensor:
    """Density of the standard normal at ``z``."""
    return torch.exp(-(z**2) / 2) / SQRT_TAU


def between(low: Tensor, high: Tensor, std: Tensor | float) -> Tensor:
    """Probability that ``N(0, std^2)`` lies in (low, high); ``std`` 0 is a point at zero."""
    std = torch.as_tensor(std, dtype=low.dtype, device=low.device).clamp(min=1e-30)
    # In the tail that is short, so that differences keep their digits.
    flip = (low > 0).to(low.dtype) * -2 + 1
    ends = torch.special.ndtr(flip * high / std) - torch.special.ndtr(flip * low / std)
    result: Tensor = ends.abs_()
    return result
