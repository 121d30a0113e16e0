"""Faster CPU versions of operations that evaluation spends its time in; the same values.

PyTorch's max-pooling on a CPU also finds the positions of the maxima, and its fake
quantisation also finds which values were clipped. Evaluation needs neither.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from swim.engine.compiled.recording import one_step
from swim.networks.layouts import CONVOLUTIONS
from swim.networks.weights.interception import Watch


def keep_freed_memory() -> None:
    """Have glibc reuse the memory of activations instead of handing it back to the system.

    Every activation would otherwise be paid for in page faults, up to half of a small network's
    time. Freeing one large block raises the limit above which memory is handed back (mallopt(3),
    M_MMAP_THRESHOLD); no other allocator minds.
    """
    torch.empty(31 * 2**20, dtype=torch.uint8)


def pair(value: Any) -> tuple[int, int]:
    """Height and width from one number or two."""
    if isinstance(value, tuple | list):
        return int(value[0]), int(value[-1])
    return int(value), int(value)


@one_step
def max_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """``F.max_pool2d`` of (..., H, W), as maxima of shifted views where nothing is padded."""
    kernel = pair(kernel_size)
    plain = (
        not (ceil_mode or return_indices)
        and (pair(padding), pair(dilation)) == ((0, 0), (1, 1))
        and all(size >= k for size, k in zip(input.shape[-2:], kernel, strict=True))
        and kernel != (1, 1)  # nothing but a view
    )
    if not plain or input.device.type != "cpu":
        own: Callable[..., Tensor] = F.max_pool2d
        return own(input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)
    step = pair(stride or kernel_size)
    for dim in (-2, -1):
        size = (input.shape[dim] - kernel[dim]) // step[dim] + 1
        parts = [_every(input, dim, start, step[dim], size) for start in range(max(kernel[dim], 1))]
        input = parts[0]
        for part in parts[1:]:
            input = torch.maximum(input, part)
    return input


def _every(x: Tensor, dim: int, start: int, step: int, count: int) -> Tensor:
    index: list[Any] = [..., slice(None), slice(None)]
    index[dim] = slice(start, start + (count - 1) * step + 1, step)
    return x[tuple(index)]


@one_step
def fake_quantize(
    input: Tensor, scale: Any, zero_point: Any, quant_min: int, quant_max: int
) -> Tensor:
    """``torch.fake_quantize_per_tensor_affine`` of finite values, in place on one fresh tensor."""
    return fake_quantize_(input, scale, zero_point, quant_min, quant_max, torch.mul)


@one_step
def fake_quantize_(
    input: Tensor,
    scale: Any,
    zero_point: Any,
    quant_min: int,
    quant_max: int,
    multiply: Callable[..., Tensor] = Tensor.mul_,
) -> Tensor:
    """The same, over ``input`` itself where that can be."""
    if input.dtype != torch.float32 or input.device.type != "cpu":
        return torch.fake_quantize_per_tensor_affine(input, scale, zero_point, quant_min, quant_max)
    inverse, step, low, high = grid(scale, zero_point, quant_min, quant_max)
    return multiply(input, inverse).round_().clamp_(low, high).mul_(step)


def grid(
    scale: Any, zero_point: Any, quant_min: int, quant_max: int
) -> tuple[float, float, int, int]:
    """What a quantiser's arguments say: ``clamp(round(x inverse), low, high) step``."""
    zero, step = int(zero_point), float(scale)
    inverse = float(np.float32(1) / np.float32(step))  # rounded as PyTorch has it
    return inverse, step, quant_min - zero, quant_max - zero


SUBSTITUTES: dict[Any, Callable[..., Tensor]] = {
    F.max_pool2d: max_pool2d,
    torch.max_pool2d: max_pool2d,
    torch.fake_quantize_per_tensor_affine: fake_quantize,
    **CONVOLUTIONS,
}


class FastKernels(Watch):
    """While active, a model's forward uses the versions above."""

    def _call(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        return SUBSTITUTES.get(func, func)(*args, **kwargs)
