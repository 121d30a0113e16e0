"""A forward pass that is recorded once and run again on other images and weights.

Two parts of a small network want different numbers of images at once. Convolutions want few, so
that their activations stay in the cache; the linear layers behind them want many, so that each
weight that is read from memory is used often. So a recorded pass is cut where a single tensor
crosses from the convolutions to the linear layers: the front runs on few images after the other,
the back on all of them.

A pass is not replayed where a constant of the recording might not be constant: where the pass
draws random numbers, asks for the value of a tensor, or writes to a constant.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from swim.engine.compiled.block import Block
from swim.engine.compiled.fusing import CONVOLUTION, Fused, fused
from swim.engine.compiled.recording import Layout, Recording, Slot, Step

_PRODUCTS = {
    torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.bmm.default,
    torch.ops.aten.baddbmm.default,
}


class _Part:
    """Consecutive steps, which let go of each tensor after its last use."""

    def __init__(self, steps: Sequence[Step], result: int):
        self._steps, self._result = steps, result
        used_later = {result}
        self._done_with: list[frozenset[int]] = []
        for step in reversed(steps):
            self._done_with.append(step.uses.union(step.results) - used_later)
            used_later |= self._done_with[-1]
        self._done_with.reverse()

    def __call__(self, values: dict[int, Tensor]) -> Tensor:
        """Run the steps on ``values``, slot -> tensor, which is used up; the part's result."""
        for step, done_with in zip(self._steps, self._done_with, strict=True):
            step.run(values)
            for number in done_with:
                del values[number]
        return values[self._result]


@dataclass(frozen=True)
class Replay:
    """A recorded pass: its front on few images at once, its back on all.

    Attributes:
        few: images at once in the front.
        inputs: layout of the inputs.
        weights: key -> layout of each weight; their slots are 1, 2, ...
        of_weights: steps that use weights only.
        front: the convolutions; each call writes a part of the crossing tensor into slot
            ``part``.
        part: the slot of a part of the crossing tensor.
        crossing: the slot of the crossing tensor, of all images.
        crossing_layout: its layout.
        back: the rest of the pass.
    """

    few: int
    inputs: Layout
    weights: Mapping[Any, Layout]
    of_weights: Sequence[Step]
    front: _Part
    part: int
    crossing: int
    crossing_layout: Layout
    back: _Part

    def __call__(self, inputs: Tensor, weight: Callable[..., Tensor]) -> Tensor:
        """The outputs for other images and weights.

        Args:
            inputs: (1 or chips, images, ...).
            weight: called with each key, ``weight(*key)``, returns the weight. One with other
                strides than the recorded weight is copied, since operations such as a view hold
                for one layout.

        Raises:
            ValueError: inputs or weights have another shape or type than those recorded, or
                inputs another layout.
        """
        if Layout.of(inputs) != self.inputs:
            raise ValueError(f"recorded on inputs of {self.inputs}, not {Layout.of(inputs)}")
        weights = {
            number: layout.holding(weight(*key))
            for number, (key, layout) in enumerate(self.weights.items(), 1)
        }
        for step in self.of_weights:
            step.run(weights)
        crossing = self.crossing_layout.empty()
        for shown, part in zip(inputs.split(self.few, 1), crossing.split(self.few), strict=True):
            self.front({0: shown, self.part: part, **weights})
        return self.back({self.crossing: crossing, **weights})


class _Recorded(NamedTuple):
    """A recorded pass with its blocks, and the slot of its outputs."""

    steps: Fused
    result: int


