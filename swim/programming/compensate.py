"""Rewrite one slice of a weight until it compensates the errors of the weight's other slices.

Every device is read once, which gives each weight's error ``E = sum_j s_j e_j``. Slice j is then
rewritten until the error of the *weight* is within ``tolerance * s_j``, that is, until the slice's
own error is near ``-(E - s_j e_j) / s_j``. The expected benefit is ``H (E^2 - r^2 s_j^2) p_j`` per
cycle, with 1/p_j the expected number of cycles. Each round offers the best slice of every weight,
given the errors that the round before left. Target levels stay; only the acceptance window of
write-verify moves.
"""

import math

import torch
from torch import Tensor

from swim.programming.budgeted import Offers
from swim.programming.cells import Cells

ROUNDS = 4


def offers(cells: Cells, curvature: Tensor) -> Offers:
    """Rounds of each weight, with the saving of expected loss per cycle."""
    cells.must_simulate("compensate")
    trust = cells.trust_at(cells.levels).expand(cells.shape)
    errors, believed = cells.errors.clone(), cells.readings * trust
    left = torch.arange(cells.shape[1], device=errors.device)
    keys: list[Tensor] = []
    rewritten: list[Tensor] = []  # the slice of each step
    cycles, totals = [], [(cells.significance * errors).sum(0)]
    for turn in range(ROUNDS):
        worth, slices, aim = _best(cells, curvature, believed, trust, left)
        worth, slices, aim, left = (part[worth > 0] for part in (worth, slices, aim, left))
        at = slices, left
        made = cells.rewrite(f"compensate {turn}", cells.sigma[at], cells.levels[at], aim)
        errors[at] = made.errors
        believed[at] = made.readings * trust[at]
        key = torch.full_like(curvature, -math.inf)
        spent = torch.zeros_like(key, dtype=torch.int64)
        key[left], spent[left] = worth, made.cycles
        rewritten.append(torch.zeros_like(spent).index_put_((left,), slices))
        # A round can only follow the one before it, so its key must not be the larger one.
        keys.append(torch.minimum(key, keys[-1]) if keys else key)
        cycles.append(spent)
        totals.append((cells.significance * errors).sum(0))
    history = torch.stack(totals)

    def take(chosen: Tensor) -> Tensor:
        return cells.moved(history.gather(0, chosen.sum(0, keepdim=True))[0])

    def where(chosen: Tensor) -> Tensor:
        taken = torch.stack(cycles) * chosen
        return torch.zeros(cells.shape, dtype=taken.dtype, device=taken.device).scatter_add_(
            0, torch.stack(rewritten), taken
        )

    reads = math.prod(cells.shape)
    return Offers(torch.stack(keys), torch.stack(cycles), take, None, reads, 0, where)


def _best(
    cells: Cells, curvature: Tensor, believed: Tensor, trust: Tensor, left: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The best rewrite of each weight that is left.

    Returns:
        Its expected benefit per cycle, its slice, and the error that the slice must be read at:
        each (len(left),).
    """
    s, own, levels = cells.significance, believed[:, left], cells.levels[:, left]
    total = (s * own).sum(0)
    centres = own - total / s
    if cells.device.clip:  # an error beyond the conductance range cannot be reached
        centres = centres.clamp(-levels, 1 - levels)
    saved = total**2 - (total - s * (own - centres)) ** 2 - (cells.residual[:, left] * s) ** 2
    aim = centres / trust[:, left].clamp(min=1e-30)  # readings are shrunk by trust
    cost = cells.expected(aim, cells.sigma[:, left], levels)
    # No rewrite where the loss would fall as errors grow: the expected benefit is at least zero.
    worth, slices = (curvature[left] * saved.clamp(min=0) / cost).max(0)
    return worth, slices, aim.gather(0, slices[None])[0]
