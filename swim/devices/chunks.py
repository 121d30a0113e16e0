"""Many devices, one stretch after the other, so that intermediate results take little memory."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

AT_ONCE = 1 << 16
# What a stretch of devices holds after write-verify: where, errors, readings.
Made = tuple[slice, Tensor, Tensor]


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


def stretches(count: int) -> Iterator[slice]:
    """Slices that cover so many devices, in their order."""
    for start in range(0, count, AT_ONCE):
        yield slice(start, min(start + AT_ONCE, count))


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


def narrow(limit: int) -> torch.dtype:
    """The type that counts up to ``limit``."""
    if limit < 2**15:
        return torch.int16
    return torch.int32 if limit < 2**31 else torch.int64


def collected(centre: Tensor, cycles: Tensor, made: Iterable[Made]) -> Rewritten:
    """All stretches together, shaped like ``centre``."""
    errors = torch.empty(centre.numel(), dtype=centre.dtype, device=centre.device)
    readings = torch.empty_like(errors)
    for at, own_errors, own_readings in made:
        errors[at], readings[at] = own_errors, own_readings
    return Rewritten(*(part.view(centre.shape) for part in (errors, readings, cycles.long())))


def total(counts: Tensor) -> float:
    """The sum of a tensor of any shape; of whole numbers without a copy of a wider type."""
    if counts.is_floating_point():
        return float(counts.sum())
    counts = counts.reshape(-1)
    return float(sum(int(counts[at].sum()) for at in stretches(len(counts))))
