"""Faster CPU versions of operations that take much of an evaluation's time; the same values.

PyTorch's max-pooling on a CPU also computes the positions of the maxima, and its fake
quantisation also computes which values were clipped. Evaluation needs neither.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import _get_current_dispatch_mode

from swim.networks.layouts import CONVOLUTIONS
from swim.networks.small_images import pair
from swim.networks.weights.interception import Watch

_Arguments = ParamSpec("_Arguments")


def one_step(function: Callable[_Arguments, Tensor]) -> Callable[_Arguments, Tensor]:
    """The function, which a recorder notes as one step instead of the operations in it.

    A recorder is the active dispatch mode, and has a method ``record_one_step``
    (:class:`swim.engine.compiled.recording.Recording`).
    """

    @functools.wraps(function)
    def call(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> Tensor:
        record = getattr(_get_current_dispatch_mode(), "record_one_step", None)
        if record is None:
            return function(*args, **kwargs)
        result: Tensor = record(call, function, args, kwargs)
        return result

    return call


def keep_freed_memory() -> None:
    """Have glibc keep the memory of freed activations, and use it again.

    glibc hands large blocks back to the system when they are freed, and asks for new ones, whose
    pages the system fills with zeros: a page fault each. Freeing one block of just under 32 MiB
    raises the limit from which blocks are handed back to that size (mallopt(3),
    M_MMAP_THRESHOLD). Other allocators, and threads' other arenas, are not affected.

    The gain, as CPU time without over with this call, median of five pairs: 1.08 for LeNet at 4
    bits, 1.02 for LeNet, 0.98 for ConvNet, 1.05 for ResNet-18. Page faults of eight chips of
    LeNet at 4 bits fall from about 1,050 to 8 (compiled passes on, torch 2.14, Intel Xeon with
    AVX-512, November 2026).
    """
    torch.empty(31 * 2**20, dtype=torch.uint8)


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
    """``F.max_pool2d`` of (..., H, W): maxima of shifted views where nothing is padded."""
    kernel = pair(kernel_size)
    plain = (
        not (ceil_mode or return_indices)
        and (pair(padding), pair(dilation)) == ((0, 0), (1, 1))
        and all(size >= k for size, k in zip(input.shape[-2:], kernel, strict=True))
        and kernel != (1, 1)  # nothing but a view
    )
    if not plain or input.device.type != "cpu":
        original: Callable[..., Tensor] = F.max_pool2d
        return original(input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)
    step = pair(stride or kernel_size)
    for dim in (-2, -1):
        size = (input.shape[dim] - kernel[dim]) // step[dim] + 1
        parts = [_every(input, dim, start, step[dim], size) for start in range(max(kernel[dim], 1))]
        input = parts[0]
        for part in parts[1:]:
            input = torch.maximum(input, part)
    return input


def _every(x: Tensor, dim: int, start: int, step: int, count: int) -> Tensor:
    """A view of ``count`` rows or columns, each ``step`` after the last."""
    index: list[Any] = [..., slice(None), slice(None)]
    index[dim] = slice(start, start + (count - 1) * step + 1, step)
    return x[tuple(index)]


@one_step
def fake_quantize(
    input: Tensor, scale: Any, zero_point: Any, quant_min: int, quant_max: int
) -> Tensor:
    """``torch.fake_quantize_per_tensor_affine`` of finite values, into a new tensor."""
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
    """:func:`fake_quantize`, written over ``input`` where it is float32 on the CPU."""
    if input.dtype != torch.float32 or input.device.type != "cpu":
        return torch.fake_quantize_per_tensor_affine(input, scale, zero_point, quant_min, quant_max)
    inverse, step, low, high = grid(scale, zero_point, quant_min, quant_max)
    return multiply(input, inverse).round_().clamp_(low, high).mul_(step)


def grid(
    scale: Any, zero_point: Any, quant_min: int, quant_max: int
) -> tuple[float, float, int, int]:
    """(inverse, step, low, high) of a quantiser ``clamp(round(x inverse), low, high) step``."""
    zero, step = int(zero_point), float(scale)
    inverse = float(np.float32(1) / np.float32(step))  # rounded as PyTorch rounds it
    return inverse, step, quant_min - zero, quant_max - zero


SUBSTITUTES: dict[Any, Callable[..., Tensor]] = {
    F.max_pool2d: max_pool2d,
    torch.max_pool2d: max_pool2d,
    torch.fake_quantize_per_tensor_affine: fake_quantize,
    **CONVOLUTIONS,
}


class FastKernels(Watch):
    """While active, a model's forward uses the substitutes above."""

    def _call(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        return SUBSTITUTES.get(func, func)(*args, **kwargs)
