"""Resampling of images: a linear map, one dimension after the other."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from swim.curvature.rules.base import owned, refuse, rule


class Interpolating(Function):
    """``o = P x`` with P a product of matrices, one a dimension: squared, the product of squares.

    ``h_x = (P∘P)ᵀ h``.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, out: Tensor, squares: Sequence[Tensor]) -> Tensor:
        ctx.squares = squares
        return owned(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, h: Tensor) -> tuple[Tensor | None, ...]:
        for square in ctx.squares:
            # The dimension that is done goes last, so that the next one takes its place.
            h = torch.tensordot(h, square.to(h), ([2], [0]))
        return h, None, None


@rule(F.interpolate, F.upsample)
def interpolate(
    func: Any,
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Nearest, linear, cubic and area interpolation of (N, C, ...)."""
    options: dict[str, Any] = {"mode": mode, "align_corners": align_corners, "antialias": antialias}
    options |= {"recompute_scale_factor": recompute_scale_factor}
    dims = input.dim() - 2
    scales = scale_factor if isinstance(scale_factor, Sequence) else [scale_factor] * dims
    with torch.no_grad():
        out = F.interpolate(input, size, scale_factor, **options)
        squares = []
        for dim in range(dims):
            inputs, outputs = input.shape[2 + dim], out.shape[2 + dim]
            eye = _unit_lines(inputs, dim, dims, input)
            if scale_factor is None:
                made = F.interpolate(eye, _at(dim, outputs, [2] * dims), **options)
            else:
                scale = _at(dim, scales[dim], [1.0] * dims)
                made = F.interpolate(eye, scale_factor=scale, **options)
            line = made[(slice(None), 0, *_at(dim, slice(None), [0] * dims))]
            if line.shape[1] != outputs:
                raise refuse(func, f"its mode {mode!r} cannot be taken apart by dimension")
            squares.append(line.T.square())
    result: Tensor = Interpolating.apply(input, out, squares)
    return result


def _at(dim: int, value: Any, others: list[Any]) -> list[Any]:
    """A list with one entry changed."""
    return [value if i == dim else other for i, other in enumerate(others)]


def _unit_lines(count: int, dim: int, dims: int, like: Tensor) -> Tensor:
    """Images (count, 1, ...) that vary along one dimension: image i is 1 at its position i.

    They are two wide along the others: of images one wide, torch 2.14 filters only a corner.
    """
    eye = torch.eye(count, dtype=like.dtype, device=like.device)
    lines = eye.reshape(count, 1, *_at(dim, count, [1] * dims))
    return lines.expand(count, 1, *_at(dim, count, [2] * dims)).contiguous()
