"""Notes how a pass uses every stored tensor, and refuses uses that cannot be followed."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from swim.data.batches import arguments
from swim.errors import UnsupportedOperationError
from swim.networks.weights import operations
from swim.networks.weights.expressions import OUTSIDE, Expression, Operand, Root, Stored, nameless
from swim.networks.weights.flow import Flow, Seen
from swim.networks.weights.operations import operation_name, places, tensors_in
from swim.networks.weights.products_by_hand import (
    Products,
    behind_of,
    exact_on_purpose,
    listed,
    mark,
)

_FROM_PYTHON = {"tensor", "as_tensor", "asarray", "from_numpy", "from_dlpack", "frombuffer"}
_BATCH = (
    "predictions depend on which images share a batch: {} takes its mean and variance from the "
    "batch. Train with running statistics (track_running_stats=True), or use a layer that "
    "normalises each image alone"
)


class Tracer(Products):
    """Notes how a model uses its stored tensors, over one or several passes.

    Attributes:
        elsewhere: names of weights that are also used in other ways than as weights.
        branches: whether values of activations reach Python.
        quantised: whether the model rounds values.
    """

    def __init__(self, stored: Stored):
        super().__init__(stored)
        self.elsewhere: set[str] = set()
        self.branches = self.quantised = self._left_torch = False

    def begin(self, inputs: Any) -> None:
        """Start a pass and mark its inputs; the notes of earlier passes stay."""
        self.flow = Flow(self.flow.stored)
        for tensor in arguments(inputs):
            mark(tensor, frozenset())

    def _call(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        name = operation_name(func)
        self.quantised |= operations.jumps(name)
        if any(isinstance(a, torch.ScriptObject) for a in (*args, *kwargs.values())):
            raise UnsupportedOperationError(
                f"{name} takes packed weights, which cannot be seen; pass the float network and "
                "quantise it with weight_bits"
            )
        if operations.sets_data(func):
            self._check_replaced(args)
        if operations.batch_statistics(name, args, kwargs):
            raise UnsupportedOperationError(_BATCH.format(name))
        for _, tensor in places(args, kwargs):
            self._known_or_constant(tensor)
        seen = self.flow.look(func, args, kwargs)
        if seen.kind == "asks":
            return func(*args, **kwargs)
        if operations.depends_on_values(name, args):
            self._hand_over(name, seen, args, kwargs)
        if seen.kind == "expression":
            result = func(*args, **kwargs)
            self.flow.derive(seen, func, args, kwargs, result)
            if self._left_torch and name in _FROM_PYTHON:  # it may hold activations
                self._came_back(result)
            return result
        self._check_factors(name, seen, args, kwargs)
        behind = self._behind(args, kwargs, seen)
        if seen.kind == "use":
            self._use(name, seen.operands)
            behind = frozenset()
        if seen.kind in ("use", "mixed"):
            self._others(name, seen, args, kwargs)
        result = func(*args, **kwargs)
        written = self.flow.overwritten(func, args, kwargs)
        for tensor in tensors_in([result, written]):
            if self.flow.expression(tensor) is None:
                mark(tensor, behind)
        self._products(func, seen, args, kwargs, result)
        self._chosen(name, seen, args, kwargs, result)
        return result

    def _known_or_constant(self, tensor: Tensor) -> None:
        """A tensor of unknown origin is one that the model does not hold: a constant."""
        if self.flow.expression(tensor) is None and behind_of(tensor) is None:
            if self._left_torch:
                raise UnsupportedOperationError(
                    "activations leave torch (numpy, tolist) and come back; what is done with them "
                    "there cannot be seen. Write that part with torch's functions"
                )
            label = f"{OUTSIDE}, of shape {tuple(tensor.shape)}"
            self.flow.stored.values.setdefault(label, tensor.new_empty(0))
            root = Root(tensor, frozenset({label}))
            self.flow.note(tensor, Expression((root,), None))

    def _check_replaced(self, args: Any) -> None:
        """Refuse ``tensor.data = values`` with stored tensors: their identity does not show it."""
        found = [self.flow.expression(tensor) for tensor in tensors_in(args)]
        sources = {source for e in found if e is not None for source in e.sources}
        if sources:
            raise UnsupportedOperationError(
                f"the forward pass sets .data with {listed(sources)}, which cannot be followed; "
                "hand the values to the call that uses them (F.linear, F.conv2d)"
            )

    def _came_back(self, tensor: Tensor) -> None:
        self.flow.forget(tensor)
        if not tensor.is_floating_point():
            mark(tensor, frozenset())

    def _hand_over(self, name: str, seen: Seen, args: Any, kwargs: Any) -> None:
        """Values of an activation, or of a stored tensor, reach Python."""
        if seen.active or seen.kind == "free":
            self.branches = True
            found = [operations.at(args, kwargs, path) for path in seen.active]
            self._left_torch |= operations.leaves_torch(name) and any(t.numel() > 1 for t in found)
        for path, expression in seen.expressions.items():
            if operations.leaves_torch(name) and expression.sources:
                tensor = operations.at(args, kwargs, path)
                if tensor.numel() > 1 and self.flow.is_weight(expression):
                    raise UnsupportedOperationError(
                        f"{listed(expression.sources)} leaves torch by {name}(), so what is "
                        "done with its values cannot be seen; or "
                        f"{exact_on_purpose(expression.sources)}"
                    )
                self._note_digital(expression, f"read as a number ({name})")

    def _use(self, name: str, operands: tuple[Operand, ...]) -> None:
        for operand in operands:
            for root in operand.expression.roots:
                own = self.flow.stored.name_of(root) or ""
                if not root.tensor.is_floating_point():
                    raise UnsupportedOperationError(
                        f"the weight {own!r} in {name} has the type {root.tensor.dtype}; only "
                        f"floating-point weights can be programmed; or {exact_on_purpose([own])}"
                    )
                if root.tensor.layout != torch.strided:
                    raise UnsupportedOperationError(
                        f"the weight {own!r} in {name} is sparse; programme it dense (its zeros "
                        f"are devices too): leave out to_sparse(), or {exact_on_purpose([own])}"
                    )
                known = self.roots.setdefault(own, root)
                if known.tensor is not root.tensor and not _equal(known.tensor, root.tensor):
                    raise UnsupportedOperationError(
                        f"the weight {own!r} is computed in two ways that differ; which of them "
                        f"is programmed cannot be told; or {exact_on_purpose([own])}"
                    )
                if not root.handed:
                    self.elsewhere.add(own)

    def _behind(self, args: Any, kwargs: Any, seen: Seen) -> frozenset[str]:
        """Stored tensors that the activations of a call come from, past the last weighted call."""
        found = [behind_of(t) or frozenset() for _, t in places(args, kwargs)]
        own = [e.sources for e in seen.expressions.values()]
        return frozenset().union(*found, *own)

    def _others(self, name: str, seen: Seen, args: Any, kwargs: Any) -> None:
        """Expressions that meet activations otherwise than as weights."""
        weights = {operand.path for operand in seen.operands}
        contraction = operations.factors(name, args, kwargs)
        factors = contraction.paths if contraction else ()
        layer = contraction is not None and contraction.layer
        if len(weights) > 1 and not layer and "attention" not in name:
            raise UnsupportedOperationError(
                f"{name} multiplies an activation by several weights at once "
                f"({listed(n for o in seen.operands for n in o.names)}); one after the other, "
                "they can be programmed"
            )
        for path, expression in seen.expressions.items():
            if path in weights:
                continue
            tensor = operations.at(args, kwargs, path)
            if path in factors and not self.flow.stored.is_digital(*expression.sources, "constant"):
                if not expression.roots and not tensor.any():
                    continue
                raise nameless(expression, tensor)
            self._note_digital(expression, self._reason(name, expression, tensor, factors != ()))

    def _reason(self, name: str, expression: Expression, tensor: Tensor, contraction: bool) -> str:
        if self.flow.stored.is_digital(*expression.sources):
            return "named in digital="
        if contraction:
            return f"a bias or an input ({name})"
        known = operations.digital_use(name)
        if known is None and expression.sources and tensor.numel() > 1:
            raise UnsupportedOperationError(
                f"{listed(expression.sources)} meets activations in {name}, which is not known; "
                f"write that part with linear, convolution or matrix products, or "
                f"{exact_on_purpose(expression.sources)}"
            )
        return known or f"a single number ({name})"

    def _note_digital(self, expression: Expression, reason: str) -> None:
        for root in expression.roots:
            name = self.flow.stored.name_of(root)
            self.elsewhere |= {name} if name else set()
            for source in root.sources:
                self.digital.setdefault(source, reason)


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a, b)
