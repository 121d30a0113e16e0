"""Which weights of a model are programmed into memory devices, found by watching it run.

A weight expression (:mod:`swim.flow`) that meets an activation in a contraction is programmed, or
the model is refused by name. What a model uses otherwise (biases, norms, tables that are read) is
digital and listed with the reason. Nothing is assumed about modules: only torch's functions are
watched, so the model needs no rewriting and is never changed. Last, a proof: with the programmed
weights put in at their uses, all other values of the stored tensors must not matter.
"""

import contextlib
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from swim import operations
from swim.batches import alike, arguments, shown
from swim.errors import SettingError, UnsupportedOperationError
from swim.flow import (
    OUTSIDE,
    Expression,
    Follow,
    Operand,
    Root,
    Seen,
    Stored,
    memory_of,
    nameless,
)
from swim.inventory import Inventory
from swim.isolation import afresh, call, copies_of, few
from swim.layouts import SafeLayouts
from swim.operations import Path, operation_name, places, tensors_in
from swim.proof import prove

_UNUSED = "not used"
_FROM_PYTHON = {"tensor", "as_tensor", "asarray", "from_numpy", "from_dlpack", "frombuffer"}
_BATCH = (
    "predictions depend on which images share a batch: {} takes its mean and variance from the "
    "batch. Train with running statistics (track_running_stats=True), or use a layer that "
    "normalises each image alone"
)


@dataclass(frozen=True)
class Traced:
    """What was found.

    Attributes:
        weights: the effective weights by name, in the order in which they are first used.
        handed: those that a pass can be given by replacing stored tensors: name -> their names.
        spread: those that are multiplied entry by entry before a sum.
        inventory: what is programmed and what stays digital.
        branches: whether the model looks at values to decide what to do.
        overwrites: whether it writes to its stored tensors.
        unused: whether it holds parameters that it did not use.
    """

    weights: dict[str, Tensor]
    handed: dict[str, list[str]]
    spread: frozenset[str]
    inventory: Inventory
    branches: bool
    overwrites: bool
    unused: bool


