"""A forward pass recorded as its operations, to be run again on other images.

A small network wants different numbers of images at once: few in its convolutions, whose
activations should stay in a cache, and many in the layers after them, whose weights should be
worth fetching. A recorded pass is cut between the two, where a single tensor crosses.

What does not depend on the images is a constant of the recording. Where that might be wrong,
nothing is replayed: torch draws at random, or an operation hands Python a value or writes to a
constant.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

_CONVOLUTION = torch.ops.aten.convolution.default
_PRODUCTS = {
    torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.bmm.default,
    torch.ops.aten.baddbmm.default,
}


@dataclass(frozen=True)
class _Slot:
    """Stands for a tensor that is another in every pass: one given to it, or what it computes."""

    number: int


@dataclass(frozen=True)
class _Step:
    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: tuple[int, ...]
    shape: torch.Size  # of its first result
    uses: frozenset[int]

    def run(self, values: dict[int, Tensor]) -> None:
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
        values[a.number] if type(a) is _Slot
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
        super().__init__()
        self.steps: list[_Step] = []
        self.faithful = True
        self._slots = {id(tensor): number for number, tensor in enumerate(given)}
        self._kept: list[Any] = list(given)  # an id is one tensor's while that lives

    def slot(self, tensor: Tensor) -> int | None:
        """A tensor's number, None if it is a constant."""
        return self._slots.get(id(tensor))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        self._kept.append(result)
        known_args, known_kwargs = tree_map(self._stand_in, (args, kwargs))
        slots = [a for a in tree_leaves((known_args, known_kwargs)) if isinstance(a, _Slot)]
        written = [
            args[i] if i < len(args) else kwargs.get(argument.name)
            for i, argument in enumerate(func._schema.arguments)
            if argument.alias_info is not None and argument.alias_info.is_write
        ]
        self.faithful &= all(id(tensor) in self._slots for tensor in written)
        self.faithful &= torch.Tag.nondeterministic_seeded not in func.tags
        results = tuple(result) if isinstance(result, tuple | list) else (result,)
        if not slots:
            return result
        if not all(isinstance(r, Tensor) for r in results):
            self.faithful = False
            return result
        numbers = tuple(self._slots.setdefault(id(r), len(self._slots)) for r in results)
        uses = frozenset(a.number for a in slots)
        shape = results[0].shape
        self.steps.append(_Step(func, known_args, known_kwargs, numbers, shape, uses))
        return result

    def _stand_in(self, value: Any) -> Any:
        number = self.slot(value) if isinstance(value, Tensor) else None
        return value if number is None else _Slot(number)


class _Part:
    """Some steps, and after which of them each tensor can go."""

    def __init__(self, steps: Sequence[_Step], result: int):
        self._steps, self._result = steps, result
        seen = {result}
        self._last: list[frozenset[int]] = []
        for step in reversed(steps):
            self._last.append(step.uses.union(step.results) - seen)
            seen |= self._last[-1]
        self._last.reverse()

    def __call__(self, values: dict[int, Tensor]) -> Tensor:
        for step, last in zip(self._steps, self._last, strict=True):
            step.run(values)
            for number in last:
                del values[number]
        return values[self._result]


class Replayed:
    """A recorded pass on a block of images: convolutions on a few at once, what follows on all."""

    def __init__(self, few: int, keys: Sequence[Any], front: _Part, back: _Part, crossing: int):
        self._few, self._keys = few, keys
        self._front, self._back, self._crossing = front, back, crossing

    def __call__(self, inputs: Tensor, weight: Callable[..., Tensor]) -> Tensor:
        """Outputs for inputs (1 or chips, images, ...), with ``weight(*key)`` for each key."""
        given = {number: weight(*key) for number, key in enumerate(self._keys, 1)}
        parts = [self._front({0: part, **given}) for part in inputs.split(self._few, 1)]
        return self._back({self._crossing: torch.cat(parts), **given})


def record(
    run: Callable[[Tensor], Tensor], inputs: Tensor, few: int, weights: Mapping[Any, Tensor]
) -> Replayed | None:
    """A pass that can be replayed on inputs of the same shape, strides and type, or None.

    Args:
        run: a pass, which uses the weights.
        inputs: (1 or chips, images, ...).
        few: images at once in the first part; divides the number of images.
        weights: tensors that will be others when it is replayed, by a key.
    """

    def recorded(shown: Tensor) -> tuple[Recording, Tensor]:
        with Recording([shown, *weights.values()]) as recording:
            outputs = run(shown)
        return recording, outputs

    small, outputs = recorded(inputs[:, :few])
    result = small.slot(outputs)
    if result is None or not small.faithful:
        return None
    cut = _cut(small.steps, result, few, len(weights))
    if cut is None:  # before all images are in memory
        return None
    large, outputs = recorded(inputs)
    alike = [(step.function, step.results, step.uses) for step in small.steps] == [
        (step.function, step.results, step.uses) for step in large.steps
    ]
    if large.slot(outputs) != result or not (alike and large.faithful):
        return None
    at, crossing = cut
    front, back = _Part(small.steps[:at], crossing), _Part(large.steps[at:], result)
    replay = Replayed(few, list(weights), front, back, crossing)
    # On other images: constants may be of these, taken where torch does not see it.
    others = inputs / 2
    found = replay(others, lambda *key: weights[key])
    return replay if same_but_for_rounding(found, run(others)) else None


def same_but_for_rounding(found: Tensor, expected: Tensor) -> bool:
    """Whether two passes' outputs are as near as rounding, and quantisers that it tips, allow."""
    return bool((found - expected).abs().mean() <= 0.01 * expected.abs().mean())


def _cut(steps: Sequence[_Step], result: int, few: int, weights: int) -> tuple[int, int] | None:
    """Before which step the smallest single tensor crosses from convolutions to products.

    Of several as small the last, so that element-wise operations find their input in a cache.
    """
    convolutions = [i for i, step in enumerate(steps) if step.function is _CONVOLUTION]
    start = max(convolutions, default=len(steps))
    products = [i for i, step in enumerate(steps) if step.function in _PRODUCTS and i > start]
    shapes = {number: step.shape for step in steps for number in step.results[:1]}
    found: list[tuple[int, int, int]] = []
    needed = {result}
    for at in range(len(steps) - 1, start, -1):
        needed = (needed - set(steps[at].results)) | steps[at].uses
        crossing = [number for number in needed if not 1 <= number <= weights]
        single = len(crossing) == 1 and shapes.get(crossing[0], ())[:1] == (few,)
        if single and at <= min(products, default=0):
            found.append((shapes[crossing[0]].numel(), at, crossing[0]))
    if not found:
        return None
    _, at, number = min(found, key=lambda cut: (cut[0], -cut[1]))
    return at, number
