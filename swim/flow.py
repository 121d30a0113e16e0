"""Where the values in a forward pass come from.

A *weight expression* is what operations compute from a model's stored tensors (parameters,
buffers, tensors kept as attributes) and constants alone: a view, a quantised or normalised copy,
a stack. It is followed from operation to operation, by identity, so that a weight is known where
it is used, whatever the order of calls, its shape or the path that a batch takes.
"""

import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from swim import operations
from swim.errors import UnsupportedOperationError
from swim.isolation import afresh
from swim.operations import Path, asks, operation_name, places, put, tensors_in

Weights = Mapping[str, Tensor]
# Begins the name of a tensor that the model does not hold.
OUTSIDE = "tensor outside the model"


@dataclass(eq=False)
class Root:
    """An effective weight: the last tensor whose values were computed and not only moved.

    Attributes:
        tensor: its value.
        sources: names of the stored tensors that it is computed from.
        handed: whether it is a stored tensor itself, which the pass was given by name.
    """

    tensor: Tensor
    sources: frozenset[str]
    handed: bool = False


@dataclass(frozen=True)
class Expression:
    """A tensor that no activation has reached.

    Attributes:
        roots: the effective weights that it rearranges; none for a constant.
        rebuild: the tensor from other values of its roots, by name; None if that is not known.
    """

    roots: tuple[Root, ...]
    rebuild: Callable[[Weights], Tensor] | None

    @property
    def sources(self) -> frozenset[str]:
        """Names of all stored tensors that it depends on."""
        return frozenset().union(*(root.sources for root in self.roots))


@dataclass(frozen=True)
class Operand:
    """A weight in a call.

    Attributes:
        path: where it lies in the call.
        tensor: what lies there.
        expression: what that is made of.
        roots: names of its effective weights, root by root.
    """

    path: Path
    tensor: Tensor
    expression: Expression
    roots: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its effective weights, once each."""
        return tuple(dict.fromkeys(self.roots))

    @property
    def whole(self) -> bool:
        """Whether it is an effective weight as it is, not a view or a part of one."""
        roots = self.expression.roots
        return len(roots) == 1 and roots[0].tensor is self.tensor

    def value(self, name: str) -> Tensor:
        """The value of one of its effective weights."""
        roots = self.expression.roots
        return next(
            r.tensor for r, own in zip(roots, self.roots, strict=True) if own == name
        ).detach()

    def of(self, weights: Weights) -> Tensor:
        """The operand made of other weights."""
        assert self.expression.rebuild is not None
        return self.expression.rebuild(weights)


def plain_name(stored: str) -> str:
    """A stored tensor's name without the traces of ``torch.nn.utils.parametrize``."""
    return stored.replace("parametrizations.", "").removesuffix(".original")


class Stored:
    """The tensors that a model holds, by identity, and the names of what is computed from them."""

    def __init__(self, model: nn.Module, state: Mapping[str, Tensor], digital: Iterable[str] = ()):
        """The tensors of one pass.

        Args:
            model: the module.
            state: what its parameters and buffers are replaced by in this pass, by name.
            digital: names or patterns of weights that are no weights of the accelerator.
        """
        afresh()
        self.model, self.state, self.digital = model, state, tuple(digital)
        self.parameters = {name for name, _ in model.named_parameters()}
        self.values: dict[str, Tensor] = {}
        self.handed = set(state)
        self._by_id: dict[int, tuple[Tensor, str, bool]] = {}
        for name, tensor in state.items():
            self._note(name, tensor, True)
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            self._note(name, tensor, False)
        for name, tensor in _attributes(model):
            self._note(name, tensor, False)
        self._names: dict[Any, str] = {}

    def _note(self, name: str, tensor: Tensor, handed: bool) -> None:
        if id(tensor) not in self._by_id:
            self._by_id[id(tensor)] = tensor, name, handed
            self.values.setdefault(name, tensor)

    def expressions(self) -> Iterator[tuple[Tensor, Expression]]:
        """Each stored tensor as an expression of itself."""
        for tensor, name, handed in self._by_id.values():
            root = Root(tensor, frozenset({name}), handed)
            yield tensor, self.expression_of(root)

    def expression_of(self, root: Root) -> Expression:
        """An effective weight as it is."""
        return Expression((root,), lambda weights: weights[self.name_of(root) or ""])

    def name_of(self, root: Root) -> str | None:
        """An effective weight's name: its parameter's, or its module's attribute's.

        None where several parameters are behind it and nothing says which one it is.
        """
        key = root.sources, root.tensor.shape
        if key not in self._names and (name := self._found_name(root)) is not None:
            self._names[key] = name
        return self._names.get(key)

    def _found_name(self, root: Root) -> str | None:
        shape, sources = root.tensor.shape, sorted(root.sources)
        if len(sources) == 1 and self.values[sources[0]].shape == shape:
            return plain_name(sources[0])
        return (
            _parametrised(sources)
            or self._attribute(root.tensor)
            or self._only([s for s in sources if s in self.parameters], shape)
            or self._only(sources, shape)
        )

    def _only(self, sources: Iterable[str], shape: torch.Size) -> str | None:
        same = [name for name in sources if self.values[name].shape == shape]
        return plain_name(same[0]) if len(same) == 1 else None

    def _attribute(self, tensor: Tensor) -> str | None:
        """The attribute of a module that a hook has set to this tensor."""
        for prefix, module in self.model.named_modules():
            for key, value in vars(module).items():
                if value is tensor:
                    return f"{prefix}.{key}" if prefix else key
        return None

    @property
    def names(self) -> set[str]:
        """The names that effective weights have been given."""
        return set(self._names.values())

    def is_digital(self, *names: str) -> bool:
        """Whether the user says that one of these is digital."""
        return any(fnmatchcase(name, pattern) for name in names for pattern in self.digital)


