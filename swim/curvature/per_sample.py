"""Sums over samples of squared derivatives: ``sum_n sum_k (J_n^T s_nk)_i^2``.

What the Fisher and Gauss-Newton estimators are made of. ``J_n`` is the Jacobian of sample n's
outputs with respect to the weights, ``s_nk`` a vector that the estimator chooses. Each weighted
call's output gets a zero added, to differentiate by, and ``torch.func.vmap`` runs the samples
apart, so that nothing is assumed about where the model keeps its batch. Weights come in only then,
call by call: the whole network's gradients of a batch never exist at once.
"""

import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from swim.curvature.control import Control
from swim.curvature.shared import Leaves, Term, normalised, reached
from swim.data.batches import Inputs, Several, arguments
from swim.errors import SwimError
from swim.networks.subject import Subject
from swim.networks.weights.expressions import Operand, Stored, Weights
from swim.networks.weights.interception import Follow, with_weights
from swim.networks.weights.operations import Path, places, put, tensors_in

# Elements of the activations, or of a layer's gradients, that are held at once. Not taken from the
# machine, since results must not depend on it.
ROOM = 2**24


@dataclass(frozen=True)
class _Use:
    """A call with weights, as it ran on one sample.

    Attributes:
        names: of its weights.
        run: its outputs, as a function of the activations that it is given and of its weights.
        given, outputs: shapes of both, (1, ...) each.
        plain: whether it is one matrix-vector product a sample.
    """

    names: tuple[str, ...]
    run: Callable[[Sequence[Tensor], Weights], tuple[Tensor, ...]]
    given: tuple[torch.Size, ...]
    outputs: tuple[torch.Size, ...]
    plain: bool

    def gradient(
        self, name: str, weights: Weights, given: Sequence[Tensor], sent: Sequence[Tensor]
    ) -> Tensor:
        """One sample's derivative with respect to a weight, given those of the outputs."""

        def outputs(weight: Tensor) -> tuple[Tensor, ...]:
            return self.run(given, {**weights, name: weight})

        back: Any = torch.func.vjp(outputs, weights[name])[1]
        (gradient,) = back(tuple(sent))
        found: Tensor = gradient
        return found


def _floating(result: Any) -> tuple[Tensor, ...]:
    return tuple(t for t in tensors_in([result]) if t.is_floating_point())


class _Uses(Follow):
    """Lists the calls with weights."""

    def __init__(self, subject: Subject, stored: Stored | None = None):
        super().__init__(stored or subject.stored(), subject.traced.spread)
        self._subject = subject
        self.found: list[_Use] = []

    def _run(self, func: Any, args: Any, kwargs: Any, operands: tuple[Operand, ...]) -> Any:
        """The call with the weights of the pass."""
        for operand in operands:
            for name in operand.names:
                self._subject.value(operand, name)
        return with_weights(func, args, kwargs, operands, self._subject.weights)

    def _given(self, args: Any, kwargs: Any, operands: tuple[Operand, ...]) -> dict[Path, Tensor]:
        """The activations of a call."""
        weights = {operand.path for operand in operands}
        return {
            path: tensor
            for path, tensor in places(args, kwargs)
            if path not in weights and self.flow.expression(tensor) is None
        }

    def _weighted(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        operands: tuple[Operand, ...],
    ) -> Any:
        out = self._run(func, args, kwargs, operands)
        given = self._given(args, kwargs, operands)

        def run(x: Sequence[Tensor], weights: Weights) -> tuple[Tensor, ...]:
            made = {operand.path: operand.of(weights) for operand in operands}
            positional, named = put(args, kwargs, {**dict(zip(given, x, strict=True)), **made})
            return _floating(func(*positional, **named))

        names = tuple(dict.fromkeys(name for o in operands for name in o.names))
        shapes = [tuple(t.shape for t in part) for part in (given.values(), _floating(out))]
        plain = func is F.linear and operands[0].whole and [len(s) for s in shapes[0]] == [2]
        plain = plain and shapes[0][0][0] == 1
        self.found.append(_Use(names, run, shapes[0], shapes[1], plain))
        return out


class _Taps(_Uses):
    """Adds tensors of zeros to what each of those calls gives, and keeps what it was given."""

    def __init__(self, subject: Subject, stored: Stored, zeros: Sequence[Sequence[Tensor]]):
        super().__init__(subject, stored)
        self.given: list[list[Tensor]] = []
        self._zeros = iter(zeros)

    def _weighted(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        operands: tuple[Operand, ...],
    ) -> Any:
        out = self._run(func, args, kwargs, operands)
        # The model may write to them later.
        self.given.append([t.clone() for t in self._given(args, kwargs, operands).values()])
        return _plus(out, iter(next(self._zeros)))


