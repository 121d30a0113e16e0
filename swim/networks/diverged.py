"""Finds where in a network values stop being finite, after a pass whose outputs are not."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from swim.data.labels import NotFiniteError
from swim.errors import DataError
from swim.networks.weights.expressions import Operand, Stored, Weights
from swim.networks.weights.interception import Handed
from swim.networks.weights.operations import operation_name


class Finite(Handed):
    """A pass with other weights that notes the first call whose result is not finite.

    Attributes:
        layer: the weight of the first layer whose output is not finite.
        operation: the first other operation.
    """

    def __init__(self, stored: Stored, weights: Weights, spread: frozenset[str] = frozenset()):
        super().__init__(stored, weights, spread)
        self.layer: str | None = None
        self.operation: str | None = None

    def _weighted(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        operands: tuple[Operand, ...],
    ) -> Any:
        result = super()._weighted(func, args, kwargs, operands)
        if self.layer is None and isinstance(result, Tensor) and not _finite(result):
            self.layer = operands[0].names[0]
        return result

    def _other(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        result = super()._other(func, args, kwargs)
        unseen = self.layer is None and self.operation is None
        if unseen and isinstance(result, Tensor) and not _finite(result):
            self.operation = operation_name(func)
        return result


def _finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor.detach()).all())


def where(run: Callable[[type[Handed]], Any]) -> str:
    """The first layer or operation whose result is not finite, as the end of a message.

    Args:
        run: repeats the pass under a mode of this kind; its exceptions are ignored.
    """
    found: list[Finite] = []

    class Noted(Finite):
        def __init__(self, *args: Any):
            super().__init__(*args)
            found.append(self)

    with contextlib.suppress(
        Exception
    ):  # most often the pass fails again, for the reason that is looked for
        run(Noted)
    for seen in found:
        if seen.layer is not None:
            return f"; the first layer whose output is not finite is {seen.layer!r}"
        if seen.operation is not None:
            return f"; the first operation whose result is not finite is {seen.operation}"
    return ""


def of_chips(
    chips: int,
    alone: Callable[[int | None], Callable[[type[Handed]], Any]],
    numbers: Sequence[int] | None,
) -> NotFiniteError:
    """The error for chips whose outputs are not finite.

    Args:
        chips: how many chips there are.
        alone: returns, for a chip or for None (the network before programming), a function that
            repeats its passes under a mode of a kind.
        numbers: the chips' numbers, for the message.
    """
    for chip in (None, *range(chips)):
        run = alone(chip)
        try:
            run(Handed)
        except NotFiniteError as error:
            number = chip if chip is None or numbers is None else numbers[chip]
            whose = "the network, before it is programmed" if number is None else f"chip {number}"
            found = NotFiniteError(f"{whose}: {error}{where(run)}")
            found.chip = number
            return found
    return NotFiniteError("outputs of several chips, run together, are not finite")


def check_finite(targets: Mapping[str, Tensor]) -> None:
    """Refuse weights that are not finite; a quantiser behind them could hide it.

    Raises:
        DataError: it holds NaN or infinity.
    """
    for name, target in targets.items():
        if not _finite(target):
            raise DataError(
                f"the network's weight {name!r} is not finite: it holds NaN or infinity"
            )
