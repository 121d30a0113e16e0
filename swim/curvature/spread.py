"""How much an estimate of second derivatives misses, from how much its terms differ."""

import math
from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor


class Spread:
    """Counts and squared norms of the terms that a sum is made of, layer by layer."""

    def __init__(self) -> None:
        """Nothing so far."""
        self._count: dict[str, int] = {}
        self._squares: dict[str, float] = {}

    def add(self, name: str, norm: float) -> None:
        """One more term of a weight's sum, by its norm over the layer."""
        self._count[name] = self._count.get(name, 0) + 1
        self._squares[name] = self._squares.get(name, 0.0) + norm**2

    def state(self) -> tuple[dict[str, int], dict[str, float]]:
        """What was counted, for :meth:`restore`."""
        return self._count, self._squares

    def restore(self, state: tuple[dict[str, int], dict[str, float]]) -> None:
        """Go on from these counts."""
        count, squares = state
        self._count, self._squares = dict(count), dict(squares)

    def variance(self, name: str, total: Tensor) -> float:
        """Sum over a layer's weights of the variance of their sums, estimated; NaN for one term.

        For independent terms ``S_b`` of one distribution, B of them, the sum T has the variance
        ``B / (B - 1) (sum_b S_b^2 - T^2 / B)`` in expectation, entry by entry.
        """
        count = self._count.get(name, 0)
        if count < 2:
            return math.nan
        whole = float(torch.linalg.vector_norm(total)) ** 2
        return max(0.0, count / (count - 1) * (self._squares[name] - whole / count))


class Estimate(dict[str, Tensor]):
    """Second derivatives or sensitivities by weight name, and how far they may be off.

    Attributes:
        relative_error: for estimators that draw and report it, the root mean square error of all
            weights over the root mean square of their values, each layer in units of its
            ``max|W|``; of single weights it says nothing. It counts the images' own differences
            too, so it is the error with respect to other images of the same kind. None where
            nothing is drawn, NaN where there was one term.
        relative_errors: the same layer by layer.
        estimator: the estimator's name.
        scaled: whether these are sensitivities, second derivatives times ``max|W_layer|^2``.
    """

    estimator: str | None = None
    scaled: bool = False
    relative_error: float | None = None
    relative_errors: Mapping[str, float] | None = None

    def __repr__(self) -> str:
        what = "sensitivities" if self.scaled else "second derivatives"
        weights = sum(layer.numel() for layer in self.values())
        parts = [f"{what} of {weights:,} weights in {len(self)} tensors"]
        parts += [f"by {self.estimator}"] if self.estimator else []
        if self.relative_error is not None:
            parts.append(f"relative error {self.relative_error:.2g}")
        return f"Estimate({', '.join(parts)})"

    def of(self, spread: Spread, scales: Mapping[str, float]) -> Self:
        """With the errors of the terms that :class:`Spread` has seen.

        Args:
            spread: of these sums.
            scales: ``max|W_layer|`` by name.
        """
        wrong, size, single = 0.0, 0.0, {}
        for name, total in self.items():
            variance = spread.variance(name, total)
            square = float(torch.linalg.vector_norm(total)) ** 2
            single[name] = math.sqrt(variance / square) if square else math.nan
            wrong += scales[name] ** 4 * variance
            size += scales[name] ** 4 * square
        self.relative_error = math.sqrt(wrong / size) if size else math.nan
        self.relative_errors = single
        return self
