"""Which offers a budget pays for: the largest keys first, without sorting all of them.

Counted cycles are whole numbers, whose sums are exact in any order. Offers are then counted in bins
of 16 bits of their key. The budget ends in one bin, whose offers alone are looked at more closely.
Expected cycles are rounded, so they are summed in the order of the offers.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from swim.devices.chunks import positions, stretches

Blocks = Callable[[slice], Tensor]
_BINS = 1 << 16
_FEW = 1 << 12  # offers that are sorted rather than counted again


class Ranked(Protocol):
    """What is looked at of :class:`swim.programming.budgeted.Offers`."""

    @property
    def keys(self) -> Tensor | Blocks:
        """Expected benefit per cycle: (rounds, items), whole or by slices of the items."""

    @property
    def cycles(self) -> Tensor:
        """Of each offer: (rounds, items)."""

    @property
    def ties(self) -> Tensor | Blocks | None:
        """Order among equal keys: (items,) or (rounds, items), whole or by slices."""


def choose(offers: Sequence[Ranked], budget: float) -> list[Tensor]:
    """The offers that are taken: by falling key, then tie, then position, until the budget is met.

    Args:
        offers: of all layers.
        budget: in cycles; the offer that crosses it is the last.

    Returns:
        Bool (rounds, items) of each layer.
    """
    taken = [torch.zeros(o.cycles.shape, dtype=torch.bool, device=o.cycles.device) for o in offers]
    if not budget > 0 or not offers:
        return taken
    if not any(offer.cycles.is_floating_point() for offer in offers):
        _count(offers, budget, taken)
    elif (each := _same_for_all(offers)) is not None:
        _count(offers, _how_many(each, budget, sum(map(Tensor.numel, taken))), taken, alike=True)
    else:
        keys, ties = (torch.cat([whole(o).flatten() for o in offers]) for whole in (_keys, _ties))
        cycles = torch.cat([offer.cycles.flatten() for offer in offers])
        flat = affordable(keys, cycles, budget, ties).split(list(map(Tensor.numel, taken)))
        return [part.view(own.shape) for part, own in zip(flat, taken, strict=True)]
    return taken


def affordable(keys: Tensor, cycles: Tensor, budget: float, ties: Tensor) -> Tensor:
    """As :func:`choose`, of flat tensors, by sorting: the cycles are summed in the offers' order.

    Args:
        keys: expected benefit per cycle; -inf is never taken: (n,).
        cycles: of each offer; one without cycles is taken when its key comes: (n,).
        budget: in cycles; the offer that crosses it is the last.
        ties: order among equal keys: (n,).

    Returns:
        Bool (n,).
    """
    taken = torch.zeros_like(keys, dtype=torch.bool)
    if budget <= 0:
        return taken
    places = _leading(keys, cycles, budget)
    places = places[torch.sort(ties[places], descending=True, stable=True).indices]
    places = places[torch.sort(keys[places], descending=True, stable=True).indices]
    costs = cycles[places].double()
    taken[places[costs.cumsum(0) - costs < budget]] = True
    return taken


def _leading(keys: Tensor, cycles: Tensor, budget: float) -> Tensor:
    """Positions of the largest keys, all that the budget can reach, so that few are sorted."""
    possible = keys > -math.inf
    paid = keys[possible & (cycles > 0)]
    if len(paid):
        least = float(cycles[cycles > 0].min())
        most = budget / least + 2
        if most < len(paid):
            possible &= keys >= torch.kthvalue(paid, len(paid) - int(most) + 1).values
    return possible.nonzero().squeeze(1)


def _same_for_all(offers: Sequence[Ranked]) -> float | None:
    """The cycles of every offer, if all take the same; None otherwise, or if it is not known."""
    if any(any(offer.cycles.stride()) for offer in offers):
        return None
    values = {float(offer.cycles[0, 0]) for offer in offers if offer.cycles.numel()}
    return values.pop() if len(values) == 1 else None


def _how_many(each: float, budget: float, count: int) -> float:
    """How many offers of the same cycles a budget pays for, by the sums that rounding makes."""
    if not each * count > budget * 0.99:  # rounding is far smaller than that
        return math.inf
    costs = torch.full((min(count, int(budget / each * 1.01) + 2),), each, dtype=torch.float64)
    return float((costs.cumsum(0) - costs < budget).count_nonzero())


class _Left(NamedTuple):
    """Offers among which the budget ends: numbers that rise with keys and ties, cycles, where."""

    keys: Tensor
    ties: Tensor
    cycles: Tensor
    at: Tensor  # flat, in all layers


def _count(
    offers: Sequence[Ranked], budget: float, taken: list[Tensor], alike: bool = False
) -> None:
    """Mark what a budget of whole cycles pays for in ``taken``; ``alike``: each offer costs one."""
    place = taken[0].device
    sums = torch.zeros(_BINS, dtype=torch.float64, device=place)
    for offer, own in zip(offers, taken, strict=True):
        for _, keys, cycles in _blocks(offer, own, alike):
            possible = keys > -math.inf
            sums += torch.bincount(_digit(rising(keys), 48), cycles * possible, minlength=_BINS)
    last, budget = _crossed(sums, budget)
    left, start = [], 0
    for offer, own in zip(offers, taken, strict=True):
        for at, keys, cycles in _blocks(offer, own, alike):
            possible, digit = keys > -math.inf, _digit(rising(keys), 48)
            own[:, at] = ((digit > last) & possible).view(len(own), -1)
            near = positions((digit == last) & possible)
            if len(near):
                ties = _part(offer.ties, at, own).reshape(-1)[near]
                where = _flat_positions(near, at, own.shape[1]) + start
                left.append(_Left(rising(keys[near]), rising(ties.double()), cycles[near], where))
        start += own.numel()
    if left:
        _mark(_close(_Left(*map(torch.cat, zip(*left, strict=True))), budget), taken)


def _close(left: _Left, budget: float) -> Tensor:
    """Flat positions of the offers that are taken among those of one bin."""
    taken = []
    for which, shift in [(0, 32), (0, 16), (0, 0), (1, 48), (1, 32), (1, 16), (1, 0)]:
        if len(left.at) <= _FEW:
            break
        digit = _digit(left[which], shift)
        last, budget = _crossed(torch.bincount(digit, left.cycles, minlength=_BINS), budget)
        taken.append(left.at[digit > last])
        near = positions(digit == last)
        left = _Left(*(part.index_select(0, near) for part in left))
    order = torch.sort(left.at).indices
    for ranks in (left.ties, left.keys):
        order = order[torch.sort(ranks[order], descending=True, stable=True).indices]
    costs = left.cycles[order].double()
    return torch.cat([*taken, left.at[order[costs.cumsum(0) - costs < budget]]])


def _crossed(sums: Tensor, budget: float) -> tuple[int, float]:
    """The bin in which the budget ends, -1 if in none, and what is left of the budget for it."""
    above = sums.flip(0).cumsum(0)
    bins = (above < budget).count_nonzero()
    if bins == len(sums):
        return -1, budget
    spent = above[bins] - sums[len(sums) - 1 - bins]
    return len(sums) - 1 - int(bins), budget - float(spent)


def rising(values: Tensor) -> Tensor:
    """Whole numbers in the order of float64 values: int64; equal ones for both zeros."""
    bits = (values + 0.0).view(torch.int64)
    return torch.where(bits < 0, bits ^ torch.iinfo(torch.int64).max, bits)


def _digit(ranks: Tensor, shift: int) -> Tensor:
    """16 bits of whole numbers, from 0 on; the first of them hold the sign."""
    digit = ranks >> shift
    return digit + _BINS // 2 if shift == 48 else digit & (_BINS - 1)


def _mark(at: Tensor, taken: list[Tensor]) -> None:
    """Set flat positions in all layers to True."""
    start = 0
    for own in taken:
        here = at[(at >= start) & (at < start + own.numel())] - start
        own.view(-1)[here] = True
        start += own.numel()


def _blocks(offer: Ranked, own: Tensor, alike: bool) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Slices of the items, with keys, as float64, and cycles of all rounds: flat."""
    for at in stretches(own.shape[1], len(own)):
        keys = _part(offer.keys, at, own).reshape(-1).double()
        cycles = torch.ones_like(keys) if alike else offer.cycles[:, at].reshape(-1).double()
        yield at, keys, cycles


def _part(values: Tensor | Blocks | None, at: slice, own: Tensor) -> Tensor:
    """Keys or ties of some items, in all rounds; zeros for None."""
    size = len(own), at.stop - at.start
    if values is None:
        return torch.zeros(1, 1, device=own.device).expand(size)
    return (values[..., at] if isinstance(values, Tensor) else values(at)).expand(size)


def _flat_positions(near: Tensor, at: slice, items: int) -> Tensor:
    """Positions in (rounds, items) of positions in a block of some items."""
    width = at.stop - at.start
    where: Tensor = near // width * items + near % width + at.start
    return where


def _keys(offer: Ranked) -> Tensor:
    return _part(offer.keys, slice(0, offer.cycles.shape[1]), offer.cycles)


def _ties(offer: Ranked) -> Tensor:
    return _part(offer.ties, slice(0, offer.cycles.shape[1]), offer.cycles).double()
