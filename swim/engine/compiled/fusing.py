"""Finds convolutions in a recorded pass that run faster with what follows them."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from swim.engine import kernels
from swim.engine.compiled.blocks import Block, Quantiser, register
from swim.engine.compiled.recording import Layout, Slot, Step

CONVOLUTION = torch.ops.aten.convolution.default
_COPIES = {torch.ops.aten.view.default, torch.ops.aten.clone.default}
_RESHAPES = {*_COPIES, torch.ops.aten._unsafe_view.default}
_RELU = {torch.ops.aten.relu.default, torch.ops.aten.relu_.default}


def fused(
    steps: Sequence[Step], needed: int, given: Sequence[Tensor]
) -> tuple[list[Step], list[Step]]:
    """The same pass, with compiled blocks where convolutions are faster so.

    Args:
        steps: of a recording.
        needed: the slot that they are to fill.
        given: what its first slots were filled with.

    Returns:
        Steps that use weights only, and those after them.
    """
    first: list[Step] = []
    found: list[Step] = []
    absorbed: set[int] = set()
    for at, step in enumerate(steps):
        if at in absorbed:
            continue
        chain = _chain(steps, at, needed) if step.function is CONVOLUTION else None
        block = chain and _block(step, chain, given)
        if not (chain and block):
            found.append(step)
            continue
        absorbed |= chain.absorbed
        images, weight, bias = step.args[:3]
        if bias is None:
            bias = torch.zeros_like(given[weight.number][:, 0, 0, 0])
        packed = Slot(-1 - len(first))  # not one of the recording's
        only = frozenset({weight.number})
        first.append(Step(block.packed, (weight,), {}, (packed.number,), step.layout, only))
        args, uses = (images, packed, bias, chain.quantiser), {images.number, packed.number}
        found.append(Step(block, args, {}, (chain.slot,), chain.layout, frozenset(uses)))
    return first, found


@dataclass
class _Chain:
    """A convolution with steps after it, each of which uses nothing but what the last one made.

    Attributes:
        slot: what the last of them fills that is no reshape.
        layout: what with.
        absorbed: positions of those that a block does; reshapes after pooling stay.
        pooled: whether the maxima of 2 x 2 windows are taken.
        rectified: whether a ReLU is among them.
        quantiser: the quantiser among them; nothing comes after it.
    """

    slot: int
    layout: Layout
    absorbed: set[int] = field(default_factory=set)
    pooled: bool = False
    rectified: bool = False
    quantiser: Quantiser | None = None

    def takes(self, step: Step) -> bool:
        """Whether a block can do this step too."""
        if step.function in _COPIES:
            return step.layout.shape == self.layout.shape
        if step.function in _RELU:
            self.rectified = True
            return True
        if step.function is kernels.max_pool2d and not self.pooled:
            self.pooled = _in_windows_of_two(step)
            return self.pooled
        if step.function in (kernels.fake_quantize, kernels.fake_quantize_) and self.pooled:
            _, *numbers = inspect.signature(step.function).bind(*step.args, **step.kwargs).args
            self.quantiser = Quantiser(*kernels.grid(*numbers[:4]))
            return True
        return False


def _chain(steps: Sequence[Step], at: int, needed: int) -> _Chain:
    (current,), layout = steps[at].results, steps[at].layout
    chain, reshaped = _Chain(current, layout), False
    while chain.quantiser is None and current != needed:
        users = [i for i in range(at + 1, len(steps)) if current in steps[i].uses]
        if not users or steps[users[0]].uses != {current}:
            break
        at, step = users[0], steps[users[0]]
        in_place = step.results == (current,)
        if len(users) > 1 and not in_place:
            break
        if (in_place or not reshaped) and chain.takes(step):
            chain.absorbed.add(at)
            if not reshaped:
                chain.slot, chain.layout = step.results[0], step.layout
        elif chain.pooled and step.function in _RESHAPES:
            reshaped = True
        else:
            break
        current = step.results[0]
    return chain


def _in_windows_of_two(step: Step) -> bool:
    given = inspect.signature(kernels.max_pool2d).bind(*step.args, **step.kwargs)
    given.apply_defaults()
    _, size, stride, padding, dilation, ceil, indices = given.args
    pair = kernels.pair
    shape = [pair(size), pair(stride or size), pair(padding), pair(dilation)]
    return shape == [(2, 2), (2, 2), (0, 0), (1, 1)] and not (ceil or indices)


def _block(step: Step, chain: _Chain, given: Sequence[Tensor]) -> Block | None:
    """What does a chain, None where none can or it would be no faster."""
    images, weight, bias, stride, padding, dilation, transposed, _, groups = step.args
    if not (chain.pooled and isinstance(images, Slot) and isinstance(weight, Slot)):
        return None
    if not 0 <= weight.number < len(given) or isinstance(bias, Slot) or transposed:
        return None
    shape = given[weight.number].shape
    plain = len(shape) == 4 and (stride, dilation) == ([1, 1], [1, 1])
    if not plain or given[weight.number].dtype != torch.float32 or not chain.layout.in_order:
        return None
    height, width = (
        size - 2 * p + k - 1
        for size, p, k in zip(step.layout.shape[2:], padding, shape[2:], strict=True)
    )
    block = Block(
        groups=groups, inputs=shape[1], outputs=shape[0] // groups, size=(height, width),
        kernel=(shape[2], shape[3]), padding=(padding[0], padding[1]),
        rectified=chain.rectified, quantised=chain.quantiser is not None,
        channels_last=chain.layout.channels_last, register=register(),
    )  # fmt: skip
    return block if block.worthwhile else None
