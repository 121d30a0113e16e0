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

from swim.curvature import allowed
from swim.curvature.losses import output_curvature
from swim.curvature.rules import OURS, RULES, refuse
from swim.errors import DataError, UnsupportedOperationError
from swim.tracing import (
    WEIGHTED,
    Call,
    Watch,
    buffers_of,
    device_of,
    first,
    left_alone,
    parameters_of,
    tensors_in,
    trace,
    weight_argument,
    with_weight,
)


class _SquaredJacobians(Watch):
    """Replaces weights by leaves and operations by their rules while a model runs."""

    def __init__(self, calls: list[Call]):
        super().__init__()
        self._expected = calls
        self.leaves: list[Tensor] = []

    def _call(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if func in WEIGHTED:
            return self._weighted(func, args, kwargs)
        if not any(t.requires_grad for t in tensors_in([args, kwargs])):
            return func(*args, **kwargs)
        if not torch.is_grad_enabled():
            raise refuse(func, "it runs on activations under no_grad, which hides it")
        if func in RULES:
            return RULES[func](func, *args, **kwargs)
        if not allowed.function(func, args, kwargs):
            raise refuse(func, "there is no rule for it")
        return func(*args, **kwargs)

    def _weighted(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
        if func not in RULES:
            raise refuse(func, "there is no rule for it")
        if not torch.is_grad_enabled():
            raise refuse(func, "it runs under no_grad, which hides it")
        weight = weight_argument(args, kwargs).detach()
        if len(self.leaves) == len(self._expected) or (
            weight.shape != self._expected[len(self.leaves)].weight.shape
        ):
            raise UnsupportedOperationError(
                "the model runs other layers from batch to batch; its weights cannot be told apart"
            )
        named = self._expected[len(self.leaves)].name is not None
        leaf = weight.requires_grad_(named)
        self.leaves.append(leaf)
        args, kwargs = with_weight(args, kwargs, leaf)
        return RULES[func](func, *args, **kwargs)


def check_graph(outputs: Tensor, leaves: list[Tensor]) -> None:
    """Raise unless every node behind ``outputs`` is ours or on the allow-list.

    Raises:
        UnsupportedOperationError: naming the first node that is neither.
    """
    own_leaves = {id(leaf) for leaf in leaves}
    seen, stack = set(), [outputs.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(node, BackwardCFunction):
            known = getattr(node, "_forward_cls", None) in OURS
        elif node.name().endswith("AccumulateGrad"):
            known = id(getattr(node, "variable", None)) in own_leaves
        else:
            known = allowed.node(node)
        if not known:
            raise refuse(type(node), "the recursion has no rule for this node of the graph")
        stack.extend(parent for parent, _ in node.next_functions)


# Powers of two to which a batch's largest second derivative is brought before it is sent back.
_SCALES = (40, 0, -40)


def _batch(
    model: nn.Module, state: dict[str, Tensor], calls: list[Call], inputs: Any, loss: str
) -> tuple[list[Tensor], float]:
    """Second derivatives of one batch, one tensor per call with a named weight, and their unit.

    A confident network's second derivatives, and what squared weights make of them, leave the
    range of float32: denormal numbers would slow the pass down, and zeros would leave it to ties
    which weight comes first. Everything is linear in what the pass starts from, so that is
    scaled by a power of two, which changes no other bit; to less where sums become too large.

    Raises:
        DataError: a second derivative is infinite or NaN.
    """
    for scale in _SCALES:
        outputs, leaves = _forward(model, state, calls, inputs)
        start = output_curvature(loss, outputs)
        exponent = scale - max(math.frexp(float(start.max()))[1], -900)
        second = torch.autograd.grad(
            outputs,
            list(leaves),
            (start * 2.0**exponent).to(outputs.dtype),
            allow_unused=True,
        )
        for value, name in zip(second, leaves.values(), strict=True):
            if value is None:
                raise UnsupportedOperationError(
                    f"the output does not depend on a call that uses {name!r}: the graph is cut "
                    "(detach, no_grad) or the result is unused"
                )
        if all(math.isfinite(value.max()) for value in second):  # none is negative
            return list(second), 2.0**-exponent
    raise DataError(
        "second derivatives are not finite: the model's weights or outputs hold NaN or infinity, "
        "or are far too large"
    )


def _forward(
    model: nn.Module, state: dict[str, Tensor], calls: list[Call], inputs: Any
) -> tuple[Tensor, dict[Tensor, str]]:
    """Outputs, and the weights that the recursion is to reach, with their names."""
    mode = _SquaredJacobians(calls)
    with torch.enable_grad(), mode:
        outputs = torch.func.functional_call(model, state, (inputs,))
    if not isinstance(outputs, Tensor):
        raise DataError(
            f"the model must return one tensor of outputs, not {type(outputs).__name__}"
        )
    if len(mode.leaves) != len(calls):
        raise UnsupportedOperationError(
            "the model runs other layers from batch to batch; its weights cannot be told apart"
        )
    check_graph(outputs, mode.leaves)
    found = zip(mode.leaves, calls, strict=True)
    return outputs, {leaf: call.name for leaf, call in found if call.name}


def recursion(
    model: nn.Module,
    batches: Iterable[tuple[Any, Any]],
    *,
    loss: str = "cross_entropy",
    progress: Callable[[int], None] | None = None,
) -> dict[str, Tensor]:
    """Raw second derivatives ``H_ii`` of the loss, summed over samples.

    The diagonal recursion of Becker & LeCun (1989): off-diagonal terms are dropped at each
    layer, and the two branches of a fan-out add. docs/method.md lists where it is exact.

    Args:
        model: any module of the operations listed there; it is run in eval mode and left as
            it was.
        batches: (inputs, labels) pairs; labels are not used, since neither loss's second
            derivative depends on them.
        loss: ``cross_entropy`` or ``mse`` (sum of squared errors).
        progress: called with the number of batches done.

    Returns:
        name -> float64 tensor shaped like the weight, in the order in which weights are used;
        a sum over samples, so the split into batches changes it by rounding only. A weight
        that is used twice has the sum of both uses.

    Raises:
        UnsupportedOperationError: the model holds an operation without a rule.
        DataError: ``batches`` is empty or not made of pairs, or a second derivative is not finite.
        SettingError: the loss is unknown.
    """
    with left_alone(model):
        place = device_of(model)
        (inputs, _), stream = first(batches)
        calls = trace(model, _to(inputs, place)[:1])
        totals: dict[str, Tensor] = {}
        state = {**parameters_of(model, requires_grad=False), **buffers_of(model)}
        names = [call.name for call in calls if call.name]
        for done, (inputs, _) in enumerate(stream, start=1):
            second, unit = _batch(model, state, calls, _to(inputs, place), loss)
            for name, value in zip(names, second, strict=True):
                if name in totals:
                    totals[name].add_(value, alpha=unit)
                else:  # not before: the activations have given their memory back now
                    totals[name] = value.double().mul_(unit)
            if progress is not None:
                progress(done)
    return totals


def _to(inputs: Any, place: torch.device) -> Any:
    return inputs.to(place)
