"""Many devices, one stretch after the other, so that intermediate results take little memory."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

AT_ONCE = 1 << 16
# What a stretch of devices holds after write-verify: errors, readings.
Made = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Rewritten:
    """Devices after write-verify, in the shape that they were given in.

    Attributes:
        errors: what they hold beyond their target.
        readings: the last reading of each.
        cycles: rewrites of each, int64.
    """

    errors: Tensor
    readings: Tensor
    cycles: Tensor


def stretches(count: int, each: int = 1) -> Iterator[slice]:
    """Slices that cover so many weights of ``each`` devices, in their order."""
    step = max(AT_ONCE // each, 1)
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def flat(sigma: Tensor, level: Tensor, centre: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The three by device, flat; sigma and level are of one element where all have the same."""

    def one(part: Tensor) -> Tensor:
        if part.numel() and not any(part.stride()):  # one value, expanded
            return part.as_strided((1,), (1,))
        if part.numel() == 1:
            return part.reshape(1)
        return part.expand(centre.shape).reshape(-1)

    return one(sigma), one(level), centre.reshape(-1)


def part_at(part: Tensor, at: slice | Tensor) -> Tensor:
    """Some of a flat tensor's elements, or the one that stands for all."""
    return part if len(part) == 1 else part[at]


def positions(mask: Tensor) -> Tensor:
    """Where a flat mask is True: int64; on a CPU by numpy, which takes a seventh of the time."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return mask.nonzero().squeeze(1)


def packed(values: Tensor, mask: Tensor) -> Tensor:
    """The values where a mask of their shape is True, flat."""
    values, mask = values.reshape(-1), mask.reshape(-1)
    parts = [values[at].index_select(0, positions(mask[at])) for at in stretches(len(mask))]
    return torch.cat(parts) if parts else values[:0]


def unpack(values: Tensor, mask: Tensor, into: Tensor) -> None:
    """Write flat values to where a mask of the shape of ``into`` is True; contiguous tensors."""
    into, mask, start = into.view(-1), mask.view(-1), 0
    for at in stretches(len(mask)):
        where = positions(mask[at])
        into[at].index_copy_(0, where, values[start : start + len(where)])
        start += len(where)


def chosen(errors: Tensor, readings: Tensor, wanted: Tensor | None) -> Iterator[Made]:
    """What the wanted of some devices hold, stretch by stretch; None: all of them."""
    for at in stretches(len(errors)):
        if wanted is None:
            yield errors[at], readings[at]
        else:
            where = positions(wanted[at])
            yield errors[at].index_select(0, where), readings[at].index_select(0, where)


def distinct(first: Tensor, second: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """The distinct pairs of two flat tensors, and which of them each element has: int64.

    There are few, one for each level of a device, so that a comparison with each takes less time
    than sorting.
    """
    places = torch.zeros(len(first), dtype=torch.int64, device=first.device)
    left = torch.ones_like(places, dtype=torch.bool)
    pairs: list[int] = []
    while left.any():
        at = int(left.byte().argmax())
        same = (first == first[at]) & (second == second[at])
        places.masked_fill_(same, len(pairs))
        left &= ~same
        pairs.append(at)
    where = torch.tensor(pairs, dtype=torch.int64, device=first.device)
    return (first[where], second[where]), places


def narrow(limit: int) -> torch.dtype:
    """The type that counts up to ``limit``."""
    if limit < 2**15:
        return torch.int16
    return torch.int32 if limit < 2**31 else torch.int64


def collected(centre: Tensor, cycles: Tensor, made: Iterable[Made]) -> Rewritten:
    """All stretches together, shaped like ``centre``."""
    errors = torch.empty(centre.numel(), dtype=centre.dtype, device=centre.device)
    readings, start = torch.empty_like(errors), 0
    for own_errors, own_readings in made:
        at = slice(start, start + len(own_errors))
        errors[at], readings[at] = own_errors, own_readings
        start = at.stop
    return Rewritten(*(part.view(centre.shape) for part in (errors, readings, cycles.long())))


def total(counts: Tensor) -> float:
    """The sum of a tensor of any shape; of whole numbers without a copy of a wider type."""
    if counts.is_floating_point():
        return float(counts.sum())
    counts = counts.reshape(-1)
    return float(sum(int(counts[at].sum()) for at in stretches(len(counts))))
