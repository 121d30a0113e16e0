"""Averages: every row of the Jacobian holds one coefficient."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from swim.curvature.rules.base import owned, rule

_DIMENSIONS: dict[Any, int] = {
    F.avg_pool2d: 2, F.avg_pool3d: 3,
    F.adaptive_avg_pool1d: 1, F.adaptive_avg_pool2d: 2, F.adaptive_avg_pool3d: 3,
}  # fmt: skip


class Averaging(Function):
    """A linear map whose rows each hold one coefficient c: ``h_x = P^T (c h)``, P its Jacobian."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, run: Callable[[Tensor], Tensor], coefficient: Any) -> Tensor:
        ctx.run, ctx.coefficient = run, coefficient
        ctx.like = x.new_zeros(1).expand(x.shape)
        return owned(run(x))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, h: Tensor) -> tuple[Tensor | None, ...]:
        with torch.enable_grad():
            x = ctx.like.clone().requires_grad_()
            (h_x,) = torch.autograd.grad(ctx.run(x), x, h * ctx.coefficient)
        return h_x, None, None


@rule(F.avg_pool2d, F.avg_pool3d)
def avg_pool(func: Any, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Average pooling, by the squared coefficient; each window's own where sizes differ."""

    def run(x: Tensor) -> Tensor:
        out: Tensor = func(x, *args, **kwargs)
        return out

    names = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")
    geometry = {**dict(zip(names, args, strict=False)), **kwargs, "divisor_override": 1}
    ones = input.new_ones(1, *input.shape[-_DIMENSIONS[func] :])
    result: Tensor = Averaging.apply(input, run, run(ones) / func(ones, **geometry))
    return result


@rule(F.avg_pool1d)
def avg_pool1d(
    func: Any,
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The same along one dimension; the windows' sizes are counted on an image of one row."""

    def run(x: Tensor) -> Tensor:
        return F.avg_pool1d(x, kernel_size, stride, padding, ceil_mode, count_include_pad)

    def window(size: Any, across: int) -> tuple[int, int]:
        return across, size if isinstance(size, int) else size[0]

    row = input.new_ones(1, 1, input.shape[-1])
    step = window(stride or kernel_size, 1)
    geometry = window(kernel_size, 1), step, window(padding, 0), ceil_mode, count_include_pad
    sizes = F.avg_pool2d(row, *geometry, divisor_override=1)[0]
    result: Tensor = Averaging.apply(input, run, run(row[0]) / sizes)
    return result


@rule(F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)
def adaptive_avg_pool(func: Any, input: Tensor, output_size: Any) -> Tensor:
    """Adaptive average pooling, by the squared coefficient of each window."""

    def run(x: Tensor) -> Tensor:
        out: Tensor = func(x, output_size)
        return out

    sizes = input.shape[-_DIMENSIONS[func] :]
    out = run(input.new_ones(1, *sizes)).shape[1:]
    lengths = [
        torch.tensor([-(-(i + 1) * size // n) - i * size // n for i in range(n)])
        for size, n in zip(sizes, out, strict=True)
    ]
    count = math.prod(torch.meshgrid(*lengths, indexing="ij"), start=torch.tensor(1))
    result: Tensor = Averaging.apply(input, run, 1 / count.to(input))
    return result


@rule(torch.mean, Tensor.mean)
def mean(func: Any, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """A mean over some dimensions or all."""

    def run(x: Tensor) -> Tensor:
        return torch.mean(x, *args, **kwargs)

    with torch.no_grad():
        share = run(input).numel() / input.numel()
    result: Tensor = Averaging.apply(input, run, share)
    return result
