"""What all estimators share: a model made ready, a sum over batches, leaves to differentiate by."""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from swim.batches import alike, arguments, first, shown
from swim.diverged import where
from swim.errors import DataError, UnsupportedOperationError
from swim.labels import NotFiniteError, one_tensor
from swim.tracing import (
    Call,
    Replay,
    buffers_of,
    device_of,
    left_alone,
    parameters_of,
    trace,
    weights_of,
    with_weight,
)

# A weight's name, a term of its sum over samples, and the unit that the term is in.
Term = tuple[str, Tensor, float]


@dataclass(frozen=True)
class Subject:
    """A model whose programmed weights are known; running it leaves it as it was.

    Attributes:
        model: the module.
        calls: its weighted calls in order.
        state: stand-ins for its parameters, which need no gradient, and copies of its buffers.
    """

    model: nn.Module
    calls: Sequence[Call]
    state: dict[str, Tensor]

    @property
    def place(self) -> torch.device:
        """Where the model runs."""
        return device_of(self.model)

    @property
    def weights(self) -> dict[str, Tensor]:
        """The programmed weights by name, in the order in which they are first used."""
        return weights_of(self.calls)

    def run(self, mode: Replay, inputs: Any) -> Tensor:
        """The outputs (N, ...) of one pass under ``mode``, gradients enabled.

        Raises:
            DataError: the model returns something other than a tensor.
            UnsupportedOperationError: its weighted calls are others than those traced.
        """
        with torch.enable_grad(), mode:
            given = torch.func.functional_call(self.model, self.state, arguments(inputs))
        outputs = one_tensor(given)
        mode.check_complete()
        return outputs


def subject_of(model: nn.Module, inputs: Any) -> Subject:
    """A model made ready, by a look at its first input; call it in eval mode."""
    state = {**parameters_of(model, requires_grad=False), **buffers_of(model)}
    return Subject(model, trace(model, inputs[:1].to(device_of(model))), state)


def summed(
    model: nn.Module,
    batches: Iterable[tuple[Any, Any]],
    progress: Callable[[int], None] | None,
    terms: Callable[[Subject, Any, Any], Iterable[Term]],
) -> dict[str, Tensor]:
    """The sum over batches of what ``terms(subject, inputs, labels)`` gives for each.

    Args:
        model: any module; it is run in eval mode and left as it was.
        batches: (inputs, labels) pairs.
        progress: called with the number of batches done.
        terms: any number of terms for a weight and batch.

    Returns:
        name -> float64 tensor shaped like the weight, in the order in which weights are used.

    Raises:
        UnsupportedOperationError: the model's weights cannot be told (:func:`swim.tracing.trace`).
        DataError: ``batches`` is empty or not made of pairs, labels do not fit, or outputs or a
            term are not finite.
    """
    with left_alone(model):
        (sample, _), stream = first(model, batches)
        subject = subject_of(model, sample)
        totals: dict[str, Tensor] = {}
        for done, (inputs, labels) in enumerate(stream, start=1):
            own = _of_batch(subject, inputs.to(subject.place), labels, terms, sample)
            for name, value, unit in own:
                if not value.isfinite().all():
                    raise not_finite()
                if name in totals:
                    totals[name].add_(value, alpha=unit)
                else:  # not before: the activations have given their memory back now
                    totals[name] = value.double().mul_(unit)
            if progress is not None:
                progress(done)
    return {name: totals[name] for name in subject.weights}


def _of_batch(
    subject: Subject,
    inputs: Any,
    labels: Any,
    terms: Callable[[Subject, Any, Any], Iterable[Term]],
    sample: Any,
) -> Iterator[Term]:
    """One batch's terms; what its inputs are to blame for is said of them."""
    try:
        # The network took the first batch when it was traced.
        with contextlib.nullcontext() if alike(inputs, sample) else shown(inputs):
            yield from terms(subject, inputs, labels)
    except NotFiniteError as error:
        place = where(subject.calls, lambda: subject.run(_Unchanged(subject.calls), inputs))
        raise NotFiniteError(f"{error}{place}") from None


class _Unchanged(Replay):
    """A pass as the model does it."""

    def _weighted(self, call: Call, func: Any, args: tuple[Any, ...], kwargs: Any) -> Any:
        return func(*args, **kwargs)


def not_finite() -> DataError:
    """The error for derivatives that are infinite or NaN."""
    return DataError(
        "derivatives are not finite: the model's weights or outputs hold NaN or infinity, "
        "or are far too large"
    )


def normalised(start: Tensor, dtype: torch.dtype, top: int = 0) -> tuple[Tensor, float]:
    """What a backward pass starts from, where ``dtype`` holds what becomes of it.

    A confident network's derivatives leave the range of float32. A backward pass is linear in
    its start, so a power of two changes no other bit.

    Args:
        start: float64, any shape.
        dtype: the network's.
        top: the power of two that the largest entry is brought just below.

    Returns:
        The scaled start in ``dtype``, and the unit that undoes it.
    """
    exponent = top - max(math.frexp(float(start.abs().max()))[1], -900)
    return (start * 2.0**exponent).to(dtype), 2.0**-exponent


class Leaves(Replay):
    """Hands every weighted call a leaf of its own to differentiate by, in place of its weight.

    A weight used twice is one leaf, and so is one that the forward computes (quantises).
    """

    def __init__(self, subject: Subject, weights: Mapping[str, Tensor] | None = None):
        """Leaves with the model's own values, or with those of ``weights`` by name."""
        super().__init__(subject.calls)
        values = subject.weights if weights is None else weights
        self.by_name = {name: value.detach().requires_grad_() for name, value in values.items()}

    def _weighted(self, call: Call, func: Any, args: tuple[Any, ...], kwargs: Any) -> Any:
        if call.name is not None:
            args, kwargs = with_weight(args, kwargs, self.by_name[call.name])
        return func(*args, **kwargs)


def reached(found: Iterable[Tensor | None], names: Iterable[str]) -> list[Tensor]:
    """The derivatives themselves.

    Raises:
        UnsupportedOperationError: one is None, since the output does not depend on the weight.
    """
    values = []
    for value, name in zip(found, names, strict=True):
        if value is None:
            raise UnsupportedOperationError(
                f"the output does not depend on a call that uses {name!r}: the graph is cut "
                "(detach, no_grad) or the result is unused"
            )
        values.append(value)
    return values
