"""Weight expressions: the stored tensors that a weight is computed from, and its name.

A *weight expression* is what operations compute from a model's stored tensors (parameters,
buffers, tensors kept as attributes) and constants alone: a view, a quantised or normalised copy,
a stack.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from swim.errors import UnsupportedOperationError
from swim.networks.isolation import afresh
from swim.networks.weights.operations import Path

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
