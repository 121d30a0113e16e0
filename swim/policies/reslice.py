"""Write slices from high to low, each once, and put what is left after each read into those below.

A slice's error is known once it is read, so the slices below are given other digits than the
weight's own: those that make up for it. What the last slice leaves is all that is left, at no
rewrite. A budget is then spent as by ``compensate``. Programming what follows so that it makes up
for what was programmed is shown in hardware by Song et al., Science 383:903 (2024).
"""

import math

import torch
from torch import Tensor

from swim.policies import compensate
from swim.policies.cells import Cells
from swim.policies.greedy import Offers
from swim.write_verify import in_range


def offers(cells: Cells, curvature: Tensor) -> Offers:
    """Steps from what slices written one after the other leave; digits 0 to 2^K - 1."""
    return one_after_the_other(cells, curvature, signed=False)


def one_after_the_other(cells: Cells, curvature: Tensor, signed: bool) -> Offers:
    """Write the slices in turn; digits below zero need a differential pair a slice."""
    shares = cells.device.shares
    wanted = cells.magnitudes
    left = wanted.clone()  # to be written still, by what was read
    written = []
    for j, share in enumerate(shares):
        level = _digit(left, share, sum(shares[j + 1 :]), cells.device.K, signed)
        side = torch.where(level < 0, -1.0, 1.0)
        level = level.abs()
        own = in_range(cells.device, side * cells.normals[j] * cells.sigma_at(level), level)
        error = side * own
        reading = error + cells.read_noise[j]
        left -= share * side * level
        left -= cells.significance[j] * cells.trust_at(level) * reading
        written.append((error, reading, level, side))
    errors, readings, levels, sides = (torch.stack(part) for part in zip(*written, strict=True))
    nominal = (torch.tensor(shares, device=wanted.device)[:, None] * levels * sides).sum(0)
    offset = nominal - wanted
    if cells.device.write_verify == "closed_form":  # which has no single cycles to spend
        return _done(cells, offset + (cells.significance * errors).sum(0))
    now = Cells(cells.chip, cells.name, levels, sides)
    return compensate.from_state(now, curvature, errors, readings, offset)


def _digit(left: Tensor, share: float, below: float, bits: int, signed: bool) -> Tensor:
    """The level whose rest is nearest to the middle of what the slices below can hold."""
    top = 2**bits - 1
    aim = left if signed else left - below / 2
    return (aim / share * top).round_().clamp_(-top if signed else 0, top) / top


def _done(cells: Cells, error: Tensor) -> Offers:
    none = torch.full((1, cells.shape[1]), -math.inf, dtype=torch.float64, device=error.device)
    spent = torch.zeros(cells.shape, dtype=torch.int64, device=error.device)
    return Offers(
        none,
        torch.zeros_like(none),
        lambda _: cells.moved(error),
        read_before=math.prod(cells.shape),
        spent=lambda _: spent,
    )
