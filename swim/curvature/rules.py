"""Backward rules of the second-derivative recursion: squared Jacobians.

Each rule runs an operation as the model would and gives it a backward that carries second
derivatives ``h``: for ``o = J x``, ``h_x = (J∘J)^T h_o`` (Becker & LeCun 1989; LeCun, Denker
and Solla, Optimal Brain Damage, 1990). Operations whose Jacobian holds only zeros and ones
need no rule: autograd's own backward is the recursion already.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from swim.errors import UnsupportedOperationError
from swim.tracing import operation_name

RULES: dict[Any, Callable[..., Tensor]] = {}


def rule(*functions: Any) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Register a rule, called as ``rule(func, *args, **kwargs)``, for some functions."""

    def register(handler: Callable[..., Tensor]) -> Callable[..., Tensor]:
        RULES.update(dict.fromkeys(functions, handler))
        return handler

    return register


def refuse(func: Any, why: str) -> UnsupportedOperationError:
    """The error for an operation, or a use of one, that has no rule."""
    return UnsupportedOperationError(
        f"the second-derivative recursion cannot pass through {operation_name(func)}: {why}. "
        "Rewrite that part of the network with operations that docs/method.md lists; an estimate "
        "by random probes (Hutchinson) takes any differentiable network, but is not in this release"
    )


class SquaredLinear(Function):
    """``o = W x + b``: ``h_x = (W∘W)^T h``, ``h_W = sum h (x∘x)^T``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, h: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        h_x = h @ weight.square() if ctx.needs_input_grad[0] else None
        h_w = None
        if ctx.needs_input_grad[1]:
            h_w = h.reshape(-1, h.shape[-1]).T @ x.square().reshape(-1, x.shape[-1])
        return h_x, h_w, None


class SquaredConv2d(Function):
    """A convolution as a linear map: its backward with squared weights and squared inputs."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: tuple[Any, ...]
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        return F.conv2d(x, weight, bias, *geometry)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, h: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.geometry
        wanted = [ctx.needs_input_grad[0], ctx.needs_input_grad[1], False]
        h_x, h_w, _ = torch.ops.aten.convolution_backward(
            h,
            x.square(),
            weight.square(),
            None,
            stride,
            padding,
            dilation,
            False,
            [0, 0],
            groups,
            wanted,
        )
        return h_x, h_w, None, None


class Scaling(Function):
    """``o = slope * x + constant``, element by element: ``h_x = slope^2 h``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, run: Callable[[Tensor], Tensor], slope: Any) -> Tensor:
        ctx.shape, ctx.slope = x.shape, slope
        return run(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, h: Tensor) -> tuple[Tensor | None, ...]:
        return (h * ctx.slope**2).sum_to_size(ctx.shape), None, None


class Averaging(Function):
    """A linear map whose rows each hold one coefficient c: ``h_x = P^T (c h)``, P its Jacobian."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, run: Callable[[Tensor], Tensor], coefficient: Any) -> Tensor:
        ctx.run, ctx.coefficient = run, coefficient
        ctx.like = x.new_zeros(1).expand(x.shape)
        return run(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, h: Tensor) -> tuple[Tensor | None, ...]:
        with torch.enable_grad():
            x = ctx.like.clone().requires_grad_()
            (h_x,) = torch.autograd.grad(ctx.run(x), x, h * ctx.coefficient)
        return h_x, None, None


# What the graph may hold of ours; everything else must be on the allow-list of names.
OURS = (SquaredLinear, SquaredConv2d, Scaling, Averaging)


def _pair(value: Any) -> list[int]:
    return [int(value)] * 2 if isinstance(value, int) else [int(v) for v in value]


