"""Follows weight expressions through the operations of a forward pass.

Tensors are followed by identity, so a weight (:mod:`.expressions`) is known wherever it is used,
whatever its shape, the order of calls and the path that a batch takes.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from swim.networks.weights import operations
from swim.networks.weights.expressions import Expression, Operand, Root, Stored, Weights, nameless
from swim.networks.weights.operations import Path, asks, operation_name, places, put, tensors_in


@dataclass(frozen=True)
class Seen:
    """How a call uses weight expressions.

    Attributes:
        kind: ``use`` of weights in a contraction; ``mixed``, in another operation with activations;
            ``expression``, of expressions alone; ``free`` of any; ``asks``, only about a tensor.
        expressions: by place in the call.
        operands: the weights, of a use.
        active: places of the other tensors.
    """

    kind: str
    expressions: dict[Path, Expression] = field(default_factory=dict)
    operands: tuple[Operand, ...] = ()
    active: tuple[Path, ...] = ()


class Flow:
    """Follows expressions through one pass."""

    def __init__(self, stored: Stored, spread: frozenset[str] = frozenset()):
        """For a pass with these stored tensors.

        Args:
            stored: the model's tensors.
            spread: names of weights that the model multiplies entry by entry before it sums.
        """
        self.stored, self._spread = stored, spread
        self._known: dict[int, tuple[Tensor, Expression]] = {}
        self._memory: dict[int, list[tuple[Tensor, Expression]]] = {}
        for tensor, expression in stored.expressions():
            self.note(tensor, expression)

    def note(self, tensor: Tensor, expression: Expression) -> None:
        """Remember what a tensor is made of."""
        self._known[id(tensor)] = tensor, expression
        cell = _cell(tensor)
        if cell is not None:
            self._memory.setdefault(cell, []).append((tensor, expression))

    def forget(self, tensor: Tensor) -> None:
        """An activation has been written into a tensor's memory."""
        for other, _ in self._memory.pop(_cell(tensor) or 0, []):
            self._known.pop(id(other), None)
        self._known.pop(id(tensor), None)

    def expression(self, tensor: Tensor) -> Expression | None:
        """What a tensor is made of; None for an activation."""
        found = self._known.get(id(tensor))
        return found[1] if found else self._alias(tensor)

    def _alias(self, tensor: Tensor) -> Expression | None:
        """Of a tensor that torch made, below Python, of the memory of one that is known."""
        cell = _cell(tensor)
        if cell is None or cell not in self._memory:
            return None
        sharing = self._memory[cell]
        for other, expression in sharing:
            if _layout(other) == _layout(tensor):
                return expression
        roots = tuple(root for _, expression in sharing for root in expression.roots)
        return Expression(roots, None)

    def look(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Seen:
        """What a call is about to do."""
        found = list(places(args, kwargs))
        expressions = {p: e for p, t in found if (e := self.expression(t)) is not None}
        if found and not expressions:
            return Seen("free", active=tuple(path for path, _ in found))
        name = operation_name(func)
        if asks(func) and not operations.moves(name):
            return Seen("asks", expressions)
        if operations.only_shapes(name):
            expressions.pop((1,), None)
        active = tuple(path for path, _ in found if path not in expressions)
        contraction = operations.factors(name, args, kwargs)
        if contraction and not contraction.layer and not active:
            active = self._zeros(expressions, args, kwargs, contraction.paths)
        if contraction and (contraction.layer or set(active) & set(contraction.paths)):
            operands = self._operands(args, kwargs, expressions, contraction.paths)
            if operands:
                return Seen("use", expressions, operands, active)
            if contraction.layer:
                return Seen("mixed", expressions, active=active or ((0,),))
        if name in operations.FACTORIES:
            return Seen("expression")
        if active and not (operations.only_shapes(name) and (0,) in expressions):
            spread = [p for p, e in expressions.items() if e.roots and self._is_spread(e)]
            if not spread or not operations.multiplies(name):
                return Seen("mixed", expressions, active=active)
            operands = self._operands(args, kwargs, expressions, spread)
            return Seen("use" if operands else "mixed", expressions, operands, active)
        return Seen("expression", expressions)

    def _zeros(
        self, expressions: dict[Path, Expression], args: Any, kwargs: Any, paths: Iterable[Path]
    ) -> tuple[Path, ...]:
        """Constants of zeros in a product with a weight: states that a recurrence begins with."""
        weights = [p for p in paths if p in expressions and expressions[p].roots]
        return tuple(
            path
            for path in paths
            if weights
            and path in expressions
            and not expressions[path].roots
            and not operations.at(args, kwargs, path).any()
        )

    def _is_spread(self, expression: Expression) -> bool:
        return all(self.stored.name_of(root) in self._spread for root in expression.roots)

    def _operands(
        self,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        expressions: Mapping[Path, Expression],
        paths: Iterable[Path],
    ) -> tuple[Operand, ...]:
        found = []
        for path in paths:
            if path in expressions and self.is_weight(expressions[path]):
                tensor = operations.at(args, kwargs, path)
                names = self.names(expressions[path], tensor)
                found.append(Operand(path, tensor, expressions[path], names))
        return tuple(found)

    def is_weight(self, expression: Expression) -> bool:
        """Whether an expression in a contraction is a weight of the accelerator."""
        labels = [self.stored.name_of(root) for root in expression.roots]
        return bool(labels) and not self.stored.is_digital(
            *expression.sources, *(label for label in labels if label)
        )

    def names(self, expression: Expression, tensor: Tensor) -> tuple[str, ...]:
        """Of a weight's effective weights.

        Raises:
            UnsupportedOperationError: one has no name, or the weight cannot be put together again.
        """
        names = tuple(self.stored.name_of(root) for root in expression.roots)
        if None in names or expression.rebuild is None:
            raise nameless(expression, tensor)
        return tuple(name for name in names if name)

    def derive(
        self, seen: Seen, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any
    ) -> None:
        """Note what a call of expressions alone has made."""
        name = operation_name(func)
        outputs = list(places((result,), {}))
        if operations.writes(name, kwargs):
            for tensor in {id(t): t for _, t in places(args, kwargs)}.values():
                if seen.expressions and any(tensor is output for _, output in outputs):
                    self.forget(tensor)
        if name == "__setitem__":
            outputs = [((0,), args[0])]
            self.forget(args[0])
        sources = frozenset().union(*(e.sources for e in seen.expressions.values()))
        moved = operations.moves(name) and not _changes_kind(outputs, args, kwargs)
        for path, tensor in outputs:
            if not sources:
                self.note(tensor, Expression((), _constant(tensor)))
            elif moved:
                self.note(tensor, self._moved(seen, func, args, kwargs, path, tensor))
            else:
                self.note(tensor, self.stored.expression_of(Root(tensor, sources)))

    def _moved(
        self, seen: Seen, func: Any, args: Any, kwargs: Any, path: Path, tensor: Tensor
    ) -> Expression:
        roots = tuple({id(r): r for e in seen.expressions.values() for r in e.roots}.values())
        if len(roots) == 1 and self._now_of_its_shape(roots[0], tensor):
            return self.stored.expression_of(Root(tensor, roots[0].sources))
        parts = {p: e for p, e in seen.expressions.items() if e.roots}
        if any(e.rebuild is None for e in parts.values()):
            return Expression(roots, None)
        if operation_name(func) in operations.CUTS and len(parts) == 1:
            return Expression(roots, next(iter(parts.values())).rebuild)

        def rebuild(weights: Weights) -> Tensor:
            made = {p: e.rebuild(weights) for p, e in parts.items()}  # type: ignore[misc]
            positional, named = put(args, kwargs, made)
            found: Tensor = operations.at((func(*positional, **named),), {}, path)
            return found

        return Expression(roots, rebuild)

    def _now_of_its_shape(self, root: Root, tensor: Tensor) -> bool:
        """Whether a computed weight is reshaped to its parameter's shape here: that is its own."""
        if root.handed or self.stored.name_of(root) is not None:
            return False
        return self.stored.name_of(Root(tensor, root.sources)) is not None

    def overwritten(
        self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> list[Tensor]:
        """Forget the expressions that a call with activations has written to, and return them."""
        if not operations.writes(operation_name(func), kwargs):
            return []
        target = kwargs["out"] if "out" in kwargs else args[0] if args else None
        written = list(tensors_in([target]))
        for tensor in written:
            self.forget(tensor)
        return written


def _constant(tensor: Tensor) -> Callable[[Weights], Tensor]:
    return lambda weights: tensor


def _changes_kind(outputs: list[tuple[Path, Tensor]], args: Any, kwargs: Any) -> bool:
    """Whether whole numbers become others, or become fractions: no longer the same values."""
    given = [t for _, t in places(args, kwargs)]
    # Of a table and an index, the table.
    given = [t for t in given if t.is_floating_point() or t.is_complex()][:1] or given[:1]
    return any(
        t.dtype != given[0].dtype and not (t.is_floating_point() and given[0].is_floating_point())
        for _, t in outputs
        if given
    )


def memory_of(tensor: Tensor) -> torch.UntypedStorage | None:
    """Where a tensor's values lie; None where torch hides it (``vmap``, sparse tensors)."""
    try:
        return tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):
        return None


def _cell(tensor: Tensor) -> int | None:
    memory = memory_of(tensor)
    return None if memory is None else int(memory._cdata)


def _layout(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.shape, tensor.stride(), tensor.storage_offset(), tensor.dtype
