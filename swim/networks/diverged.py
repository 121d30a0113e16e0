"""Where in a network values stop being finite, looked for once they have."""

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
    """A pass with given weights that notes where the first value that is not finite is made.

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
    """Where the first value that is not finite is made, as the end of a message.

    Args:
        run: repeats the pass under a mode of this kind; what it raises is not looked at.
    """
    found: list[Finite] = []

    class Noted(Finite):
        def __init__(self, *args: Any):
            super().__init__(*args)
            found.append(self)

    with contextlib.suppress(Exception):  # what it raises is the reason for looking, most often
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
    """The error for answers of some chips that are not finite.

    Args:
        chips: how many chips there are.
        alone: what repeats the passes of one chip, or of the network before it is programmed, under
            a mode of a kind.
        numbers: of the chips, by which they are named.
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
    """Raise for a weight that a quantiser behind it may hide.

    Raises:
        DataError: it holds NaN or infinity.
    """
    for name, target in targets.items():
        if not _finite(target):
            raise DataError(
                f"the network's weight {name!r} is not finite: it holds NaN or infinity"
            )