def _attributes(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Tensors that modules keep beside their parameters and buffers, in containers too."""
    hidden = {"_parameters", "_buffers", "_modules"}
    for prefix, module in model.named_modules():
        for key, value in vars(module).items():
            if key not in hidden and not key.endswith("_hooks"):
                name = f"{prefix}.{key}" if prefix else key
                yield from _held(name, value, 0)


def _held(name: str, value: Any, depth: int) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif depth < 4 and isinstance(value, list | tuple | Mapping):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, item in items:
            yield from _held(f"{name}.{key}", item, depth + 1)
    elif depth < 4 and isinstance(value, nn.Module):  # in a plain list: not registered
        for key, tensor in (*value.named_parameters(), *value.named_buffers()):
            yield f"{name}.{key}", tensor


def _parametrised(sources: list[str]) -> str | None:
    """``conv.weight`` where all sources are ``conv.parametrizations.weight. ...``."""
    mark = "parametrizations."
    found = {
        source.partition(mark)[0] + source.partition(mark)[2].partition(".")[0]
        for source in sources
        if mark in source
    }
    return found.pop() if len(found) == 1 and all(mark in source for source in sources) else None


@dataclass(frozen=True)
class Seen:
    """What a call does with expressions.

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


def nameless(expression: Expression, tensor: Tensor) -> UnsupportedOperationError:
    """The error for a weight that has no name of its own."""
    sources = sorted(expression.sources)
    if not sources:
        what = "is a constant that the forward pass makes"
    elif len(sources) == 1 and sources[0].startswith(OUTSIDE):
        what = (
            "is a tensor that the model does not hold, or that a function's cache keeps from an "
            "earlier pass (register it as a parameter or buffer)"
        )
    elif len(sources) == 1:
        what = f"is computed from {sources[0]!r}, which has another shape"
    else:
        what = f"is computed from several tensors ({', '.join(map(repr, sources))})"
    return UnsupportedOperationError(
        f"a weight of shape {tuple(tensor.shape)} {what}: it has no name of its own, so it cannot "
        "be programmed. "
        "Use torch.nn.utils.parametrize, which gives it one; or keep it exact on purpose: "
        f"digital={sources or ['constant']!r}"
    )


# Torch's own attention, without the question whether a mode is active: inside it, the mode sees
# the linear calls that the weights enter.
_attention = types.FunctionType(
    F.multi_head_attention_forward.__code__,
    {**vars(F), "has_torch_function": lambda tensors: False},
    argdefs=F.multi_head_attention_forward.__defaults__,
)


class Watch(TorchFunctionMode):
    """While active, every torch function that Python calls goes through :meth:`_call`.

    Multi-head attention does so as the linear layers and products that it consists of.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is F.multi_head_attention_forward:
            with self:
                return _attention(*args, **kwargs or {})
        if func is Tensor.__iter__:
            with self:
                return iter(args[0].unbind(0))
        return self._call(func, args, kwargs or {})

    def _call(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """What the model gets instead of ``func(*args, **kwargs)``."""
        raise NotImplementedError


class Follow(Watch):
    """Follows a pass, and hands its weighted calls to :meth:`_weighted`."""

    def __init__(self, stored: Stored, spread: frozenset[str] = frozenset()):
        super().__init__()
        self.flow = Flow(stored, spread)

    def _call(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        seen = self.flow.look(func, args, kwargs)
        if seen.kind in ("use", "free", "mixed"):
            if seen.kind == "use":
                result = self._weighted(func, args, kwargs, seen.operands)
            else:
                result = self._other(func, args, kwargs)
            self.flow.overwritten(func, args, kwargs)
            return result
        result = func(*args, **kwargs)
        if seen.kind == "expression":
            self.flow.derive(seen, func, args, kwargs, result)
        return result

    def _weighted(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        operands: tuple[Operand, ...],
    ) -> Any:
        """What the model gets from a call with weights."""
        raise NotImplementedError

    def _other(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """What it gets from any other call with activations."""
        return func(*args, **kwargs)


class Handed(Follow):
    """Gives every weighted call its weights from a mapping."""

    def __init__(self, stored: Stored, weights: Weights, spread: frozenset[str] = frozenset()):
        super().__init__(stored, spread)
        self._weights = weights

    def _weighted(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        operands: tuple[Operand, ...],
    ) -> Any:
        for name in (name for operand in operands for name in operand.names):
            if name not in self._weights:
                raise UnsupportedOperationError(
                    f"the weight {name!r} is used on a path that no batch took when the network "
                    "was looked at; give batches that take every path"
                )
        made = {operand.path: operand.of(self._weights) for operand in operands}
        positional, named = put(args, kwargs, made)
        return func(*positional, **named)
