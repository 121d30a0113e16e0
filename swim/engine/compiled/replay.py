"""A forward pass recorded as its operations, to be run again on other images.

A small network wants different numbers of images at once: few in its convolutions, whose
activations should stay in a cache, and many in the layers after them, whose weights should be
worth fetching. A recorded pass is cut between the two, where a single tensor crosses.

Where what a recording takes for constant might not be, nothing is replayed: the pass draws
at random, or an operation hands Python a value or writes to a constant.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from swim.engine.compiled.blocks import Block
from swim.engine.compiled.fusing import CONVOLUTION, fused
from swim.engine.compiled.recording import Layout, Recording, Slot, Step

_PRODUCTS = {
    torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.bmm.default,
    torch.ops.aten.baddbmm.default,
}


class _Part:
    """Some steps, and after which of them each tensor can go."""

    def __init__(self, steps: Sequence[Step], result: int):
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


@dataclass(frozen=True)
class Replayed:
    """A recorded pass on a block of images: convolutions on a few at once, what follows on all.

    Attributes:
        few: images at once in the convolutions.
        shown: layout of the inputs.
        weights: keys of the weights, whose slots are 1, 2, ..., and their layouts.
        first: steps that use weights only.
        front: the convolutions; writes into slot ``whole``.
        whole: the slot of a part of what crosses from front to back.
        layout: of what crosses, for all images.
        back: the rest.
        crossing: the slot in which it finds that.
    """

    few: int
    shown: Layout
    weights: Mapping[Any, Layout]
    first: Sequence[Step]
    front: _Part
    whole: int
    layout: Layout
    back: _Part
    crossing: int

    def __call__(self, inputs: Tensor, weight: Callable[..., Tensor]) -> Tensor:
        """Outputs for inputs (1 or chips, images, ...), with ``weight(*key)`` for each key.

        Weights that lie in memory in another way than those recorded are copied: an operation such
        as a view holds for one layout.

        Raises:
            ValueError: the inputs have another shape, type or layout than those recorded.
        """
        if Layout.of(inputs) != self.shown:
            raise ValueError(f"recorded on inputs of {self.shown}, not {Layout.of(inputs)}")
        given = {
            number: layout.holding(weight(*key))
            for number, (key, layout) in enumerate(self.weights.items(), 1)
        }
        for step in self.first:
            step.run(given)
        whole = self.layout.empty()
        parts = zip(inputs.split(self.few, 1), whole.split(self.few), strict=True)
        for part, into in parts:
            self.front({0: part, self.whole: into, **given})
        return self.back({self.crossing: whole, **given})


def record(
    run: Callable[[Tensor], Tensor],
    inputs: Tensor,
    few: int,
    weights: Mapping[Any, Tensor],
    same: Callable[[Tensor, Tensor], bool],
) -> Replayed | None:
    """A pass that can be replayed on inputs of the same shape, strides and type, or None.

    Args:
        run: a pass, which uses the weights.
        inputs: (1 or chips, images, ...).
        few: images at once in the first part; divides the number of images.
        weights: tensors that will be others when it is replayed, by a key.
        same: whether outputs found are those expected, but for rounding.
    """
    if len({id(weight) for weight in weights.values()}) < len(weights):
        return None  # which of two that are one tensor now is used where, does not show

    def recorded(shown: Tensor) -> tuple[int | None, list[Step], list[Step]]:
        """The slot of the outputs, None if it can't be replayed; steps of weights; the others."""
        given, before = [shown, *weights.values()], _random_states()
        with Recording(given) as recording:
            outputs = run(shown)
        faithful = recording.faithful and _random_states() == before
        result = recording.slot(outputs) if faithful else None
        return result, *(fused(recording.steps, result, given) if result else ([], []))

    result, first, small = recorded(inputs[:, :few])
    cut = _cut(small, result, few, len(weights)) if result else None
    if result is None or cut is None:  # before all images are in memory
        return None
    same_result, _, large = recorded(inputs)
    alike = [(step.function, step.results, step.uses) for step in small] == [
        (step.function, step.results, step.uses) for step in large
    ]
    if same_result != result or not alike:
        return None
    at, crossing = cut
    whole = -1 - len(first)
    layout = next(step.layout for step in reversed(large[:at]) if crossing in step.results)
    front = _Part(_writing(small[:at], crossing, whole), whole)
    back = _Part(large[at:], result)
    layouts = {key: Layout.of(weight) for key, weight in weights.items()}
    shown = Layout.of(inputs)
    replay = Replayed(few, shown, layouts, first, front, whole, layout, back, crossing)
    # On other images: constants may be of these, taken where torch does not see it.
    others = shown.holding(inputs / 2)
    found = replay(others, lambda *key: weights[key])
    return replay if same(found, run(others)) else None


def _random_states() -> tuple[Any, ...]:
    """Of generators that torch's operations do not show."""
    _, key, position, *_ = np.random.get_state()
    return random.getstate(), np.asarray(key).tobytes(), position


def _writing(steps: Sequence[Step], crossing: int, whole: int) -> list[Step]:
    """The steps, with what crosses written into another slot's tensor."""
    *others, last = steps
    if isinstance(last.function, Block) and last.results == (crossing,):
        args, uses = (*last.args, Slot(whole)), last.uses | {whole}
        return [*others, replace(last, args=args, uses=uses, results=(whole,))]
    copy = (Slot(whole), Slot(crossing))
    uses = frozenset({whole, crossing})
    return [*steps, Step(Tensor.copy_, copy, {}, (whole,), last.layout, uses)]


def _cut(steps: Sequence[Step], result: int, few: int, weights: int) -> tuple[int, int] | None:
    """Before which step the smallest single tensor crosses from convolutions to products.

    Of several as small the last, so that element-wise operations find their input in a cache; but
    before all others what a block writes, which needs no copy.
    """
    convolutions = [
        i for i, step in enumerate(steps)
        if step.function is CONVOLUTION or isinstance(step.function, Block)
    ]  # fmt: skip
    start = max(convolutions, default=len(steps))
    products = [i for i, step in enumerate(steps) if step.function in _PRODUCTS and i > start]
    shapes = {number: step.layout.shape for step in steps for number in step.results[:1]}
    found: list[tuple[int, bool, int, int]] = []
    needed = {result}
    for at in range(len(steps) - 1, start, -1):
        needed = (needed - set(steps[at].results)) | steps[at].uses
        crossing = [number for number in needed if number == 0 or number > weights]
        single = len(crossing) == 1 and shapes.get(crossing[0], ())[:1] == (few,)
        if single and at <= min(products, default=0):
            copied = not isinstance(steps[at - 1].function, Block)
            found.append((shapes[crossing[0]].numel(), copied, -at, crossing[0]))
    if not found:
        return None
    _, _, before, number = min(found)
    return -before, number
