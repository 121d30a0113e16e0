"""Sums over samples of squared derivatives: ``sum_n sum_k (J_n^T s_nk)_i^2``.

What the Fisher and Gauss-Newton estimators are made of. ``J_n`` is the Jacobian of sample n's
outputs with respect to the weights, ``s_nk`` a vector that the estimator chooses. Each weighted
call's output gets a zero added, to differentiate by, and ``torch.func.vmap`` runs the samples
apart, so that nothing is assumed about where the model keeps its batch. Weights come in only then,
call by call: the whole network's gradients of a batch never exist at once.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from swim.batches import Inputs, Several, arguments
from swim.curvature.passes import Subject, Term, normalised
from swim.errors import UnsupportedOperationError
from swim.tracing import Call, Replay, with_weight

# Elements of the activations, or of a layer's gradients, that are held at once. Not taken from the
# machine, since results must not depend on it.
ROOM = 2**24


@dataclass(frozen=True)
class _Use:
    """A call with a named weight, as it ran on one sample.

    Attributes:
        name, weight: of the weight.
        run: the call as a function of its input and weight.
        shapes: of its input and its output, (1, ...) each.
        plain: whether it is one matrix-vector product a sample.
    """

    name: str
    weight: Tensor
    run: Callable[[Tensor, Tensor], Tensor]
    shapes: tuple[torch.Size, torch.Size]
    plain: bool

    def gradient(self, x: Tensor, g: Tensor) -> Tensor:
        """One sample's derivative with respect to the weight, given that of the output."""
        back: Any = torch.func.vjp(lambda weight: self.run(x, weight), self.weight)[1]
        (gradient,) = back(g)
        found: Tensor = gradient
        return found


def _input(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    x: Tensor = args[0] if args else kwargs["input"]
    return x


class _Uses(Replay):
    """Lists the calls with a named weight."""

    def __init__(self, calls: Sequence[Call]):
        super().__init__(calls)
        self.found: list[_Use] = []

    def _weighted(
        self, call: Call, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Tensor:
        out: Tensor = func(*args, **kwargs)
        if call.name is not None:
            x = _input(args, kwargs)

            def run(x: Tensor, weight: Tensor) -> Tensor:
                positional, named = with_weight(args, kwargs, weight)
                if positional:
                    return func(x, *positional[1:], **named)
                return func(**{**named, "input": x})

            plain = func is F.linear and x.dim() == 2
            self.found.append(_Use(call.name, call.weight, run, (x.shape, out.shape), plain))
        return out


class _Taps(Replay):
    """Adds a tensor of zeros to what each of those calls gives, and keeps what it was given."""

    def __init__(self, calls: Sequence[Call], zeros: Sequence[Tensor]):
        super().__init__(calls)
        self.given: list[Tensor] = []
        self._zeros = iter(zeros)

    def _weighted(
        self, call: Call, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Tensor:
        out: Tensor = func(*args, **kwargs)
        if call.name is None:
            return out
        self.given.append(_input(args, kwargs).clone())  # the model may write to it later
        return out + next(self._zeros)


def _at_calls(
    subject: Subject, uses: Sequence[_Use], x: Inputs, starts: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """What each call was given, (n, 1, ...), and ``s`` sent back to its output, (n, K, 1, ...).

    Args:
        subject: the model.
        uses: its calls with a named weight.
        x: samples (n, ...).
        starts: (n, K, ...), the last dimensions those of a sample's outputs.

    Raises:
        UnsupportedOperationError: the model does not run under ``torch.func.vmap``.
    """

    def forward(zeros: list[Tensor], sample: tuple[Tensor, ...]) -> tuple[Tensor, list[Tensor]]:
        mode = _Taps(subject.calls, zeros)
        outputs = subject.run(mode, Several(sample)[None])
        return outputs[0], mode.given

    def one(sample: tuple[Tensor, ...], vectors: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        zeros = [sample[0].new_zeros(use.shapes[1], dtype=use.weight.dtype) for use in uses]
        made: Any = torch.func.vjp(lambda z: forward(z, sample), zeros, has_aux=True)
        _, back, given = made
        sent = torch.func.vmap(lambda vector: back(vector)[0])(vectors)
        return given, sent

    try:
        with warnings.catch_warnings():
            # Operations without a batching rule (torch's fake-quantise) run sample by sample.
            warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
            found: tuple[list[Tensor], list[Tensor]] = torch.func.vmap(one)(arguments(x), starts)
            return found
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise UnsupportedOperationError(
            "derivatives of single samples need a network that torch.func.vmap can run, and this "
            f"one cannot: {reason} The estimators 'recursion' and 'hutchinson' run whole batches."
        ) from error


def summed_squares(
    subject: Subject, inputs: Inputs, starts: Callable[[Tensor, slice], Tensor]
) -> Iterator[Term]:
    """The sums of one batch, in any number of terms a weight.

    Args:
        subject: the model.
        inputs: (N, ...).
        starts: ``starts(outputs, rows)`` gives the vectors ``s`` in float64, (K, n, ...), for the
            outputs (n, ...) of these rows of the batch.

    Raises:
        UnsupportedOperationError: the model does not run under ``torch.func.vmap``.
    """
    mode = _Uses(subject.calls)
    vectors = len(starts(subject.run(mode, inputs[:1]), slice(0, 1)))
    uses = mode.found
    elements = sum(x.numel() + vectors * out.numel() for x, out in (u.shapes for u in uses))
    size = max(1, ROOM // elements)
    for first in range(0, len(inputs), size):
        rows = slice(first, first + size)
        x = inputs[rows]
        outputs = subject.run(_Uses(subject.calls), x)
        start, unit = normalised(starts(outputs, rows), outputs.dtype)
        given, sent = _at_calls(subject, uses, x, start.transpose(0, 1))
        for name in subject.weights:
            parts = [part for part in zip(uses, given, sent, strict=True) if part[0].name == name]
            for value in _of_one_weight(parts):
                yield name, value, unit**2


def _of_one_weight(parts: list[tuple[_Use, Tensor, Tensor]]) -> Iterator[Tensor]:
    """The sum over samples and vectors of squared derivatives by a weight, over all its uses."""
    use, given, sent = parts[0]
    if len(parts) == 1 and use.plain:
        # (g x^T)^2 = g^2 (x^2)^T: no sample's gradient is needed.
        yield sent.flatten(2).square().sum(1).T @ given.flatten(1).square()
        return
    size = max(1, ROOM // use.weight.numel())

    def gradient(*tensors: Tensor) -> Tensor:
        both = zip(tensors[::2], tensors[1::2], strict=True)
        terms = [use.gradient(x, g) for (use, _, _), (x, g) in zip(parts, both, strict=True)]
        return torch.stack(terms).sum(0)

    for k in range(sent.shape[1]):
        tensors = [t for _, given, sent in parts for t in (given, sent[:, k])]
        for chunk in zip(*(t.split(size) for t in tensors), strict=True):
            yield torch.func.vmap(gradient)(*chunk).square_().sum(0)
