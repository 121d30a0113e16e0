"""Notes the operations of a forward pass.

What does not depend on the tensors given is a constant of the recording.
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakTensorKeyDictionary

_Arguments = ParamSpec("_Arguments")


@dataclass(frozen=True)
class Slot:
    """Stands for a tensor that is another in every pass: one given to it, or what it computes."""

    number: int


@dataclass(frozen=True)
class Layout:
    """Of a tensor, without its values."""

    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, tensor: Tensor) -> "Layout":
        """A tensor's."""
        return cls(tensor.shape, tensor.stride(), tensor.dtype)

    @property
    def channels_last(self) -> bool:
        """Whether it lies in memory as (N, H, W, C)."""
        return len(self.shape) == 4 and self._lies(torch.channels_last)

    @property
    def in_order(self) -> bool:
        """Whether it lies in memory so, or in the order of its dimensions."""
        return self.channels_last or self._lies(torch.contiguous_format)

    def empty(self) -> Tensor:
        """A tensor like that on the CPU, without values."""
        return torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device="cpu")

    def holding(self, tensor: Tensor) -> Tensor:
        """The tensor, or a copy of its values that lies in memory like this.

        Raises:
            ValueError: it has another shape or type.
        """
        found = Layout.of(tensor)
        if (found.shape, found.dtype) != (self.shape, self.dtype):
            raise ValueError(f"a tensor like {self} is needed, not {found}")
        return tensor if found == self else self.empty().copy_(tensor)

    def _lies(self, order: torch.memory_format) -> bool:
        like = torch.empty_strided(self.shape, self.stride, device="meta")
        return like.is_contiguous(memory_format=order)


@dataclass(frozen=True)
class Step:
    """An operation on slots and constants.

    Attributes:
        function: the operation.
        args: its arguments, slots among them.
        kwargs: arguments by name.
        results: numbers of the slots that it fills; an operation in place fills its input's again.
        layout: of its first result when it was recorded.
        uses: numbers of the slots among its arguments.
    """

    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: tuple[int, ...]
    layout: Layout
    uses: frozenset[int]

    def run(self, values: dict[int, Tensor]) -> None:
        """Computes the results from values by slot, and adds them there."""
        args, kwargs = _filled(self.args, values), self.kwargs
        if kwargs:
            kwargs = dict(zip(kwargs, _filled(kwargs.values(), values), strict=True))
        result = self.function(*args, **kwargs)
        if len(self.results) == 1:
            values[self.results[0]] = result
        else:
            values.update(zip(self.results, result, strict=True))


def _filled(arguments: Iterable[Any], values: Mapping[int, Tensor]) -> list[Any]:
    return [
        values[a.number] if type(a) is Slot
        else _filled(a, values) if type(a) is list
        else a for a in arguments
    ]  # fmt: skip


class Recording(TorchDispatchMode):
    """While active, notes the operations that depend on some tensors.

    Attributes:
        steps: these operations, in their order; the tensors are slots 0, 1, ...
        faithful: whether running them again makes the pass again.
    """

    def __init__(self, given: Sequence[Tensor]):
        super().__init__()  # type: ignore[no-untyped-call]
        self.steps: list[Step] = []
        self.faithful = True
        self._slots = WeakTensorKeyDictionary({tensor: i for i, tensor in enumerate(given)})
        self._next = len(given)
        self._within = False

    def slot(self, tensor: Tensor) -> int | None:
        """A tensor's number, None if it is a constant."""
        number: int | None = self._slots.get(tensor)
        return number

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if self._within:
            return result
        written = [
            args[i] if i < len(args) else kwargs.get(argument.name)
            for i, argument in enumerate(func._schema.arguments)
            if argument.alias_info is not None and argument.alias_info.is_write
        ]
        self.faithful &= torch.Tag.nondeterministic_seeded not in func.tags
        self._note(func, args, kwargs, result, written)
        return result

    def whole(self, name: Any, function: Callable[..., Tensor], args: Any, kwargs: Any) -> Tensor:
        """Runs a function and notes it as one step; it writes to nothing but what it returns."""
        if self._within:
            return function(*args, **kwargs)
        self._within = True
        try:
            result = function(*args, **kwargs)
        finally:
            self._within = False
        self._note(name, args, kwargs, result, [a for a in args if a is result])
        return result

    def _note(self, func: Any, args: Any, kwargs: Any, result: Any, written: list[Any]) -> None:
        known_args, known_kwargs = tree_map(self._stand_in, (args, kwargs))
        slots = [a for a in tree_leaves((known_args, known_kwargs)) if isinstance(a, Slot)]
        self.faithful &= all(self.slot(tensor) is not None for tensor in written)
        if not slots:
            return
        results = tuple(result) if isinstance(result, tuple | list) else (result,)
        if not all(isinstance(r, Tensor) for r in results):
            self.faithful = False
            return
        numbers = tuple(self._numbered(r) for r in results)
        uses = frozenset(a.number for a in slots)
        layout = Layout.of(results[0])
        self.steps.append(Step(func, known_args, known_kwargs, numbers, layout, uses))

    def _numbered(self, tensor: Tensor) -> int:
        number = self.slot(tensor)
        if number is None:
            number = self._slots[tensor] = self._next
            self._next += 1
        return number

    def _stand_in(self, value: Any) -> Any:
        number = self.slot(value) if isinstance(value, Tensor) else None
        return value if number is None else Slot(number)


def one_step(function: Callable[_Arguments, Tensor]) -> Callable[_Arguments, Tensor]:
    """The function, which a recording notes as such instead of the operations in it."""

    @functools.wraps(function)
    def call(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> Tensor:
        mode = _get_current_dispatch_mode()
        if isinstance(mode, Recording):
            return mode.whole(call, function, args, kwargs)
        return function(*args, **kwargs)

    return call