class _Tracer(Follow):
    """Notes what becomes of every stored tensor, and refuses what it cannot follow."""

    def __init__(self, stored: Stored):
        super().__init__(stored)
        self.roots: dict[str, Root] = {}
        self.digital: dict[str, str] = {}
        self.spread: set[str] = set()
        self.elsewhere: set[str] = set()  # used in other ways than as a weight
        self._numbers: dict[str, Tensor] = {}
        self.dynamic: set[str] = set()  # behind a layer's weight that depends on activations
        self.branches = self.quantised = self._left_torch = False

    def begin(self, inputs: Any) -> None:
        """Mark what the pass is given."""
        for tensor in arguments(inputs):
            _mark(tensor, frozenset())

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
                _mark(tensor, behind)
        self._products(func, seen, args, kwargs, result)
        self._chosen(name, seen, args, kwargs, result)
        return result

    def _known_or_constant(self, tensor: Tensor) -> None:
        """A tensor of unknown origin is one that the model does not hold: a constant."""
        if self.flow.expression(tensor) is None and _behind(tensor) is None:
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
                f"the forward pass sets .data with {_listed(sources)}, which cannot be followed; "
                "hand the values to the call that uses them (F.linear, F.conv2d)"
            )

    def _came_back(self, tensor: Tensor) -> None:
        self.flow.forget(tensor)
        if not tensor.is_floating_point():
            _mark(tensor, frozenset())

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
                        f"{_listed(expression.sources)} leaves torch by {name}(), so what is "
                        f"done with its values cannot be seen; or {_exact(expression.sources)}"
                    )
                self._note_digital(expression, f"read as a number ({name})")

    def _use(self, name: str, operands: tuple[Operand, ...]) -> None:
        for operand in operands:
            for root in operand.expression.roots:
                own = self.flow.stored.name_of(root) or ""
                if not root.tensor.is_floating_point():
                    raise UnsupportedOperationError(
                        f"the weight {own!r} in {name} has the type {root.tensor.dtype}; only "
                        f"floating-point weights can be programmed; or {_exact([own])}"
                    )
                if root.tensor.layout != torch.strided:
                    raise UnsupportedOperationError(
                        f"the weight {own!r} in {name} is sparse; programme it dense (its zeros "
                        f"are devices too): leave out to_sparse(), or {_exact([own])}"
                    )
                known = self.roots.setdefault(own, root)
                if known.tensor is not root.tensor and not _equal(known.tensor, root.tensor):
                    raise UnsupportedOperationError(
                        f"the weight {own!r} is computed in two ways that differ; which of them "
                        f"is programmed cannot be told; or {_exact([own])}"
                    )
                if not root.handed:
                    self.elsewhere.add(own)

    def _behind(self, args: Any, kwargs: Any, seen: Seen) -> frozenset[str]:
        """Stored tensors that the activations of a call come from, past the last weighted call."""
        found = [_behind(t) or frozenset() for _, t in places(args, kwargs)]
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
                f"({_listed(n for o in seen.operands for n in o.names)}); one after the other, "
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
                f"{_listed(expression.sources)} meets activations in {name}, which is not known; "
                f"write that part with linear, convolution or matrix products, or "
                f"{_exact(expression.sources)}"
            )
        return known or f"a single number ({name})"

    def _note_digital(self, expression: Expression, reason: str) -> None:
        for root in expression.roots:
            name = self.flow.stored.name_of(root)
            self.elsewhere |= {name} if name else set()
            for source in root.sources:
                self.digital.setdefault(source, reason)

    # A product of a weight and an activation, entry by entry, may still be summed: a contraction
    # written by hand. Beside it goes its shadow, in which only the weight varies.

    def _products(self, func: Any, seen: Seen, args: Any, kwargs: Any, result: Any) -> None:
        name = operation_name(func)
        if not isinstance(result, Tensor) or seen.kind == "use":
            return
        given = {p: s for p, t in places(args, kwargs) if (s := _shadows(t))}
        if given and operations.sums(name):
            for path, shadows in given.items():
                for shadow in shadows.values():
                    if _varies(func, args, kwargs, path, shadow.values):
                        self._spread(shadow)
        elif operations.multiplies(name) or operations.keeps_products(name):
            self._multiplied(func, seen, args, kwargs, result, given)

    def _multiplied(
        self, func: Any, seen: Seen, args: Any, kwargs: Any, result: Tensor, given: Any
    ) -> None:
        name = operation_name(func)
        found: dict[str, _Shadow] = {}
        joins = operations.moves(name) and len(given) > 0
        for path, shadows in given.items():
            for label, shadow in shadows.items():
                known = found.get(label)
                if (
                    known is not None
                    and not operations.moves(name)
                    and not self._apart(known, shadow)
                ):
                    self._spread(shadow)  # two products of one weight are added
                same = {path: shadow.values}
                if joins:  # side by side, where each is; nothing of the weight in the others
                    same = {p: s[label].values for p, s in given.items() if label in s}
                fill = float("nan") if joins else 1.0
                values = _again(func, args, kwargs, same, result, fill)
                found[label] = replace(shadow, values=values)
        if seen.kind == "mixed" and operations.multiplies(name):
            shapes = [operations.at(args, kwargs, path).shape for path in seen.active]
            for path, expression in seen.expressions.items():
                tensor = operations.at(args, kwargs, path)
                if tensor.numel() > 1 and self.flow.is_weight(expression):
                    values = self._stand_in(expression, tensor)
                    values = _again(func, args, kwargs, {path: values}, result)
                    expands = all(_expands(tensor.shape, shape) for shape in shapes)
                    label = ", ".join(sorted(expression.sources))
                    shadow = _Shadow(values, expression, tensor, expands)
                    added = label in found and operations.adds_product(name)
                    if added and not self._apart(found[label], shadow):
                        self._spread(shadow)
                    found[label] = shadow
        if found:
            result._swim_shadows = found  # type: ignore[attr-defined]

    def _stand_in(self, expression: Expression, tensor: Tensor) -> Tensor:
        """Other numbers in place of a weight; the same where the same entries are used again."""
        roots = expression.roots
        names = [self.flow.stored.name_of(root) for root in roots]
        if expression.rebuild is not None and None not in names and not tensor.is_complex():
            for name, root in zip(names, roots, strict=True):
                shape = root.tensor.shape
                self._numbers.setdefault(name or "", torch.rand(shape, dtype=torch.float64) + 1)
            with contextlib.suppress(Exception):  # whatever its views say to float64
                made = expression.rebuild(self._numbers).double()
                if made.shape == tensor.shape:
                    return made
        kind = torch.float64 if not tensor.is_complex() else tensor.dtype
        return torch.rand(tensor.shape, dtype=torch.float64).to(kind) + 1

    def _apart(self, one: "_Shadow", other: "_Shadow") -> bool:
        """Whether two added products are of two tables made of one constant, as sine and cosine."""
        same = {id(root) for root in one.expression.roots}
        return (
            not any(id(root) in same for root in other.expression.roots)
            and not (one.expands or other.expands)
            and not any(s in self.flow.stored.parameters for s in other.expression.sources)
        )

    def _spread(self, shadow: "_Shadow") -> None:
        """A weight is summed over after it was multiplied entry by entry: it is programmed."""
        names = self.flow.names(shadow.expression, shadow.tensor)
        for name, root in zip(names, shadow.expression.roots, strict=False):
            self.spread.add(name)
            self.roots.setdefault(name, root)
            for source in root.sources:
                self.digital.pop(source, None)

    def _check_factors(self, name: str, seen: Seen, args: Any, kwargs: Any) -> None:
        """Refuse a product with an activation that is a weight scaled, or chosen, as a whole."""
        contraction = operations.factors(name, args, kwargs)
        if contraction is None:
            return
        for path in contraction.paths:
            if contraction.layer and path not in seen.expressions:
                self.dynamic |= _behind(operations.at(args, kwargs, path)) or frozenset()
            if seen.kind != "use":
                self._check_chosen(name, operations.at(args, kwargs, path))
            for label, shadow in _shadows(operations.at(args, kwargs, path)).items():
                if shadow.expands:
                    raise UnsupportedOperationError(
                        f"{label!r} is multiplied by activations and then enters {name}, so it "
                        "cannot be programmed; apply the activations to the product instead, or "
                        f"{_exact(shadow.expression.sources)}"
                    )

    def _check_chosen(self, name: str, tensor: Tensor) -> None:
        """Refuse a factor that is a whole matrix of a table, by an index that depends on inputs."""
        sources, indices = getattr(memory_of(tensor), "_swim_chosen", ((), 0))
        sources = [s for s in sources if not self.flow.stored.is_digital(s)]
        if sources and sum(size > 1 for size in tensor.shape[indices:]) > 1:
            raise UnsupportedOperationError(
                f"{name} multiplies an activation by a part of {_listed(sources)} that is chosen "
                "by an index from the inputs (an expert of each image), so it cannot be "
                "programmed; run each expert as a layer of its own on the images that are "
                f"routed to it, or {_exact(sources)}"
            )

    def _chosen(self, name: str, seen: Seen, args: Any, kwargs: Any, result: Any) -> None:
        """Note which table a tensor was read from, and how many dimensions its index has."""
        if not isinstance(result, Tensor) or (memory := memory_of(result)) is None:
            return
        given = [t for _, t in places(args, kwargs)]
        if operations.looks_up(name) and seen.kind == "mixed":
            sources = [
                s
                for e in seen.expressions.values()
                for s in e.sources
                if s in self.flow.stored.parameters
            ]
            indices = max((operations.at(args, kwargs, p).dim() for p in seen.active), default=0)
            if sources:
                memory._swim_chosen = sources, indices  # type: ignore[attr-defined]
        elif operations.moves(name) and len(given) == 1 and seen.kind == "free":
            known = getattr(memory_of(given[0]), "_swim_chosen", None)
            if known is not None:
                memory._swim_chosen = known  # type: ignore[attr-defined]