def _plus(result: Any, zeros: Iterator[Tensor]) -> Any:
    """A result with the next tensors added to its floating-point ones."""
    if isinstance(result, Tensor):
        return result + next(zeros) if result.is_floating_point() else result
    if isinstance(result, list | tuple):
        return type(result)(_plus(part, zeros) for part in result)
    return result


def _at_calls(
    subject: Subject, uses: Sequence[_Use], x: Inputs, starts: Tensor
) -> tuple[list[list[Tensor]], list[tuple[Tensor, ...]]]:
    """What each call was given, (n, 1, ...), and ``s`` sent back to its outputs, (n, K, 1, ...).

    Args:
        subject: the model.
        uses: its calls with weights.
        x: samples (n, ...).
        starts: (n, K, ...), the last dimensions those of a sample's outputs.

    Raises:
        RuntimeError, or whatever the model says: it does not run under ``torch.func.vmap``.
    """
    kind, stored = starts.dtype, subject.stored()  # before torch's transforms begin

    def forward(zeros: Any, sample: tuple[Tensor, ...]) -> tuple[Tensor, list[list[Tensor]]]:
        mode = _Taps(subject, stored, zeros)
        outputs = subject.run(mode, Several(sample)[None])
        return outputs[0], mode.given

    def one(
        sample: tuple[Tensor, ...], vectors: Tensor
    ) -> tuple[list[list[Tensor]], list[tuple[Tensor, ...]]]:
        zeros = [tuple(sample[0].new_zeros(s, dtype=kind) for s in use.outputs) for use in uses]
        made: Any = torch.func.vjp(lambda z: forward(z, sample), zeros, has_aux=True)
        _, back, given = made
        sent = torch.func.vmap(lambda vector: back(vector)[0])(vectors)
        return given, sent

    with warnings.catch_warnings():
        # Operations without a batching rule (torch's fake-quantise) run sample by sample.
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
        found: Any = torch.func.vmap(one)(arguments(x), starts)
        given, sent = found
        return given, sent


_Parts = list[tuple[_Use, list[Tensor], tuple[Tensor, ...]]]


def _vmapped(
    subject: Subject, uses: Sequence[_Use], x: Inputs, starts: Tensor
) -> dict[str, _Parts] | None:
    """For each weight, its calls with what :func:`_at_calls` finds; None where vmap fails."""
    try:
        given, sent = _at_calls(subject, uses, x, starts)
    except (torch.OutOfMemoryError, SwimError):
        raise
    except Exception:  # whatever a model, or torch, says to tensors of its transforms
        return None
    calls = list(zip(uses, given, sent, strict=True))
    names = dict.fromkeys(name for use in uses for name in use.names)
    return {name: [part for part in calls if name in part[0].names] for name in names}


def _checked(name: str, weights: Weights, parts: _Parts, whole: Tensor) -> Tensor | None:
    """The sum of squares of one weight in float64; None where torch's transforms fail.

    Not all of torch's batching rules are right (that of ``prelu``), so the samples' derivatives by
    the first vector have to sum to ``whole``, which an ordinary backward pass gives.
    """
    total, first, size = torch.zeros_like(whole, dtype=torch.float64), 0 * whole, 0 * whole
    try:
        for squares, plain in _of_one_weight(name, weights, parts):
            total += squares
            if plain is not None:
                first, size = first + plain, size + squares
    except (torch.OutOfMemoryError, SwimError):
        raise
    except Exception:
        return None
    bound = max(1e-2, 16 * torch.finfo(whole.dtype).eps)
    allowed = bound * (size.sqrt() + whole.abs()).mean()
    wrong = (first - whole).abs().mean() > allowed and total.isfinite().all()
    return None if wrong else total


