"""What all estimators share: a model made ready, a sum over batches, leaves to differentiate by."""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from swim.curvature.control import Control
from swim.data.batches import alike, arguments, first, shown
from swim.data.labels import NotFiniteError, one_tensor
from swim.errors import DataError, UnsupportedOperationError
from swim.networks.diverged import where
from swim.networks.isolation import afresh, buffers_of, call, left_alone, parameters_of
from swim.networks.subject import Subject, subject_of
from swim.networks.weights.expressions import Operand, Weights
from swim.networks.weights.interception import Follow, with_weights

# A weight's name, a term of its sum over samples, and the unit that the term is in.
Term = tuple[str, Tensor, float]


def summed(
    model: nn.Module | Subject,
    batches: Iterable[tuple[Any, Any]],
    progress: Callable[[int], None] | None,
    terms: Callable[[Subject, Any, Any], Iterable[Term]],
    control: Control | None = None,
) -> dict[str, Tensor]:
    """The sum over batches of what ``terms(subject, inputs, labels)`` gives for each.

    Args:
        model: any module, or one made ready; it is run in eval mode and left as it was.
        batches: (inputs, labels) pairs.
        progress: called with the number of batches done.
        terms: any number of terms for a weight and batch.
        control: follows the pass, and keeps its state.

    Returns:
        name -> float64 tensor shaped like the weight, in the order in which weights are used.

    Raises:
        UnsupportedOperationError: the model's weights cannot be told, see
            :func:`swim.networks.weights.tracing.trace`.
        DataError: ``batches`` is empty or not made of pairs, labels do not fit, or outputs or a
            term are not finite.
    """
    whole = model.model if isinstance(model, Subject) else model
    with left_alone(whole):
        (sample, _), stream = first(whole, batches)
        subject = model if isinstance(model, Subject) else subject_of(model, sample)
        totals: dict[str, Tensor] = {}
        control = control or Control()
        control.keep_sums(subject, totals)
        for _, inputs, labels in control.remaining(stream, progress):
            own = _of_batch(subject, inputs.to(subject.place), labels, terms, sample)
            for term in own:
                add_term(totals, term)
    return {
        name: totals[name] if name in totals else torch.zeros_like(weight, dtype=torch.float64)
        for name, weight in subject.weights.items()
    }


def add_term(totals: dict[str, Tensor], term: Term) -> None:
    """Add a term to the float64 sum of its weight.

    Raises:
        DataError: the term is not finite.
    """
    name, value, unit = term
    if not value.isfinite().all():
        raise not_finite()
    if name in totals:
        totals[name].add_(value, alpha=unit)
    else:  # not before: the activations have given their memory back now
        totals[name] = value.double().mul_(unit)


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
        place = where(lambda mode: subject.run(subject.under(mode), inputs))
        raise NotFiniteError(f"{error}{place}") from None


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


def differentiable(subject: Subject, inputs: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """One pass's outputs (N, ...), and the weights that it used as leaves to differentiate by.

    Weights that are stored tensors are replaced by leaves there, at the speed of a plain pass;
    where they are not, or a batch may use others, the pass is followed.

    Raises:
        DataError: the model returns something other than a tensor.
    """
    traced = subject.traced
    if traced.followed or traced.overwrites:
        mode = Leaves(subject)
        return subject.run(mode, inputs), mode.by_name
    leaves = {name: _leaf_of(subject.weights[name]) for name in traced.handed}
    state = {**parameters_of(subject.model), **buffers_of(subject.model)}
    for name, leaf in leaves.items():
        state.update(dict.fromkeys(traced.handed[name], leaf))
    afresh()
    with torch.enable_grad():
        outputs = call(subject.model, state, arguments(inputs))
    return one_tensor(outputs), leaves


class Leaves(Follow):
    """Hands every weighted call a leaf to differentiate by, in place of its weight.

    A weight used twice is one leaf, and so is one that the forward computes (quantises).

    Attributes:
        by_name: the leaves of the weights that the pass used, in that order.
    """

    def __init__(self, subject: Subject, weights: Weights | None = None):
        """Leaves with the model's own values, or with those of ``weights`` by name."""
        values = subject.weights if weights is None else weights
        # Where they are the stored tensors themselves, these: a custom autograd.Function keeps what
        # it was given, and torch's transforms let no leaf be made within them.
        self._stored = {name: _leaf_of(values[name]) for name in subject.traced.handed}
        super().__init__(subject.stored(self._stored), subject.traced.spread)
        self._subject, self._weights = subject, weights
        self.by_name: dict[str, Tensor] = {}

    def _leaf(self, operand: Operand, name: str) -> Tensor:
        if name not in self.by_name:
            values = self._weights
            if name in self._stored:
                self.by_name[name] = self._stored[name]
            else:
                value = self._subject.value(operand, name) if values is None else values[name]
                if in_transform():
                    raise UnsupportedOperationError(
                        f"the weight {name!r} is used within torch.func (vmap, grad), where only "
                        "parameters as they are can be differentiated; write that part without it"
                    )
                self.by_name[name] = _leaf_of(value)
        return self.by_name[name]

    def _weighted(
        self, func: Any, args: tuple[Any, ...], kwargs: Any, operands: tuple[Operand, ...]
    ) -> Any:
        leaves = {name: self._leaf(o, name) for o in operands for name in o.names}
        return with_weights(func, args, kwargs, operands, leaves)


def _leaf_of(value: Tensor) -> Tensor:
    return value.detach().requires_grad_()


def in_transform() -> bool:
    """Whether a function transform of torch's (``vmap``, ``grad``, ``jvp``) runs now."""
    return torch._C._functorch.peek_interpreter_stack() is not None


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
