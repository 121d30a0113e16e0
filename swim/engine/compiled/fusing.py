"""Finds convolutions in a recorded pass that run faster together with what follows them.

A block (:mod:`.block`) replaces a chain of steps: a convolution of stride 1, then maxima of 2 x 2
windows, with a ReLU anywhere in the chain and a quantiser at its end. The ReLU may come before the
maxima, since the greatest of rectified numbers is the rectified greatest number.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from swim.engine import kernels
from swim.engine.compiled.block import Block, Quantiser
from swim.engine.compiled.recording import Layout, Slot, Step
from swim.networks.small_images import pair
from swim.runtime.machine_code import simd_width

CONVOLUTION = torch.ops.aten.convolution.default
_COPIES = {torch.ops.aten.view.default, torch.ops.aten.clone.default}
_RESHAPES = {*_COPIES, torch.ops.aten._unsafe_view.default}
_RELU = {torch.ops.aten.relu.default, torch.ops.aten.relu_.default}


class Fused(NamedTuple):
    """A pass in two lists of steps.

    Attributes:
        of_weights: steps that use weights only, and so run once for all images.
        of_images: the steps after them.
    """

    of_weights: list[Step]
    of_images: list[Step]


class _Convolution(NamedTuple):
    """The arguments of a recorded convolution, in the order of ``aten.convolution``."""

    images: Any
    weight: Any
    bias: Any
    stride: list[int]
    padding: list[int]
    dilation: list[int]
    transposed: bool
    output_padding: list[int]
    groups: int


def fused(steps: Sequence[Step], needed: int, given: Sequence[Tensor]) -> Fused:
    """The same pass, with compiled blocks where they are faster.

    Args:
        steps: steps of a recording.
        needed: the slot of the pass's outputs.
        given: the tensors that the recording was given: images, then weights.
    """
    of_weights: list[Step] = []
    of_images: list[Step] = []
    replaced: set[int] = set()
    for at, step in enumerate(steps):
        if at in replaced:
            continue
        chain = _chain(steps, at, needed) if step.function is CONVOLUTION else None
        block = chain and _block(step, chain, given)
        if not (chain and block):
            of_images.append(step)
            continue
        replaced |= chain.replaced
        images, weight, bias, *_ = _Convolution(*step.args)
        if bias is None:
            bias = torch.zeros_like(given[weight.number][:, 0, 0, 0])
        packed = Slot(-1 - len(of_weights))  # negative: not one of the recording's
        only = frozenset({weight.number})
        of_weights.append(Step(block.packed, (weight,), {}, (packed.number,), step.layout, only))
        args, uses = (images, packed, bias, chain.quantiser), {images.number, packed.number}
        of_images.append(Step(block, args, {}, (chain.slot,), chain.layout, frozenset(uses)))
    return Fused(of_weights, of_images)


@dataclass
class _Chain:
    """A convolution and the steps after it that a block can do.

    Attributes:
        slot: the slot that the block fills.
        layout: the layout of its result.
        replaced: positions of the steps that the block does besides the convolution.
        pooled: whether the maxima of 2 x 2 windows are taken.
        relu: whether a ReLU is among the steps.
        quantiser: the quantiser at the end of the chain, if there is one.
    """

    slot: int
    layout: Layout
    replaced: set[int] = field(default_factory=set)
    pooled: bool = False
    relu: bool = False
    quantiser: Quantiser | None = None

    def takes(self, step: Step) -> bool:
        """Whether the block can do this step too; the step is then part of the chain."""
        if step.function in _COPIES:
            return step.layout.shape == self.layout.shape
        if step.function in _RELU:
            self.relu = True
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
    """The longest chain behind the convolution at a position.

    A step joins the chain if it is the only one that uses the last result, so that nothing else
    misses what the block does not write. A step in place leaves its input changed, so later steps
    may use the same slot. Behind the maxima, a reshape (a flatten before a linear layer) does not
    end the chain: it stays a step of its own, and a ReLU or quantiser in place behind it, which
    changes the block's result through the view, is still done by the block.
    """
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
            chain.replaced.add(at)
            if not reshaped:
                chain.slot, chain.layout = step.results[0], step.layout
        elif chain.pooled and step.function in _RESHAPES:
            reshaped = True
        else:
            break
        current = step.results[0]
    return chain


def _in_windows_of_two(step: Step) -> bool:
    """Whether a max-pooling step takes windows of 2 x 2 without overlap, padding or indices."""
    given = inspect.signature(kernels.max_pool2d).bind(*step.args, **step.kwargs)
    given.apply_defaults()
    _, size, stride, padding, dilation, ceil, indices = given.args
    shape = [pair(size), pair(stride or size), pair(padding), pair(dilation)]
    return shape == [(2, 2), (2, 2), (0, 0), (1, 1)] and not (ceil or indices)


def _block(step: Step, chain: _Chain, given: Sequence[Tensor]) -> Block | None:
    """The block for a chain; None where a block cannot do the chain, or not faster."""
    call = _Convolution(*step.args)
    if not (chain.pooled and isinstance(call.images, Slot) and isinstance(call.weight, Slot)):
        return None
    # The weight must be one that is given: one that is computed from the images is not.
    if not 0 <= call.weight.number < len(given) or isinstance(call.bias, Slot) or call.transposed:
        return None
    weight = given[call.weight.number]
    plain = weight.dim() == 4 and (call.stride, call.dilation) == ([1, 1], [1, 1])
    if not plain or weight.dtype != torch.float32 or not chain.layout.in_order:
        return None
    outputs, inputs, *kernel = weight.shape
    height, width = (
        size - 2 * p + k - 1
        for size, p, k in zip(step.layout.shape[2:], call.padding, kernel, strict=True)
    )
    block = Block(
        groups=call.groups, inputs=inputs, outputs=outputs // call.groups, size=(height, width),
        kernel=(kernel[0], kernel[1]), padding=(call.padding[0], call.padding[1]),
        relu=chain.relu, quantised=chain.quantiser is not None,
        channels_last=chain.layout.channels_last, simd_width=simd_width(),
    )  # fmt: skip
    return block if block.worthwhile else None
