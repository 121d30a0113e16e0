"""Spend a budget of write cycles where the expected benefit is largest: shared by the policies."""

import abc
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from swim.devices.chunks import stretches, total
from swim.errors import DataError, SettingError, short
from swim.programming.affordable import Blocks, choose
from swim.programming.cells import Cells
from swim.programming.chip import Chip, Programmed
from swim.settings.arguments import number


@dataclass(frozen=True)
class Offers:
    """Rewrites that a rule offers for one layer, by item: a weight, or a device.

    Attributes:
        keys: expected benefit per cycle: float64 (rounds, items), or a function of a slice of the
            items that returns it, so that not all of them are in memory at once. The largest key
            is taken first, -inf never. Rounds that depend on each other are taken in order if an
            item's keys do not rise.
        cycles: rewrites that each offer takes: (rounds, items).
        take: a function of the offers that were taken, bool (rounds, items), that returns the
            layer's programmed weight.
        ties: order among equal keys, the largest first: (items,) or (rounds, items), or a function
            as of ``keys``; None: by position.
        read_before: reads in the layer before any offer is taken.
        reads_each: reads per offer that is taken, besides one after each rewrite.
        spent: a function of the offers that were taken that returns the cycles of each device:
            (slices, weights). None: the rule does not count them by device.
    """

    keys: Tensor | Blocks
    cycles: Tensor
    take: Callable[[Tensor], Tensor]
    ties: Tensor | Blocks | None = None
    read_before: int = 0
    reads_each: int = 0
    spent: Callable[[Tensor], Tensor] | None = None


class Rule(Protocol):
    """A module of this folder that :data:`swim.settings.registry.POLICIES` names."""

    def offers(self, cells: Cells, curvature: Tensor) -> Offers:
        """The offers for a layer.

        Args:
            cells: its devices.
            curvature: ``H * max|W_layer|^2``: float64 (weights,).
        """


class Budgeted(abc.ABC):
    """A policy that spends write cycles by sensitivity until a budget is met.

    Attributes:
        name: that settings know it by; its class where it was made otherwise.
    """

    name: str = ""

    def __init__(self, budget: float, scores: Mapping[str, Tensor]):
        """A policy, the same for every chip.

        Args:
            budget: normalised write cycles to spend; 1 is the expected cost of full write-verify.
                The cycles that cross the budget are the last.
            scores: weight name -> ``H_ii * max|W_layer|^2``, as :func:`swim.sensitivity` returns
                them.

        Raises:
            SettingError: the budget is negative, or scores are raw second derivatives, not a
                mapping of tensors, or not finite.
        """
        self._budget = number("budget", budget, 0, infinite=True)
        self._scores = _checked(scores)

    @property
    def words(self) -> str:
        """The policy and its budget, in words."""
        return f"{self.name or type(self).__name__} within {self._budget:g} NWC"

    def __repr__(self) -> str:
        weights = sum(layer.numel() for layer in self._scores.values())
        return f"Policy({self.words}, by scores of {weights:,} weights)"

    @abc.abstractmethod
    def program(self, chip: Chip) -> Programmed:
        """Write every device once, then spend the budget."""

    @abc.abstractmethod
    def spent(self, chip: Chip) -> Mapping[str, Tensor]:
        """Cycles of each device beyond its first: name -> (slices, weights)."""

    def _start(self, chip: Chip) -> Iterator[tuple[Cells, Tensor]]:
        """How every policy begins: the devices of one layer after the other, and its scores.

        Returns:
            Pairs of devices and float64 (weights,); the scores are copies, made layer by layer to
            save memory.

        Raises:
            DataError: a layer has no scores, or scores of another shape.
        """
        for name in chip.targets:
            cells = Cells(chip, name)
            yield cells, self._curvature(cells)

    def _budget_cycles(self, layers: Iterable[Cells]) -> float:
        """The budget in write cycles: a fraction of what full write-verify is expected to take."""
        unit = sum(float(cells.planned.sum()) for cells in layers)
        return self._budget * unit if unit else 0.0

    def _curvature(self, cells: Cells) -> Tensor:
        scores = self._scores.get(cells.name)
        if scores is None or scores.shape != cells.target.shape:
            has = "no entry" if scores is None else f"an entry of shape {tuple(scores.shape)}"
            raise DataError(
                f"scores have {has} for the weight {cells.name!r} of shape "
                f"{tuple(cells.target.shape)}; take those of this network (swim.sensitivity)"
            )
        return scores.to(cells.target.device).double().flatten()


def _checked(scores: Any) -> dict[str, Tensor]:
    if not isinstance(scores, Mapping):
        raise SettingError(
            f"scores must be a mapping name -> tensor, as swim.sensitivity returns, not "
            f"{short(scores)}"
        )
    if getattr(scores, "scaled", True) is False:
        raise SettingError(
            "scores are raw second derivatives; a policy needs them times max|W_layer|^2, as "
            "swim.sensitivity returns them"
        )
    tensors = {name: torch.as_tensor(layer) for name, layer in scores.items()}
    for name, layer in tensors.items():
        if not torch.isfinite(layer).all():
            raise SettingError(
                f"scores of {name!r} have values that are not finite, which cannot be ranked"
            )
    return tensors


