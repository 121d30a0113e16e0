"""The products that run on the accelerator: linear layers and convolutions of any kind."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from swim.curvature.rules.base import owned, rule

# The layers, whose second argument is a weight.
LAYERS = (
    F.linear, F.conv1d, F.conv2d, F.conv3d,
    F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d,
)  # fmt: skip


class SquaredLinear(Function):
    """``o = W x + b``: ``h_x = (W∘W)^T h``, ``h_W = sum h (x∘x)^T``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return owned(F.linear(x, weight, bias))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, h: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        h_x = h @ weight.square() if ctx.needs_input_grad[0] else None
        h_w = None
        if ctx.needs_input_grad[1]:
            h_w = h.reshape(-1, h.shape[-1]).T @ x.square().reshape(-1, x.shape[-1])
        return h_x, h_w, None


class SquaredConvolution(Function):
    """A convolution as a linear map: its backward with squared weights and squared inputs."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: tuple[Any, ...]
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        return owned(torch.ops.aten.convolution(x, weight, bias, *geometry))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, h: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wanted = [ctx.needs_input_grad[0], ctx.needs_input_grad[1], False]
        h_x, h_w, _ = torch.ops.aten.convolution_backward(
            h, x.square(), weight.square(), None, *ctx.geometry, wanted
        )
        return h_x, h_w, None, None


@rule(F.linear)
def linear(func: Any, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Fully connected layer, over any leading dimensions."""
    result: Tensor = SquaredLinear.apply(input, weight, bias)
    return result


def _each(value: Any, dims: int) -> list[int]:
    """One number for each dimension."""
    numbers = [int(v) for v in value] if isinstance(value, Sequence) else [int(value)]
    return numbers * dims if len(numbers) == 1 else numbers


def _apply(input: Tensor, weight: Tensor, bias: Tensor | None, geometry: tuple[Any, ...]) -> Tensor:
    if input.dim() < weight.dim():  # one sample without a batch
        single: Tensor = SquaredConvolution.apply(input[None], weight, bias, geometry)[0]
        return single
    result: Tensor = SquaredConvolution.apply(input, weight, bias, geometry)
    return result


@rule(F.conv1d, F.conv2d, F.conv3d)
def convolution(
    func: Any,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Convolution with any stride, padding, dilation and groups."""
    dims = weight.dim() - 2
    if padding == "valid":
        padding = 0
    elif padding == "same":
        total = [d * (k - 1) for d, k in zip(_each(dilation, dims), weight.shape[2:], strict=True)]
        # F.pad counts from the last dimension; the odd one goes to the end, as torch has it.
        input = F.pad(input, [side for t in reversed(total) for side in (t // 2, t - t // 2)])
        padding = 0
    stride, padding, dilation = (_each(value, dims) for value in (stride, padding, dilation))
    return _apply(input, weight, bias, (stride, padding, dilation, False, [0] * dims, groups))


@rule(F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
def transposed_convolution(
    func: Any,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """Transposed convolution with any stride, padding, dilation and groups."""
    stride, padding, dilation, output_padding = (
        _each(value, weight.dim() - 2) for value in (stride, padding, dilation, output_padding)
    )
    return _apply(input, weight, bias, (stride, padding, dilation, True, output_padding, groups))