@rule(F.linear)
def linear(func: Any, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Fully connected layer, over any leading dimensions."""
    return SquaredLinear.apply(input, weight, bias)


@rule(F.conv2d)
def conv2d(
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
    if input.dim() == 3:
        return conv2d(func, input[None], weight, bias, stride, padding, dilation, groups)[0]
    if padding == "valid":
        padding = 0
    elif padding == "same":
        total = [d * (k - 1) for d, k in zip(_pair(dilation), weight.shape[2:], strict=True)]
        # F.pad counts from the last dimension; the odd one goes to the end, as torch has it.
        input = F.pad(input, [side for t in reversed(total) for side in (t // 2, t - t // 2)])
        padding = 0
    geometry = (_pair(stride), _pair(padding), _pair(dilation), groups)
    return SquaredConv2d.apply(input, weight, bias, geometry)


@rule(F.batch_norm)
def batch_norm(
    func: Any,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Batch-norm with its running statistics: a scaling by ``gamma / sqrt(var + eps)``."""
    if training or running_mean is None or running_var is None:
        raise refuse(func, "it uses the batch's own statistics instead of running ones")
    slope = (running_var + eps).rsqrt()
    if weight is not None:
        slope = slope * weight
    slope = slope.view(1, -1, *[1] * (input.dim() - 2))

    def run(x: Tensor) -> Tensor:
        return F.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)

    return Scaling.apply(input, run, slope)


@rule(F.avg_pool2d)
def avg_pool2d(func: Any, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Average pooling, by the squared coefficient; each window's own where sizes differ."""

    def run(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, *args, **kwargs)

    names = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")
    geometry = {**dict(zip(names, args, strict=False)), **kwargs, "divisor_override": 1}
    ones = input.new_ones(1, *input.shape[-2:])
    return Averaging.apply(input, run, run(ones) / F.avg_pool2d(ones, **geometry))


@rule(F.adaptive_avg_pool2d)
def adaptive_avg_pool2d(func: Any, input: Tensor, output_size: Any) -> Tensor:
    """Adaptive average pooling, by the squared coefficient of each window."""

    def run(x: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(x, output_size)

    out = run(input.new_ones(1, *input.shape[-2:])).shape[-2:]
    counts = [
        torch.tensor([-(-(i + 1) * size // n) - i * size // n for i in range(n)])
        for size, n in zip(input.shape[-2:], out, strict=True)
    ]
    return Averaging.apply(input, run, 1 / (counts[0][:, None] * counts[1]).to(input))


@rule(torch.mean, Tensor.mean)
def mean(func: Any, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """A mean over some dimensions or all."""

    def run(x: Tensor) -> Tensor:
        return torch.mean(x, *args, **kwargs)

    with torch.no_grad():
        share = run(input).numel() / input.numel()
    return Averaging.apply(input, run, share)


def _active(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def _scaled(x: Any, slope: float) -> Any:
    """``slope * x`` with its rule; nothing to do for a constant or a slope of one."""
    if not _active(x):
        return x * slope if slope != 1 else x
    return x if slope == 1 else Scaling.apply(x, lambda t: t * slope, slope)


@rule(torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__)
def add(func: Any, input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """``a + alpha b``: h goes to both, to b times ``alpha^2``."""
    return torch.add(input, _scaled(other, alpha))


@rule(Tensor.add_, Tensor.__iadd__)
def add_in_place(func: Any, input: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """``a += alpha b``."""
    return input.add_(_scaled(other, alpha))


@rule(torch.sub, torch.subtract, Tensor.sub, Tensor.subtract, Tensor.__sub__)
def sub(func: Any, input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """``a - alpha b``: the sign is squared away."""
    return torch.add(input, _scaled(other, -alpha))


@rule(torch.rsub, Tensor.__rsub__)
def rsub(func: Any, input: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """``b - alpha a``."""
    return torch.add(_scaled(input, -alpha), other)


@rule(torch.neg, torch.negative, Tensor.neg, Tensor.negative, Tensor.__neg__)
def neg(func: Any, input: Tensor) -> Tensor:
    """``-a``."""
    return _scaled(input, -1)


@rule(torch.mul, torch.multiply, Tensor.mul, Tensor.multiply, Tensor.__mul__, Tensor.__rmul__)
def mul(func: Any, input: Any, other: Any) -> Tensor:
    """A constant times an activation; a product of two activations is refused."""
    if _active(input) and _active(other):
        raise refuse(func, "it multiplies two activations")
    x, constant = (input, other) if _active(input) else (other, input)
    return Scaling.apply(x, lambda t: t * constant, constant)


@rule(torch.div, torch.divide, torch.true_divide, Tensor.div, Tensor.__truediv__)
def div(func: Any, input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """An activation divided by a constant."""
    if _active(other) or rounding_mode is not None:
        raise refuse(func, "it divides by an activation, or rounds")
    return Scaling.apply(input, lambda t: t / other, 1 / other)
