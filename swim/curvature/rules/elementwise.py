"""Functions of one activation, element by element."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from swim.curvature.rules.base import active, owned, refuse, rule
from swim.networks.weights.operations import tensors_in


class Scaling(Function):
    """An element-wise function of the derivative ``slope``: ``h_x = slope^2 h``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, run: Callable[[Tensor], Tensor], slope: Any) -> Tensor:
        ctx.shape, ctx.slope = x.shape, slope
        return owned(run(x))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, h: Tensor) -> tuple[Tensor | None, ...]:
        return (h * ctx.slope**2).sum_to_size(ctx.shape), None, None


@rule(
    F.gelu, F.silu, F.mish, F.hardswish, F.hardsigmoid, F.softplus, F.softsign, F.logsigmoid,
    torch.sigmoid, torch.sigmoid_, Tensor.sigmoid, Tensor.sigmoid_, torch.special.expit,
    torch.tanh, torch.tanh_, Tensor.tanh, Tensor.tanh_, F.tanhshrink,
    F.leaky_relu, F.leaky_relu_, F.prelu, torch.prelu, Tensor.prelu,
    F.elu, F.elu_, F.selu, F.selu_, torch.selu, torch.selu_, F.celu, F.celu_, torch.celu,
    torch.celu_, F.softshrink, F.hardshrink, torch.hardshrink, Tensor.hardshrink,
    torch.pow, Tensor.pow, Tensor.pow_, Tensor.__pow__, torch.square, Tensor.square,
    torch.sqrt, Tensor.sqrt, torch.exp, Tensor.exp, torch.log, Tensor.log,
    torch.abs, Tensor.abs, Tensor.__abs__,
    torch.reciprocal, Tensor.reciprocal, torch.rsqrt, Tensor.rsqrt,
)  # fmt: skip
def elementwise(func: Any, input: Any, *args: Any, **kwargs: Any) -> Tensor:
    """``o = f(x)``: ``h_x = f'(x)^2 h``, with autograd's own f'; the term in f'' is dropped."""
    if not active(input) or any(t.requires_grad for t in tensors_in([args, kwargs])):
        raise refuse(func, "its second argument is an activation")
    with torch.enable_grad():
        x = input.detach().requires_grad_()
        written = x.clone()  # what a call in place may write to
        out = func(written, *args, **kwargs)
        (slope,) = torch.autograd.grad(out, x, torch.ones_like(out))
    if out.shape != x.shape:
        raise refuse(func, "it makes several values of one")
    made = Scaling.apply(input, lambda _: out.detach(), slope)
    result: Tensor = input.copy_(made) if out is written else made
    return result
