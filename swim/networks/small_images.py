"""Convolutions of small images in bfloat16 on a CPU, as matrix products of unfolded images.

oneDNN's own convolutions in bfloat16 take longer where an output has few positions: the gradient
of the weights most of all, the others where the weights are larger than a core's cache. The values
are sums of the same products, in another order.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_Pair = tuple[int, int]
# Where unfolding takes less time: positions of an output, and numbers of a weight.
_POSITIONS, _NUMBERS = 64, 1 << 17
_POSITIONS_OF_OUTPUTS, _NUMBERS_OF_OUTPUTS = 16, 1 << 20


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """:func:`torch.nn.functional.conv2d` of the same arguments.

    Args:
        input: (N, C, H, W).
        weight: (O, C, h, w).
        bias: (O,).
        stride: of the rows and columns.
        padding: of zeros, of the rows and columns.
        dilation: with any but 1 the function is PyTorch's own.
        groups: with any but 1 the function is PyTorch's own.
    """
    plain = groups == 1 and not isinstance(padding, str) and pair(dilation) == (1, 1)
    if plain and input.dim() == 4 and _in_bfloat16(input) and _in_bfloat16(weight):
        geometry = pair(stride), pair(padding)
        if _small(input, weight, *geometry, _POSITIONS, _NUMBERS):
            halves = input.to(torch.bfloat16), weight.to(torch.bfloat16)
            output: Tensor = _Convolution.apply(*halves, *geometry)
            return output if bias is None else output + bias.to(torch.bfloat16)[:, None, None]
    return F.conv2d(input, weight, bias, stride, padding, dilation, groups)


class _Convolution(torch.autograd.Function):
    """Of images (N, C, H, W) and a weight (O, C, h, w) in bfloat16."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, stride: _Pair, padding: _Pair) -> Tensor:
        ctx.save_for_backward(input, weight)
        ctx.geometry = stride, padding
        return _product(input, weight, stride, padding)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        input, weight = ctx.saved_tensors
        stride, padding = ctx.geometry
        inputs = weights = None
        if ctx.needs_input_grad[0]:
            inputs = _input_gradient(gradient, input, weight, stride, padding)
        if ctx.needs_input_grad[1]:
            weights = _weight_gradient(gradient, input, weight, stride, padding)
        return inputs, weights, None, None


def _product(input: Tensor, weight: Tensor, stride: _Pair, padding: _Pair) -> Tensor:
    if not _small(input, weight, stride, padding, _POSITIONS_OF_OUTPUTS, _NUMBERS_OF_OUTPUTS):
        return F.conv2d(input, weight, None, stride, padding)
    windows = _padded(input, padding).unfold(1, weight.shape[2], stride[0])
    windows = windows.unfold(2, weight.shape[3], stride[1])  # (N, rows, columns, C, h, w)
    columns = windows.permute(0, 1, 2, 4, 5, 3).flatten(0, 2).flatten(1)
    output = columns @ weight.permute(2, 3, 1, 0).flatten(0, 2)
    return output.view(*windows.shape[:3], -1).permute(0, 3, 1, 2)


def _input_gradient(
    gradient: Tensor, input: Tensor, weight: Tensor, stride: _Pair, padding: _Pair
) -> Tensor:
    height, width = weight.shape[2:]
    if stride == (1, 1) and padding[0] < height and padding[1] < width:
        # A convolution of the gradient with the turned kernels.
        turned = weight.flip(2, 3).transpose(0, 1)
        return _product(gradient, turned, stride, (height - 1 - padding[0], width - 1 - padding[1]))
    only = (True, False, False)
    arguments = None, stride, padding, (1, 1), False, (0, 0), 1, only
    result: Tensor = torch.ops.aten.convolution_backward(gradient, input, weight, *arguments)[0]
    return result


def _weight_gradient(
    gradient: Tensor, input: Tensor, weight: Tensor, stride: _Pair, padding: _Pair
) -> Tensor:
    """(O, C, h, w): one product for each row of the kernel."""
    channels, rows = weight.shape[1], gradient.shape[2]
    outputs = gradient.permute(0, 2, 3, 1).reshape(-1, weight.shape[0]).T
    padded, products = _padded(input, padding), []
    for row in range(weight.shape[2]):
        read = padded[:, row : row + (rows - 1) * stride[0] + 1 : stride[0]]
        windows = read.unfold(2, weight.shape[3], stride[1])  # (N, rows, columns, C, w)
        products.append(outputs @ windows.permute(0, 1, 2, 4, 3).flatten(0, 2).flatten(1))
    result = torch.stack(products, 1).view(-1, *weight.shape[2:], channels)
    return result.permute(0, 3, 1, 2)


def _padded(input: Tensor, padding: _Pair) -> Tensor:
    """Channels last: (N, H, W, C)."""
    down, across = padding
    return F.pad(input, (across, across, down, down)).permute(0, 2, 3, 1)


def _small(
    input: Tensor, weight: Tensor, stride: _Pair, padding: _Pair, positions: int, numbers: int
) -> bool:
    """Whether an output has at most so many positions, and the weight at least so many numbers."""
    sides = [
        (size + 2 * edge - kernel) // step + 1
        for size, kernel, step, edge in zip(
            input.shape[2:], weight.shape[2:], stride, padding, strict=True
        )
    ]
    window = weight.shape[2] * weight.shape[3] > 1
    return window and 0 < sides[0] * sides[1] <= positions and weight.numel() >= numbers


def _in_bfloat16(tensor: Tensor) -> bool:
    """Whether PyTorch would convolve in bfloat16 on a CPU."""
    if tensor.device.type != "cpu" or tensor.dtype == torch.float64:
        return False
    if not torch.is_autocast_enabled("cpu"):
        return tensor.dtype == torch.bfloat16
    return torch.get_autocast_dtype("cpu") == torch.bfloat16


def pair(value: Any) -> _Pair:
    """(height, width) from one number for both, or from two."""
    if isinstance(value, tuple | list):
        return int(value[0]), int(value[-1])
    return int(value), int(value)
