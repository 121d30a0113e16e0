"""Contractions that a model writes by hand: products entry by entry that are summed later.

An entry-by-entry product of a weight and an activation is a contraction if its result is summed
along an axis along which the weight varies. A *shadow* tensor, in which only the weight varies,
goes along with each such product to tell.
"""

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from swim.errors import UnsupportedOperationError
from swim.networks.weights import operations
from swim.networks.weights.expressions import Expression, Root, Stored
from swim.networks.weights.flow import Seen, memory_of
from swim.networks.weights.interception import Follow
from swim.networks.weights.operations import Path, operation_name, places


class Products(Follow):
    """Follows products through a pass.

    Attributes:
        roots: the weights that are programmed, by name.
        digital: why each of the other stored tensors is digital.
        spread: names of weights that are multiplied entry by entry before a sum.
    """

    def __init__(self, stored: Stored):
        super().__init__(stored)
        self.roots: dict[str, Root] = {}
        self.digital: dict[str, str] = {}
        self.spread: set[str] = set()
        self.dynamic: set[str] = set()  # behind a layer's weight that depends on activations
        self._numbers: dict[str, Tensor] = {}

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
                self.dynamic |= behind_of(operations.at(args, kwargs, path)) or frozenset()
            if seen.kind != "use":
                self._check_chosen(name, operations.at(args, kwargs, path))
            for label, shadow in _shadows(operations.at(args, kwargs, path)).items():
                if shadow.expands:
                    raise UnsupportedOperationError(
                        f"{label!r} is multiplied by activations and then enters {name}, so it "
                        "cannot be programmed; apply the activations to the product instead, or "
                        f"{exact_on_purpose(shadow.expression.sources)}"
                    )

    def _check_chosen(self, name: str, tensor: Tensor) -> None:
        """Refuse a factor that is a whole matrix of a table, by an index that depends on inputs."""
        sources, indices = getattr(memory_of(tensor), "_swim_chosen", ((), 0))
        sources = [s for s in sources if not self.flow.stored.is_digital(s)]
        if sources and sum(size > 1 for size in tensor.shape[indices:]) > 1:
            raise UnsupportedOperationError(
                f"{name} multiplies an activation by a part of {listed(sources)} that is chosen "
                "by an index from the inputs (an expert of each image), so it cannot be "
                "programmed; run each expert as a layer of its own on the images that are "
                f"routed to it, or {exact_on_purpose(sources)}"
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


def mark(tensor: Tensor, behind: frozenset[str]) -> None:
    """Note, at its memory, that a tensor is an activation, and which stored tensors are in it."""
    if (memory := memory_of(tensor)) is not None:
        memory._swim_behind = behind  # type: ignore[attr-defined]


def behind_of(tensor: Tensor) -> frozenset[str] | None:
    """Stored tensors in an activation; None for what is not known to be one."""
    memory = memory_of(tensor)
    # Torch hides the memory of what its transforms (vmap) have wrapped: activations, most often.
    return frozenset() if memory is None else getattr(memory, "_swim_behind", None)


def listed(names: Iterable[str]) -> str:
    """Names as a message shows them."""
    return ", ".join(repr(name) for name in sorted(set(names)))


def exact_on_purpose(names: Iterable[str]) -> str:
    """The way out for a weight that cannot be programmed."""
    return f"keep it exact on purpose: digital={sorted(set(names))!r}"
