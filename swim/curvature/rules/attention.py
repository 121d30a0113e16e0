"""Softmax and attention: what mixes activations by weights that are activations too."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from swim.curvature.rules.arithmetic import mul
from swim.curvature.rules.base import active, refuse, rule
from swim.curvature.rules.contractions import product


def _others(values: Tensor, dim: int) -> Tensor:
    """For each of nonnegative values the sum of the others along a dimension.

    Of the largest the others are summed: the whole sum less almost all of it has no digits.
    """
    whole = values.sum(dim, keepdim=True)
    top = values.argmax(dim, keepdim=True)
    rest = values.scatter(dim, top, 0.0).sum(dim, keepdim=True)
    return (whole - values).clamp_(min=0).scatter(dim, top, rest)


class Softmax(Function):
    """``a = softmax(x)``, with the Jacobian ``a_i (δ_ij - a_j)``.

    ``h_j = a_j² [(1 - a_j)² h_j + Σ_{i≠j} a_i² h_i]``; each sum over others is one, since a
    difference would cancel and might turn negative.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int) -> Tensor:
        ctx.dim = dim
        a = torch.softmax(x, dim)
        ctx.save_for_backward(a)
        return a

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, h: Tensor) -> tuple[Tensor | None, ...]:
        (a,) = ctx.saved_tensors
        square = a.square()
        own = _others(a, ctx.dim).square() * h
        return square * (own + _others(square * h, ctx.dim)), None


class LogSoftmax(Function):
    """``log softmax(x)``, with the Jacobian ``δ_ij - a_j``.

    ``h_j = (1 - a_j)² h_j + a_j² Σ_{i≠j} h_i``.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int) -> Tensor:
        ctx.dim = dim
        out = torch.log_softmax(x, dim)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, h: Tensor) -> tuple[Tensor | None, ...]:
        a = ctx.saved_tensors[0].exp()
        return _others(a, ctx.dim).square() * h + a.square() * _others(h, ctx.dim), None


def _arguments(
    func: Any,
    input: Tensor,
    dim: int | None = None,
    _stacklevel: Any = None,
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, int]:
    """The input in the type that a softmax asks for, and its dimension, which must be said."""
    if isinstance(_stacklevel, torch.dtype):  # the third argument of all but those of F
        dtype = _stacklevel
    if dim is None:
        raise refuse(func, "it does not say its dimension, dim=...")
    return input if dtype is None else input.to(dtype), dim


@rule(F.softmax, torch.softmax, Tensor.softmax, torch.special.softmax)
def softmax(func: Any, *args: Any, **kwargs: Any) -> Tensor:
    """Along one dimension."""
    result: Tensor = Softmax.apply(*_arguments(func, *args, **kwargs))
    return result


@rule(F.softmin)
def softmin(func: Any, *args: Any, **kwargs: Any) -> Tensor:
    """``softmax(-x)``: the sign is squared away."""
    input, dim = _arguments(func, *args, **kwargs)
    result: Tensor = Softmax.apply(mul(torch.mul, input, -1), dim)
    return result


@rule(F.log_softmax, torch.log_softmax, Tensor.log_softmax, torch.special.log_softmax)
def log_softmax(func: Any, *args: Any, **kwargs: Any) -> Tensor:
    """Along one dimension."""
    result: Tensor = LogSoftmax.apply(*_arguments(func, *args, **kwargs))
    return result


@rule(F.scaled_dot_product_attention)
def attention(
    func: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """``softmax(scale q kᵀ + mask) v``: two products and a softmax; the scale enters squared."""
    if dropout_p:
        raise refuse(func, "it drops values at random (dropout_p)")
    if active(attn_mask):
        raise refuse(func, "its mask is an activation")
    if enable_gqa:
        groups = query.shape[-3] // key.shape[-3]
        key, value = (t.repeat_interleave(groups, -3) for t in (key, value))
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = mul(torch.mul, product(torch.matmul, query, key.transpose(-2, -1)), scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    empty = None
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        empty = ~attn_mask.any(-1, keepdim=True)  # rows that see nothing give zeros
        scores = scores.masked_fill(~(attn_mask | empty), -math.inf)
    elif attn_mask is not None:
        empty = (attn_mask == -math.inf).all(-1, keepdim=True)
        scores = scores + attn_mask.masked_fill(empty, 0.0)
    weights = Softmax.apply(scores, -1) if active(scores) else torch.softmax(scores, -1)
    if empty is not None:
        weights = weights.masked_fill(empty, 0.0)
    return product(torch.matmul, weights, value)
