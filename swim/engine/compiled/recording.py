"""Records the operations of a forward pass, so that they can be run again on other tensors.

An operation that depends on none of the tensors given is not recorded; its result is a constant.
compiled/README.md compares this recorder with torch's own tracers.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakTensorKeyDictionary


@dataclass(frozen=True)
class Slot:
    """Stands for a tensor that differs from pass to pass: an input, or a result of a step."""

    number: int


@dataclass(frozen=True)
class Layout:
    """A tensor's shape, strides and type."""

    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, tensor: Tensor) -> "Layout":
        """The layout of a tensor."""
        return cls(tensor.shape, tensor.stride(), tensor.dtype)

    @property
    def channels_last(self) -> bool:
        """Whether the tensor lies in memory as (N, H, W, C), without gaps."""
        return len(self.shape) == 4 and self._is_contiguous(torch.channels_last)

    @property
    def in_order(self) -> bool:
        """Whether the tensor is channels last, or contiguous in the order of its dimensions."""
        return self.channels_last or self._is_contiguous(torch.contiguous_format)

    def empty(self) -> Tensor:
        """A tensor of this layout on the CPU, with undefined values."""
        return torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device="cpu")

    def holding(self, tensor: Tensor) -> Tensor:
        """The tensor if it has this layout, else a copy that has.

        Raises:
            ValueError: the tensor has another shape or type.
        """
        actual = Layout.of(tensor)
        if (actual.shape, actual.dtype) != (self.shape, self.dtype):
            raise ValueError(f"a tensor like {self} is needed, not {actual}")
        return tensor if actual == self else self.empty().copy_(tensor)

    def _is_contiguous(self, order: torch.memory_format) -> bool:
        without_values = torch.empty_strided(self.shape, self.stride, device="meta")
        return without_values.is_contiguous(memory_format=order)


@dataclass(frozen=True)
class Step:
    """An operation on slots and constants.

    Attributes:
        function: the operation.
        args: arguments by position, with slots where tensors differ from pass to pass.
        kwargs: arguments by name.
        results: numbers of the slots that the step fills; an operation in place fills the slot of
            its input again.
        layout: layout of the first result when the step was recorded.
        uses: numbers of the slots among the arguments.
    """

    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: tuple[int, ...]
    layout: Layout
    uses: frozenset[int]

    def run(self, values: dict[int, Tensor]) -> None:
        """Run the operation on ``values``, slot -> tensor, and put its results there."""
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
    """While active, records the operations that depend on the tensors given.

    Attributes:
        steps: the operations in their order; the tensors given are slots 0, 1, ...
        faithful: whether running the steps again repeats the pass. False if the pass draws random
            numbers from torch, writes to a constant, or asks for the value of a tensor.
    """

    def __init__(self, given: Sequence[Tensor]):
        super().__init__()  # type: ignore[no-untyped-call]
        self.steps: list[Step] = []
        self.faithful = True
        # Weak keys: a recording must not keep the activations of a deep network in memory.
        self._slots = WeakTensorKeyDictionary({tensor: i for i, tensor in enumerate(given)})
        self._next = len(given)
        self._inside_step = False

    def slot(self, tensor: Tensor) -> int | None:
        """The number of a tensor's slot; None for a constant."""
        number: int | None = self._slots.get(tensor)
        return number

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if self._inside_step:
            return result
        written = [
            args[i] if i < len(args) else kwargs.get(argument.name)
            for i, argument in enumerate(func._schema.arguments)
            if argument.alias_info is not None and argument.alias_info.is_write
        ]
        self.faithful &= torch.Tag.nondeterministic_seeded not in func.tags
        self._add(func, args, kwargs, result, written)
        return result

    def record_one_step(
        self, name: Any, function: Callable[..., Tensor], args: Any, kwargs: Any
    ) -> Tensor:
        """Run a function and record it as one step, ``name``, without the operations in it.

        The function may write to the tensor that it returns, and to no other.
        :func:`swim.engine.kernels.one_step` calls this method.
        """
        if self._inside_step:
            return function(*args, **kwargs)
        self._inside_step = True
        try:
            result = function(*args, **kwargs)
        finally:
            self._inside_step = False
        self._add(name, args, kwargs, result, [a for a in args if a is result])
        return result

    def _add(self, func: Any, args: Any, kwargs: Any, result: Any, written: list[Any]) -> None:
        slotted_args, slotted_kwargs = tree_map(self._slotted, (args, kwargs))
        slots = [a for a in tree_leaves((slotted_args, slotted_kwargs)) if isinstance(a, Slot)]
        self.faithful &= all(self.slot(tensor) is not None for tensor in written)
        if not slots:
            return
        results = tuple(result) if isinstance(result, tuple | list) else (result,)
        if not all(isinstance(r, Tensor) for r in results):
            self.faithful = False
            return
        numbers = tuple(self._number(r) for r in results)
        uses = frozenset(a.number for a in slots)
        layout = Layout.of(results[0])
        self.steps.append(Step(func, slotted_args, slotted_kwargs, numbers, layout, uses))

    def _number(self, tensor: Tensor) -> int:
        """The number of a result's slot, a new one unless the operation was in place."""
        number = self.slot(tensor)
        if number is None:
            number = self._slots[tensor] = self._next
            self._next += 1
        return number

    def _slotted(self, value: Any) -> Any:
        """An argument, with a slot in place of a tensor that has one."""
        number = self.slot(value) if isinstance(value, Tensor) else None
        return value if number is None else Slot(number)