@dataclass(frozen=True)
class _Shadow:
    """Beside an activation that is a product of a weight: how only the weight varies in it.

    Attributes:
        values: shaped like the activation, made of other numbers than the weight's.
        expression, tensor: the weight that was multiplied.
        expands: whether it varies along an axis along which the activation did not.
    """

    values: Tensor
    expression: Expression
    tensor: Tensor
    expands: bool


def _expands(weight: torch.Size, activation: torch.Size) -> bool:
    padded = (1,) * (len(weight) - len(activation)) + tuple(activation)
    return any(w > 1 and a == 1 for w, a in zip(reversed(weight), reversed(padded), strict=False))


def _mark(tensor: Tensor, behind: frozenset[str]) -> None:
    """Note, at its memory, that a tensor is an activation, and which stored tensors are in it."""
    if (memory := memory_of(tensor)) is not None:
        memory._swim_behind = behind  # type: ignore[attr-defined]


def _behind(tensor: Tensor) -> frozenset[str] | None:
    """Stored tensors in an activation; None for what is not known to be one."""
    memory = memory_of(tensor)
    # Torch hides the memory of what its transforms (vmap) have wrapped: activations, most often.
    return frozenset() if memory is None else getattr(memory, "_swim_behind", None)


def _shadows(tensor: Any) -> dict[str, _Shadow]:
    found: dict[str, _Shadow] = getattr(tensor, "_swim_shadows", {})
    return found


