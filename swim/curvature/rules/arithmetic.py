"""Sums, differences, products and quotients, and the same in place."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from swim.curvature.rules.base import active, refuse, rule
from swim.curvature.rules.elementwise import Scaling


class Product(Function):
    """``o = a∘b`` of two activations: ``h_a = (b∘b)∘h``, ``h_b = (a∘a)∘h``."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return a * b

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, h: Tensor) -> tuple[Tensor | None, ...]:
        a, b = ctx.saved_tensors
        h_a, h_b = h * b.square(), h * a.square()
        return h_a.sum_to_size(a.shape), h_b.sum_to_size(b.shape)


class Quotient(Function):
    """``o = a / b`` of two activations: ``h_a = h / b²``, ``h_b = (a / b²)² h``."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return a / b

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, h: Tensor) -> tuple[Tensor | None, ...]:
        a, b = ctx.saved_tensors
        h_a = h / b.square()
        return h_a.sum_to_size(a.shape), (h_a * (a / b).square()).sum_to_size(b.shape)


class Extremum(Function):
    """The larger (or smaller) of two: h goes to it; each of two equals takes ``(1/2)² h``."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, larger: bool) -> Tensor:
        first = (a > b) if larger else (a < b)
        share = torch.where(a == b, 0.5, first.to(a.dtype))
        ctx.save_for_backward(share)
        ctx.shapes = a.shape, b.shape
        return torch.maximum(a, b) if larger else torch.minimum(a, b)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, h: Tensor) -> tuple[Tensor | None, ...]:
        (share,) = ctx.saved_tensors
        h_a, h_b = h * share.square(), h * (1 - share).square()
        return h_a.sum_to_size(ctx.shapes[0]), h_b.sum_to_size(ctx.shapes[1]), None


def _scaled(x: Any, slope: float) -> Any:
    """``slope * x`` with its rule; nothing to do for a constant or a slope of one."""
    if not active(x):
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


@rule(Tensor.sub_, Tensor.__isub__)
def sub_in_place(func: Any, input: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """``a -= alpha b``."""
    return input.add_(_scaled(other, -alpha))


@rule(torch.rsub, Tensor.__rsub__)
def rsub(func: Any, input: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """``b - alpha a``."""
    return torch.add(_scaled(input, -alpha), other)


@rule(torch.neg, torch.negative, Tensor.neg, Tensor.negative, Tensor.__neg__)
def neg(func: Any, input: Tensor) -> Tensor:
    """``-a``."""
    result: Tensor = _scaled(input, -1)
    return result


@rule(torch.mul, torch.multiply, Tensor.mul, Tensor.multiply, Tensor.__mul__, Tensor.__rmul__)
def mul(func: Any, input: Any, other: Any) -> Tensor:
    """A constant times an activation, or two activations, as a gate and what it scales."""
    if active(input) and active(other):
        gated: Tensor = Product.apply(input, other)
        return gated
    x, constant = (input, other) if active(input) else (other, input)
    scaled: Tensor = Scaling.apply(x, lambda t: t * constant, constant)
    return scaled


@rule(Tensor.mul_, Tensor.__imul__)
def mul_in_place(func: Any, input: Tensor, other: Any) -> Tensor:
    """``a *= b``."""
    return input.copy_(mul(func, input.clone(), other))


@rule(torch.div, torch.divide, torch.true_divide, Tensor.div, Tensor.__truediv__)
def div(func: Any, input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """An activation divided by a constant, or anything divided by an activation."""
    if rounding_mode is not None:
        raise refuse(func, "it rounds")
    if active(other):
        quotient: Tensor = Quotient.apply(torch.as_tensor(input).to(other), other)
        return quotient
    scaled: Tensor = Scaling.apply(input, lambda t: t / other, input.new_ones(1) / other)
    return scaled


@rule(Tensor.__rtruediv__, Tensor.__rdiv__)
def rdiv(func: Any, input: Tensor, other: Any) -> Tensor:
    """A constant divided by an activation."""
    return div(torch.div, other, input)


@rule(torch.maximum, Tensor.maximum, torch.fmax, Tensor.fmax)
def maximum(func: Any, input: Tensor, other: Tensor) -> Tensor:
    """The larger of two."""
    result: Tensor = Extremum.apply(input, other, True)
    return result


@rule(torch.minimum, Tensor.minimum, torch.fmin, Tensor.fmin)
def minimum(func: Any, input: Tensor, other: Tensor) -> Tensor:
    """The smaller of two."""
    result: Tensor = Extremum.apply(input, other, False)
    return result


@rule(Tensor.div_)
def div_in_place(
    func: Any, input: Tensor, other: Any, *, rounding_mode: str | None = None
) -> Tensor:
    """``a /= c``."""
    return input.copy_(div(func, input, other, rounding_mode=rounding_mode))
