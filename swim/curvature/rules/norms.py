"""Normalisation: by running statistics, and by those of a group of activations."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from swim.curvature.rules.base import owned, refuse, rule
from swim.curvature.rules.elementwise import Scaling


class Normalising(Function):
    r"""``o = γ x̂ + β``, x̂ the activations of a group over their deviation: its exact J∘J.

    In a group of n, with ``x̂_i = (x_i - c mean) / s`` (c is 1, or 0 where no mean is taken off),
    ``J_ij = γ_i / s (δ_ij - (c + x̂_i x̂_j) / n)``. With ``w = γ∘γ∘h`` and ``W_k = Σ_i w_i x̂_i^k``
    the square, summed over i, is

        h_j = 1/s² [ w_j (1 - 2 (c + x̂_j²) / n) + (c W_0 + 2 c x̂_j W_1 + x̂_j² W_2) / n² ].
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        run: Callable[[Tensor], Tensor],
        groups: tuple[int, ...],
        gamma: Tensor | None,
        eps: float,
        centred: bool,
    ) -> Tensor:
        """``groups``: the shape (..., n) in which the last dimension is one group's."""
        values = x.reshape(groups)
        if centred:
            values = values - values.mean(-1, keepdim=True)
        inverse = (values.square().mean(-1, keepdim=True) + eps).rsqrt()
        ctx.save_for_backward(values * inverse, inverse, gamma)
        ctx.shape, ctx.centred = x.shape, centred
        return owned(run(x))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, h: Tensor) -> tuple[Tensor | None, ...]:
        unit, inverse, gamma = ctx.saved_tensors
        n, c = unit.shape[-1], float(ctx.centred)
        w = h.reshape(unit.shape)
        if gamma is not None:
            w = w * gamma.square()
        square = unit.square()
        across = square * (w * square).sum(-1, keepdim=True)
        if ctx.centred:
            across += w.sum(-1, keepdim=True) + 2 * unit * (w * unit).sum(-1, keepdim=True)
        h_x = w * (1 - 2 * (c + square) / n) + across / n**2
        # A sum of squares; what rounding takes below zero is zero.
        h_x = h_x.clamp_(min=0) * inverse.square()
        return h_x.view(ctx.shape), None, None, None, None, None


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

    result: Tensor = Scaling.apply(input, run, slope)
    return result


@rule(F.layer_norm)
def layer_norm(
    func: Any,
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Layer-norm over the last dimensions."""
    groups = (*input.shape[: -len(normalized_shape)], math.prod(normalized_shape))
    gamma = None if weight is None else weight.reshape(-1)

    def run(x: Tensor) -> Tensor:
        return F.layer_norm(x, normalized_shape, weight, bias, eps)

    result: Tensor = Normalising.apply(input, run, groups, gamma, eps, True)
    return result


@rule(F.rms_norm)
def rms_norm(
    func: Any,
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """Root-mean-square norm over the last dimensions."""
    groups = (*input.shape[: -len(normalized_shape)], math.prod(normalized_shape))
    gamma = None if weight is None else weight.reshape(-1)
    if eps is None:
        eps = torch.finfo(input.dtype).eps

    def run(x: Tensor) -> Tensor:
        return F.rms_norm(x, normalized_shape, weight, eps)

    result: Tensor = Normalising.apply(input, run, groups, gamma, eps, False)
    return result


@rule(F.group_norm)
def group_norm(
    func: Any,
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Group-norm: groups of channels, with all their positions."""

    def run(x: Tensor) -> Tensor:
        return F.group_norm(x, num_groups, weight, bias, eps)

    return _over_channels(input, run, num_groups, weight, eps)


@rule(F.instance_norm)
def instance_norm(
    func: Any,
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Instance-norm: each channel of each image, or running statistics as in batch-norm."""
    if not use_input_stats:
        return batch_norm(
            func, input, running_mean, running_var, weight, bias, False, momentum, eps
        )

    def run(x: Tensor) -> Tensor:
        return F.instance_norm(x, None, None, weight, bias, True, momentum, eps)

    return _over_channels(input, run, input.shape[1], weight, eps)


def _over_channels(
    input: Tensor,
    run: Callable[[Tensor], Tensor],
    count: int,
    weight: Tensor | None,
    eps: float,
) -> Tensor:
    """Norms over ``count`` groups of channels of (N, C, ...)."""
    positions = math.prod(input.shape[2:])
    groups = (len(input), count, input.shape[1] // count * positions)
    gamma = None
    if weight is not None:
        gamma = weight.repeat_interleave(positions).view(1, *groups[1:])
    result: Tensor = Normalising.apply(input, run, groups, gamma, eps, True)
    return result
