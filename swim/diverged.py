"""Where in a network values stop being finite, looked for once they have."""

import contextlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from swim.errors import DataError
from swim.labels import NotFiniteError
from swim.tracing import WEIGHTED, Call, Watch, operation_name


class _Finite(Watch):
    """Notes the first layer whose output is not finite, and the first other operation."""

    def __init__(self, calls: Sequence[Call]):
        super().__init__()
        self.layer: str | None = None
        self.operation: str | None = None
        self._names = itertools.cycle([call.name for call in calls])

    def _call(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        result = func(*args, **kwargs)
        name = next(self._names) if func in WEIGHTED else None
        if self.layer is None and isinstance(result, Tensor) and result.is_floating_point():
            if name is not None and not _finite(result):
                self.layer = name
            elif self.operation is None and not _finite(result):
                self.operation = operation_name(func)
        return result


def _finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor.detach()).all())


def where(calls: Sequence[Call], run: Callable[[], Any]) -> str:
    """Where the first value that is not finite is made, as the end of a message.

    Args:
        calls: the weighted calls of a pass, in order.
        run: repeats it, one or several times; what it raises is not looked at.
    """
    # What it raises is the reason for looking, most often.
    with _Finite(calls) as seen, contextlib.suppress(Exception):
        run()
    if seen.layer is not None:
        return f"; the first layer whose output is not finite is {seen.layer!r}"
    if seen.operation is not None:
        return f"; the first operation whose result is not finite is {seen.operation}"
    return ""


def of_chips(
    calls: Sequence[Call],
    chips: int,
    alone: Callable[[int | None], Callable[[], Any]],
    numbers: Sequence[int] | None,
) -> NotFiniteError:
    """The error for answers of some chips that are not finite.

    Args:
        calls: the weighted calls of a pass, in order.
        chips: how many chips there are.
        alone: what repeats the passes of one chip, or of the network before it is programmed.
        numbers: of the chips, by which they are named.
    """
    for chip in (None, *range(chips)):
        run = alone(chip)
        try:
            run()
        except NotFiniteError as error:
            number = chip if chip is None or numbers is None else numbers[chip]
            whose = "the network, before it is programmed" if number is None else f"chip {number}"
            found = NotFiniteError(f"{whose}: {error}{where(calls, run)}")
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