def _again(
    func: Any,
    args: Any,
    kwargs: Any,
    shadows: Mapping[Path, Tensor],
    result: Tensor,
    fill: float = 1.0,
) -> Tensor:
    """An operation on shadows, and on ones in place of all other tensors."""
    try:
        ones = {
            p: torch.full(t.shape, fill, dtype=torch.float64)
            for p, t in places(args, kwargs)
            if t.is_floating_point() or fill == 1.0
        }
        positional, named = operations.put(args, kwargs, {**ones, **shadows})
        made = func(*positional, **named)
        if isinstance(made, Tensor) and made.shape == result.shape:
            return made
    except Exception:  # whatever it says to ones
        pass
    return torch.rand(result.shape, dtype=torch.float64)


def _varies(func: Any, args: Any, kwargs: Any, path: Path, shadow: Tensor) -> bool:
    """Whether a sum's shadow differs along what is summed: else the sum keeps the weight apart."""
    dims = kwargs.get("dim", args[1] if len(args) > 1 else None)
    name = operation_name(func)
    if name.startswith(("fft_", "stft", "istft")) or name == "fold" or shadow.is_complex():
        return True
    if name.startswith(("avg_pool", "adaptive_avg_pool")):
        dims = list(range(2, shadow.dim()))
    if isinstance(dims, int):
        dims = [dims]
    if not isinstance(dims, list | tuple) or not all(isinstance(d, int) for d in dims):
        dims = list(range(shadow.dim()))
    if not dims:
        dims = list(range(shadow.dim()))
    most, least = shadow.nan_to_num(-torch.inf), shadow.nan_to_num(torch.inf)
    return bool((most.amax(dims) > least.amin(dims) * (1 + 1e-6) + 1e-12).any())


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a, b)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in sorted(set(names)))


def _exact(names: Iterable[str]) -> str:
    return f"keep it exact on purpose: digital={sorted(set(names))!r}"


def _scripted(model: nn.Module) -> None:
    for name, module in model.named_modules():
        label = name or "the model"
        if isinstance(module, torch.jit.ScriptModule):
            raise UnsupportedOperationError(
                f"{label!r} is a scripted or traced module, whose operations cannot be seen; pass "
                "the original nn.Module"
            )
        if any(nn.parameter.is_lazy(p) for p in module.parameters(recurse=False)):
            raise UnsupportedOperationError(
                f"{label!r} has parameters that take their shape from the first input; run the "
                "model once before"
            )
        if type(module).__name__ == "OptimizedModule" and hasattr(module, "_orig_mod"):
            raise UnsupportedOperationError(
                f"{label!r} is compiled by torch.compile, whose operations cannot be seen; pass "
                "the original nn.Module (._orig_mod)"
            )
        if any(isinstance(value, torch.ScriptObject) for value in vars(module).values()):
            raise UnsupportedOperationError(
                f"{label!r} ({type(module).__name__}) holds packed weights, which cannot be seen; "
                "pass the float network and quantise it with weight_bits"
            )