class Greedy(Budgeted):
    """The policy that takes a rule's offers, the best first, until a budget is met."""

    def __init__(self, rule: Rule, budget: float, scores: Mapping[str, Tensor]):
        """A policy for :func:`swim.evaluate`.

        Args:
            rule: what is offered, and in which order.
            budget: as in :class:`Budgeted`; the offer that crosses the budget is the last.
            scores: as in :class:`Budgeted`.

        Raises:
            SettingError: the budget is negative.
        """
        super().__init__(budget, scores)
        self._rule = rule

    def program(self, chip: Chip) -> Programmed:
        """Write every device once, then spend the budget.

        If every device is inside its tolerance after the first write, NWC is 0.

        Raises:
            DataError: scores are of another network.
            SettingError: the rule looks at single cycles, which the device does not simulate.
        """
        return programmed(zip(*self._decide(chip), strict=True))

    def spent(self, chip: Chip) -> dict[str, Tensor]:
        """Cycles of each device that programming ``chip`` takes: name -> (slices, weights).

        Raises:
            SettingError: the rule does not keep account.
        """
        found = {}
        for cells, offer, chosen in zip(*self._decide(chip), strict=True):
            if offer.spent is None:
                raise SettingError(
                    "this policy does not count cycles by device: its Offers have no `spent`"
                )
            found[cells.name] = offer.spent(chosen)
        return found

    def _decide(self, chip: Chip) -> tuple[list[Cells], list[Offers], list[Tensor]]:
        """Each layer's devices, its offers, and which of them are taken: bool (rounds, items)."""
        layers, offers = [], []
        for cells, curvature in self._start(chip):
            layers.append(cells)
            offers.append(self._rule.offers(cells, curvature))
        return layers, offers, choose(offers, self._budget_cycles(layers))


def programmed(layers: Iterable[tuple[Cells, Offers, Tensor]]) -> Programmed:
    """A programmed chip from the offers of each layer and which of them are taken."""

    def parts() -> Iterator[tuple[Cells, Tensor, float, float]]:
        for cells, offer, chosen in layers:
            cycles = _sum(offer.cycles, chosen)
            reads = offer.read_before + offer.reads_each * int(chosen.count_nonzero()) + cycles
            yield cells, offer.take(chosen), cycles, reads

    return account(parts())


def _sum(cycles: Tensor, chosen: Tensor) -> float:
    if cycles.is_floating_point():
        return float(cycles[chosen].sum())
    rows = zip(cycles, chosen, strict=True)
    return float(sum(total(row.mul(taken)) for row, taken in rows))


def account(layers: Iterable[tuple[Cells, Tensor, float, float]]) -> Programmed:
    """A programmed chip from each layer's devices, programmed weight, cycles and reads."""
    weights, spent, verifying, reads, devices = {}, 0.0, 0.0, 0.0, 0
    for cells, weight, cycles, own_reads in layers:
        weights[cells.name] = weight
        spent += cycles
        verifying += cells.verifying
        reads += own_reads
        devices += math.prod(cells.shape)
    return Programmed(weights, spent / verifying if verifying else 0.0, reads / devices)


def by_weight(cells: Cells, worth: Tensor | Blocks) -> Offers:
    """Offers to verify whole weights.

    Args:
        cells: the layer's devices.
        worth: expected benefit per cycle: float64 (weights,), or a function of a slice of the
            weights that returns it.
    """
    made = cells.offered
    first = next(stretches(cells.shape[1]))
    if made.is_floating_point() and not any(made.stride()):
        cycles = made[:, first].sum(0)[:1].expand(1, cells.shape[1])
    else:
        kind = made.dtype if made.is_floating_point() else torch.int32
        cycles = torch.empty((1, cells.shape[1]), dtype=kind, device=made.device)
        for at in stretches(cells.shape[1]):
            cycles[0, at] = made[:, at].sum(0)
    keys = worth[None] if isinstance(worth, Tensor) else lambda at: worth(at)[None]
    return _verifying(cells, keys, cycles, cells.shape[0])


def by_device(cells: Cells, worth: Tensor | Blocks) -> Offers:
    """Offers to verify single devices, an item for each weight and a round for each slice.

    Args:
        cells: the layer's devices.
        worth: expected benefit per cycle: float64 (slices, weights), or a function of a slice of
            the weights that returns it.
    """
    return _verifying(cells, worth, cells.offered, 1)


def _verifying(cells: Cells, keys: Tensor | Blocks, cycles: Tensor, reads: int) -> Offers:
    def take(chosen: Tensor) -> Tensor:
        return cells.weight(cells.errors_where(chosen))

    def spent(chosen: Tensor) -> Tensor:
        made = cells.cycles * chosen
        return made if made.is_floating_point() else made.long()

    def sizes(at: slice) -> Tensor:
        target = cells.target.reshape(-1)[at]
        return target.double().abs() / (cells.scale or 1.0)

    return Offers(keys, cycles, take, sizes, 0, reads, spent)