def _one_by_one(
    subject: Subject,
    x: Inputs,
    starts: Tensor,
    unit: float,
    control: Control,
    names: Collection[str] | None = None,
) -> Iterator[Term]:
    """Squared derivatives of each sample (n, ...) and vector (n, K, ...), by a pass for each.

    Raises:
        UnsupportedOperationError: no sample's outputs depend on a weight that is used.
    """
    cut: dict[str, bool] = {}
    for i in range(len(x)):
        mode = Leaves(subject)
        outputs = subject.run(mode, x[i : i + 1])
        for start in starts[i]:
            found = torch.autograd.grad(
                outputs, list(mode.by_name.values()), start[None],
                retain_graph=True, allow_unused=True,
            ) if outputs.requires_grad else [None] * len(mode.by_name)  # fmt: skip
            for name, value in zip(mode.by_name, found, strict=True):
                cut[name] = cut.get(name, True) and value is None
                if value is not None and (names is None or name in names):
                    yield name, value.square(), unit
        control.advance(1)
    unreached = [name for name, missing in cut.items() if missing]
    reached([None] * len(unreached), unreached)


def summed_squares(
    subject: Subject,
    inputs: Inputs,
    starts: Callable[[Tensor, slice], Tensor],
    control: Control,
) -> Iterator[Term]:
    """The sums of one batch, in any number of terms a weight.

    Args:
        subject: the model.
        inputs: (N, ...).
        starts: ``starts(outputs, rows)`` gives the vectors ``s`` in float64, (K, n, ...), for the
            outputs (n, ...) of these rows of the batch.
        control: is told of samples that are done.

    Raises:
        UnsupportedOperationError: the outputs do not depend on a weight that is used.
    """
    mode = _Uses(subject)
    vectors = len(starts(subject.run(mode, inputs[:1]), slice(0, 1)))
    uses = mode.found
    elements = sum(
        sum(s.numel() for s in use.given) + vectors * sum(s.numel() for s in use.outputs)
        for use in uses
    )
    size, apart = max(1, ROOM // max(1, elements)), not subject.traced.branches
    for first in range(0, len(inputs), size):
        rows = slice(first, first + size)
        x = inputs[rows]
        leaves = Leaves(subject)
        outputs = subject.run(leaves, x)
        start, unit = normalised(starts(outputs.detach(), rows), outputs.dtype)
        each = start.transpose(0, 1)
        calls = _vmapped(subject, uses, x, each) if apart else None
        if calls is None:
            apart = False
            del leaves, outputs
            yield from _one_by_one(subject, x, each, unit**2, control)
            continue
        whole = _plain(outputs, leaves.by_name, start[0])
        del leaves, outputs
        failed = []
        for name, parts in calls.items():
            value = _checked(name, subject.weights, parts, whole.pop(name))
            if value is None:
                failed.append(name)
            else:
                yield name, value, unit**2
        if failed:
            apart = False
            yield from _one_by_one(subject, x, each, unit**2, Control(), failed)
        control.advance(len(x))


def _plain(outputs: Tensor, leaves: Mapping[str, Tensor], start: Tensor) -> dict[str, Tensor]:
    """Derivatives of a whole batch.

    Raises:
        UnsupportedOperationError: the outputs do not depend on one of the leaves.
    """
    found: Iterable[Tensor | None] = [None] * len(leaves)
    if outputs.requires_grad:
        found = torch.autograd.grad(outputs, list(leaves.values()), start, allow_unused=True)
    return dict(zip(leaves, reached(found, leaves), strict=True))


def _of_one_weight(
    name: str, weights: Weights, parts: _Parts
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Sums over samples of squared derivatives by a weight, over all its uses.

    With those by the first vector come the sums of the derivatives themselves.
    """
    use, given, sent = parts[0]
    if len(parts) == 1 and use.plain:
        # (g x^T)^2 = g^2 (x^2)^T: no sample's gradient is needed.
        x, g = given[0].flatten(1), sent[0].flatten(2)
        yield g[:, 0].square().T @ x.square(), g[:, 0].T @ x
        if g.shape[1] > 1:
            yield g[:, 1:].square().sum(1).T @ x.square(), None
        return
    size = max(1, ROOM // weights[name].numel())

    def gradient(*samples: tuple[list[Tensor], list[Tensor]]) -> Tensor:
        terms = [
            use.gradient(name, weights, x, g)
            for (use, _, _), (x, g) in zip(parts, samples, strict=True)
        ]
        return torch.stack(terms).sum(0)

    samples = len(sent[0])
    for k in range(sent[0].shape[1]):
        for first in range(0, samples, size):
            rows = slice(first, first + size)
            chunk = [([x[rows] for x in xs], [g[rows, k] for g in gs]) for _, xs, gs in parts]
            found = torch.func.vmap(gradient)(*chunk)
            plain = found.sum(0) if k == 0 else None
            yield found.square_().sum(0), plain