def trace(
    model: nn.Module,
    inputs: Any,
    *more: Any,
    state: Mapping[str, Tensor] | None = None,
    digital: Iterable[str] = (),
) -> Traced:
    """Run the model on ``inputs`` and find its weights; call it in eval mode.

    Args:
        model: the network.
        inputs: a batch for it: a few images, of which it must not matter which share a batch.
        more: all batches, which are looked at whole if the model decides by values, and a little if
            their inputs are of another shape.
        state: copies of its parameters and buffers to run with; made here if None.
        digital: names or patterns (``fnmatch``) of weights that stay digital on purpose.

    Raises:
        UnsupportedOperationError: a weight is used in a way that cannot be programmed, is computed
            from several parameters, or reaches the output unseen; or outputs depend on chance, on
            earlier calls or on the batch; or the model holds parts that cannot be watched.
        SettingError: a pattern of ``digital`` matches nothing.
    """
    _scripted(model)
    state = copies_of(model) if state is None else state
    stored = Stored(model, state, digital)
    before = {name: tensor._version for name, tensor in state.items()}
    tracer = _Tracer(stored)
    outputs = _look(tracer, model, state, inputs)
    kinds = [inputs]
    for batch in more:
        if tracer.branches or not any(alike(batch, known) for known in kinds):
            kinds.append(batch)
            _look(
                _again_with(tracer, stored), model, state, batch if tracer.branches else few(batch)
            )
    _check_outputs(outputs)
    # What the model keeps where no one sees it (a cache of a function) comes from nowhere now.
    _look(_Tracer(stored), model, state, inputs)
    tracer.spread &= set(tracer.roots)
    unaccounted = {
        n for n in tracer.dynamic - _programmed_sources(tracer)
        if n in stored.parameters and not stored.is_digital(n)
        and (n not in tracer.digital or sum(size > 1 for size in stored.values[n].shape) > 1)
    }  # fmt: skip
    if unaccounted:
        raise UnsupportedOperationError(
            f"a layer's weight is computed from {_listed(unaccounted)} and from activations, so it "
            f"cannot be programmed; or {_exact(unaccounted)}"
        )
    listed = _inventory(tracer, stored)
    if not tracer.roots:
        raise UnsupportedOperationError(
            "the model has no linear or convolutional weights, nor others in products, to program"
        )
    overwrites = any(tensor._version != before[name] for name, tensor in state.items())
    handed: dict[str, list[str]] = {}
    for name, root in tracer.roots.items():
        if root.handed and name not in tracer.elsewhere:
            handed[name] = sorted(root.sources)
    weights = {name: root.tensor.detach() for name, root in tracer.roots.items()}
    unused = any(listed.digital.get(name) == _UNUSED for name in stored.parameters)
    spread = frozenset(tracer.spread)
    found = Traced(weights, handed, spread, listed, tracer.branches, overwrites, unused)
    prove(model, inputs, state, found, digital, tracer.digital, tracer.quantised)
    _check_patterns(stored)
    return found


def _again_with(tracer: _Tracer, stored: Stored) -> _Tracer:
    """The same notes for another pass."""
    again = _Tracer(stored)
    again.__dict__.update({k: v for k, v in vars(tracer).items() if k != "flow"})
    return again


def _look(tracer: _Tracer, model: nn.Module, state: Mapping[str, Tensor], inputs: Any) -> Any:
    own = inputs.clone()
    afresh()
    tracer.begin(own)
    with shown(own), torch.no_grad(), SafeLayouts(), tracer:
        return call(model, state, arguments(own))


def _check_outputs(outputs: Any) -> None:
    found = list(tensors_in([outputs]))
    if found and all(_behind(tensor) is None for tensor in found):
        raise UnsupportedOperationError(
            "the outputs do not depend on the inputs, as far as torch's functions show"
        )


def _check_patterns(stored: Stored) -> None:
    known = [*stored.values, *stored.names, "constant"]
    for pattern in stored.digital:
        if not any(fnmatchcase(name, pattern) for name in known):
            close = difflib.get_close_matches(pattern, known, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise SettingError(f"digital: no weight is called {pattern!r}{hint}")


def _programmed_sources(tracer: _Tracer) -> set[str]:
    return {source for root in tracer.roots.values() for source in root.sources}


def _inventory(tracer: _Tracer, stored: Stored) -> Inventory:
    counts = {name: root.tensor.numel() for name, root in tracer.roots.items()}
    digital = dict(tracer.digital)
    inside = {s: name for name, root in tracer.roots.items() for s in root.sources}
    for name, tensor in stored.values.items():
        if name in digital or name in counts or not tensor.is_floating_point():
            continue
        if name in inside:
            if name != inside[name] and len(tracer.roots[inside[name]].sources) > 1:
                digital[name] = f"enters the computation of {inside[name]}"
        elif name in stored.handed:
            digital[name] = _UNUSED
    return Inventory(counts, digital)
