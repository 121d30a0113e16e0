"""The diagonal second derivative of any network, by one forward and one backward pass.

The recursion is back-propagation through squared Jacobians. While the model's ordinary forward
runs, a ``TorchFunctionMode`` swaps the few operations that need a backward of their own
(:mod:`swim.curvature.rules`); what autograd then leaves in each weight is its second
derivative. Two guards keep anything without a rule from passing silently: an allow-list of
functions during the forward, and a walk over the graph that it left behind, which also sees
what runs below Python (scripted code, custom ``autograd.Function``).
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction
from torch.utils.checkpoint import checkpoint

from swim.curvature import zero_one_operations
from swim.curvature.advice import advise, coherent
from swim.curvature.autograd_graph import graph_behind
from swim.curvature.control import Control
from swim.curvature.losses import output_curvature
from swim.curvature.rules import LAYERS, OURS, RULES, refuse
from swim.curvature.rules.contractions import contraction
from swim.curvature.shared import Term, in_transform, normalised, not_finite, reached, summed
from swim.data.labels import Loss
from swim.networks.subject import Subject
from swim.networks.weights.expressions import Operand
from swim.networks.weights.interception import Follow
from swim.networks.weights.operations import places, put, tensors_in

# Powers of two to which a batch's largest second derivative is brought before it is sent back.
_SCALES = (40, 0, -40)

Rules = Mapping[Any, Callable[..., Tensor]]


class _SquaredJacobians(Follow):
    """Replaces weights by leaves and operations by their rules while a model runs.

    Attributes:
        leaves: one for each use of a weight, and the weight's name.
        dropped: where terms are dropped that count, see :mod:`swim.curvature.advice`.
    """

    def __init__(self, subject: Subject, rules: Rules):
        super().__init__(subject.stored(), subject.traced.spread)
        self._subject, self._rules = subject, rules
        self.leaves: list[tuple[str, Tensor]] = []
        self.dropped: set[str] = set()

    def _call(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        # Stored tensors themselves need no derivative, such as those of unregistered modules.
        stored = {
            path: tensor.detach()
            for path, tensor in places(args, kwargs)
            if tensor.requires_grad and self.flow.expression(tensor) is not None
        }
        return super()._call(func, *(put(args, kwargs, stored) if stored else (args, kwargs)))

    def _other(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if not any(t.requires_grad for t in tensors_in([args, kwargs])):
            return func(*args, **kwargs)
        if not torch.is_grad_enabled():
            raise refuse(func, "it runs on activations under no_grad, which hides it")
        if func in self._rules:
            result = self._rules[func](func, *args, **kwargs)
            self.dropped.add(coherent(func, args, result))
            return result
        if not zero_one_operations.function(func, args, kwargs):
            raise refuse(func, "there is no rule for it")
        return func(*args, **kwargs)

    def _weighted(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        operands: tuple[Operand, ...],
    ) -> Tensor:
        if not torch.is_grad_enabled():
            raise refuse(func, "it runs under no_grad, which hides it")
        if in_transform():
            raise refuse(func, "it runs within torch.func (vmap, grad, jvp), which hides it")
        if any(map(torch.is_autocast_enabled, ("cpu", "cuda"))):
            raise refuse(func, "it runs under autocast, in a type that is not the weight's")
        made = {}
        for operand in operands:
            leaves = {name: self._leaf(operand, name) for name in operand.names}
            made[operand.path] = operand.of(leaves)
        args, kwargs = put(args, kwargs, made)
        if func in LAYERS and func in self._rules:
            return self._rules[func](func, *args, **kwargs)
        return contraction(func, args, kwargs, list(made))

    def _leaf(self, operand: Operand, name: str) -> Tensor:
        leaf = self._subject.value(operand, name).detach().requires_grad_()
        self.leaves.append((name, leaf))
        return leaf


def check_graph(outputs: Tensor, leaves: list[Tensor]) -> None:
    """Raise unless every node behind ``outputs`` is ours or on the allow-list.

    Raises:
        UnsupportedOperationError: naming the first node that is neither.
    """
    own_leaves = {id(leaf) for leaf in leaves}
    for node in graph_behind(outputs):
        if isinstance(node, BackwardCFunction):
            known = getattr(node, "_forward_cls", None) in OURS
        elif node.name().endswith("AccumulateGrad"):
            known = id(getattr(node, "variable", None)) in own_leaves
        else:
            known = zero_one_operations.node(node)
        if not known:
            raise refuse(type(node), "the recursion has no rule for this node of the graph")


def _run(subject: Subject, mode: _SquaredJacobians, inputs: Any) -> Tensor:
    """A pass that autograd keeps itself: checkpointing runs parts of it again, without rules."""
    hidden = "the recursion cannot pass through torch.utils.checkpoint"
    try:
        with torch.autograd.graph.disable_saved_tensors_hooks(hidden):
            return subject.run(mode, inputs)
    except RuntimeError as error:
        if hidden not in str(error):
            raise
        raise refuse(checkpoint, "it runs parts of the network again, unseen") from error


def second_derivatives(
    subject: Subject,
    inputs: Any,
    labels: Any,
    loss: Loss,
    instead: Rules | None = None,
    dropped: set[str] | None = None,
) -> list[Term]:
    """Second derivatives of one batch, a term per use of a weight.

    A confident network's second derivatives, and what squared weights make of them, leave the
    range of float32: denormal numbers would slow the pass down, and zeros would leave it to ties
    which weight comes first. So the start is scaled; to less where sums become too large.

    Args:
        subject: the model.
        inputs: a batch (N, ...).
        labels: of the batch, or None.
        loss: as in :func:`recursion`.
        instead: rules that win over the recursion's own.
        dropped: is given what the network has where the recursion drops terms that count.

    Raises:
        UnsupportedOperationError, DataError: as :func:`recursion`.
    """
    for scale in _SCALES:
        mode = _SquaredJacobians(subject, {**RULES, **(instead or {})})
        outputs = _run(subject, mode, inputs)
        leaves = {leaf: name for name, leaf in mode.leaves}
        check_graph(outputs, list(leaves))
        if dropped is not None:
            dropped |= mode.dropped - {""}
        start, unit = normalised(output_curvature(loss, outputs, labels), outputs.dtype, scale)
        second = torch.autograd.grad(outputs, list(leaves), start, allow_unused=True)
        values = reached(second, leaves.values())
        if all(math.isfinite(value.max()) for value in values):  # none is negative
            return [(name, v, unit) for name, v in zip(leaves.values(), values, strict=True)]
    raise not_finite()


def recursion(
    model: nn.Module,
    batches: Iterable[tuple[Any, Any]],
    *,
    loss: Loss = "cross_entropy",
    progress: Callable[[int], None] | None = None,
    control: Control | None = None,
) -> dict[str, Tensor]:
    """Raw second derivatives ``H_ii`` of the loss, summed over samples.

    The diagonal recursion of Becker & LeCun (1989): off-diagonal terms are dropped at each
    layer, and the two branches of a fan-out add. docs/sensitivity.md lists where it is exact.

    Args:
        model: any module of the operations listed there; it is run in eval mode and left as
            it was.
        batches: (inputs, labels) pairs; of the labels only their shape is used, and which count,
            since neither loss's second derivative depends on them. They may be None where outputs
            are (N, C).
        loss: ``cross_entropy`` or ``mse`` (sum of squared errors).
        progress: called with the number of batches done.
        control: follows the pass, and keeps its state.

    Returns:
        name -> float64 tensor shaped like the weight, in the order in which weights are used;
        a sum over samples, so the split into batches changes it by rounding only. A weight
        that is used twice has the sum of both uses.

    Raises:
        UnsupportedOperationError: the model holds an operation without a rule.
        DataError: ``batches`` is empty or not made of pairs, or a second derivative is not finite.
        SettingError: the loss is unknown.
    """
    dropped: set[str] = set()

    def terms(subject: Subject, inputs: Any, labels: Any) -> list[Term]:
        before = set(dropped)
        found = second_derivatives(subject, inputs, labels, loss, dropped=dropped)
        advise(dropped - before)
        return found

    return summed(model, batches, progress, terms, control)