def record(
    run: Callable[[Tensor], Tensor],
    inputs: Tensor,
    few: int,
    weights: Mapping[Any, Tensor],
    same: Callable[[Tensor, Tensor], bool],
) -> Replay | None:
    """A pass that can be replayed on inputs of the same layout; None where it cannot.

    Args:
        run: the pass, which uses the weights.
        inputs: (1 or chips, images, ...).
        few: images at once in the front; divides the number of images.
        weights: key -> tensor, of the weights that may be others when the pass is replayed.
        same: whether outputs are those expected, but for rounding.
    """
    if len({id(weight) for weight in weights.values()}) < len(weights):
        return None  # two weights are one tensor now: which of them is used where, cannot be seen
    given = list(weights.values())
    small = _recorded(run, inputs[:, :few], given)
    cut = _cut(small.steps.of_images, small.result, few, len(given)) if small else None
    if small is None or cut is None:  # before all images' activations are in memory
        return None
    large = _recorded(run, inputs, given)
    if large is None or not _same_operations(small, large):
        return None
    front, back = small.steps.of_images[: cut.before], large.steps.of_images[cut.before :]
    part = -1 - len(small.steps.of_weights)  # the next negative slot, see `fused`
    made_in_front = reversed(large.steps.of_images[: cut.before])
    replay = Replay(
        few=few,
        inputs=Layout.of(inputs),
        weights={key: Layout.of(weight) for key, weight in weights.items()},
        of_weights=small.steps.of_weights,
        front=_Part(_writing(front, cut.crossing, part), part),
        part=part,
        crossing=cut.crossing,
        crossing_layout=next(s.layout for s in made_in_front if cut.crossing in s.results),
        back=_Part(back, large.result),
    )
    # Tried on other images: a constant may have been computed from these where torch sees nothing.
    others = replay.inputs.holding(inputs / 2)
    return replay if same(replay(others, lambda *key: weights[key]), run(others)) else None


def _recorded(
    run: Callable[[Tensor], Tensor], inputs: Tensor, weights: Sequence[Tensor]
) -> _Recorded | None:
    """The pass on these inputs as steps; None where running the steps would not repeat it."""
    given, before = [inputs, *weights], _random_states()
    with Recording(given) as recording:
        outputs = run(inputs)
    result = recording.slot(outputs)
    # A result of 0 is the inputs themselves, None a constant.
    if not recording.faithful or _random_states() != before or not result:
        return None
    return _Recorded(fused(recording.steps, result, given), result)


def _same_operations(one: _Recorded, other: _Recorded) -> bool:
    """Whether two recordings, of other numbers of images, are of the same operations."""
    steps = [
        [(step.function, step.results, step.uses) for step in recorded.steps.of_images]
        for recorded in (one, other)
    ]
    return one.result == other.result and steps[0] == steps[1]


def _random_states() -> tuple[Any, ...]:
    """States of the generators whose draws torch does not see."""
    _, key, position, *_ = np.random.get_state()
    return random.getstate(), np.asarray(key).tobytes(), position


def _writing(steps: Sequence[Step], crossing: int, part: int) -> list[Step]:
    """The steps, with the crossing tensor written into the tensor in slot ``part``.

    A block that comes last writes there itself; after another step the result is copied.
    """
    *others, last = steps
    if isinstance(last.function, Block) and last.results == (crossing,):
        args, uses = (*last.args, Slot(part)), last.uses | {part}
        return [*others, replace(last, args=args, uses=uses, results=(part,))]
    copy = (Slot(part), Slot(crossing))
    uses = frozenset({part, crossing})
    return [*steps, Step(Tensor.copy_, copy, {}, (part,), last.layout, uses)]


class _Cut(NamedTuple):
    """Where a pass may be cut: before which step, and the slot of the tensor that crosses.

    Attributes:
        before: position of the first step of the back.
        crossing: the slot.
        elements: elements of the crossing tensor.
        copied: whether the crossing tensor needs a copy (:func:`_writing`).
    """

    before: int
    crossing: int
    elements: int
    copied: bool


def _cut(steps: Sequence[Step], result: int, few: int, weights: int) -> _Cut | None:
    """The best cut between the last convolution and the first product behind it.

    The tensor that crosses must be a single one, with ``few`` images in dimension 0. Best is the
    smallest tensor; of several as small one that needs no copy, then the latest cut, so that
    element-wise operations find their input in the cache.
    """
    convolutions = [
        i for i, step in enumerate(steps)
        if step.function is CONVOLUTION or isinstance(step.function, Block)
    ]  # fmt: skip
    start = max(convolutions, default=len(steps))
    products = [i for i, step in enumerate(steps) if step.function in _PRODUCTS and i > start]
    shapes = {number: step.layout.shape for step in steps for number in step.results[:1]}
    cuts: list[_Cut] = []
    needed = {result}
    for at in range(len(steps) - 1, start, -1):
        needed = (needed - set(steps[at].results)) | steps[at].uses
        crossing = [number for number in needed if number == 0 or number > weights]
        single = len(crossing) == 1 and shapes.get(crossing[0], ())[:1] == (few,)
        if single and at <= min(products, default=0):
            copied = not isinstance(steps[at - 1].function, Block)
            cuts.append(_Cut(at, crossing[0], shapes[crossing[0]].numel(), copied))
    return min(cuts, key=lambda cut: (cut.elements, cut.copied, -cut.before), default=None)
