"""The Gauss-Newton diagonal at the price of one gradient, for every differentiable network.

For a few samples at a time, random vectors u_n with mean zero and ``E[u_n u_n^T] = H_n``, the
loss's Hessian in sample n's outputs, go back through the network in place of the loss's gradient.
What arrives at the weights is squared: ``sum_b (sum_{n in b} J_n^T u_n)_i^2``. The vectors are
independent, so all cross terms vanish in expectation, and what remains is the diagonal of the
generalised Gauss-Newton matrix.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from swim.curvature.control import Control
from swim.curvature.losses import drawn_residual, drawn_signs
from swim.curvature.shared import Term, add_term, differentiable, normalised, reached, summed
from swim.curvature.spread import Spread
from swim.data.labels import Loss
from swim.errors import SettingError
from swim.networks.subject import Subject
from swim.runtime import rng

# Samples that share a squared gradient. Fewer give less variance at equal images and cost more
# time for each image. Part of the result.
TOGETHER = 32
PROBES = {"signs": drawn_signs, "labels": drawn_residual}
# Squares that are summed in the network's own precision.
MANY = 32


def gauss_newton_probe(
    model: nn.Module,
    batches: Iterable[tuple[Any, Any]],
    *,
    loss: Loss = "cross_entropy",
    progress: Callable[[int], None] | None = None,
    control: Control | None = None,
    seed: int = 0,
    samples: int = 1,
    probe: str = "signs",
    spread: Spread | None = None,
) -> dict[str, Tensor]:
    """``sum_b mean_k (sum_{n in b} J_n^T u_nk)_i^2``: unbiased for the Gauss-Newton diagonal.

    ``signs`` back-propagates ``u_c = sqrt(p_c) e_c - p_c sum_j sqrt(p_j) e_j`` with independent
    signs e (curvature propagation: Martens, Sutskever & Swersky, arXiv:1206.6464), ``labels`` the
    residual of a label drawn from the network's softmax (Gauss-Newton-Bartlett, the estimator of
    Sophia: Liu et al., arXiv:2305.14342). Where the network is nearly sure of its images, few
    drawn labels differ from the likeliest, and signs vary much less. For mse u is ``sqrt(2)``
    times signs, or a normal vector of variance 2. Positions of a sequence are drawn independently.

    One weight's estimate has the variance ``2 sum_b V_b^2`` (V_b the batch's term) and more for
    sparse u: a relative error of at least ``sqrt(2 / batches)``.

    Args:
        model: any network that autograd can differentiate, attention and recurrence included;
            left as it was.
        batches: (inputs, labels) pairs; of the labels only their shape is used, and which count.
            They may be None where outputs are (N, C). Batches of more than :data:`TOGETHER`
            samples are split, so the split into batches acts as another seed.
        loss: ``cross_entropy`` or ``mse`` (sum of squared errors).
        progress: called with the number of batches done.
        control: follows the pass, and keeps its state.
        seed: of the random vectors, drawn sample by sample from one generator.
        samples: passes over the images, each with new vectors.
        probe: ``signs`` or ``labels``.
        spread: is told each term, for an estimate of the relative error.

    Returns:
        name -> float64 tensor shaped like the weight, never negative.

    Raises:
        UnsupportedOperationError: a weight cannot be told, the output does not depend on it, or
            the outputs of one sample depend on another one (batch statistics).
        DataError: batches are missing, labels do not fit, or a derivative is not finite.
        SettingError: the loss or the probe is unknown.
    """
    if probe not in PROBES:
        raise SettingError(f"unknown probe {probe!r}; known: {', '.join(PROBES)}")
    draw, generator = PROBES[probe], rng.generator(seed, "gauss_newton_probe")
    squares = Squares(spread)
    control = control or Control()
    control.keep_generator(generator)
    control.keep("squares", squares.state, squares.restore)

    def terms(subject: Subject, inputs: Any, labels: Any) -> Iterator[Term]:
        for start in range(0, len(inputs), TOGETHER):
            rows = slice(start, start + TOGETHER)
            few, own = inputs[rows], None if labels is None else labels[rows]
            for _ in range(samples):
                outputs, leaves = differentiable(subject, few)
                vector, unit = normalised(draw(loss, outputs, own, generator), outputs.dtype)
                arrived: Any = [None] * len(leaves)
                if outputs.requires_grad:
                    arrived = torch.autograd.grad(
                        outputs, list(leaves.values()), vector, allow_unused=True
                    )
                del outputs
                for name, value in zip(leaves, reached(arrived, leaves), strict=True):
                    yield from squares.add(name, value, unit**2 / samples)
            control.advance(len(few))

    totals = summed(model, batches, progress, terms, control)
    for term in squares.rest():
        add_term(totals, term)
    return totals


class Squares:
    """Sums squares in the network's precision, for a while: float64 costs twice the time.

    Attributes:
        spread: is told of each square.
    """

    def __init__(self, spread: Spread | None):
        """Nothing so far."""
        self.spread = spread
        self._sums: dict[str, tuple[Tensor, float, int]] = {}

    def add(self, name: str, value: Tensor, unit: float) -> Iterator[Term]:
        """Add ``value^2 * unit`` to the sum of a weight; a full sum is returned as a term.

        A square that is not finite makes its sum so, which :func:`.shared.add_term` refuses.
        """
        square = value * value
        if self.spread is not None:
            norm = float(torch.linalg.vector_norm(square))
            if not math.isfinite(norm):  # perhaps the norm alone
                norm = float(torch.linalg.vector_norm(square, dtype=torch.float64))
            self.spread.add(name, norm * unit)
        total, first, count = self._sums.get(name, (None, unit, 0))
        # Units are powers of two, and a sum keeps its digits where they are near each other.
        if total is not None and (count >= MANY or not 2**-40 < unit / first < 2**20):
            yield name, total, first
            total = None
        if total is None:
            self._sums[name] = square, unit, 1
        else:
            self._sums[name] = total.add_(square, alpha=unit / first), first, count + 1

    def state(self) -> dict[str, tuple[Tensor, float, int]]:
        """The sums so far, for :meth:`restore`."""
        return self._sums

    def restore(self, state: dict[str, tuple[Tensor, float, int]]) -> None:
        """Go on from these sums."""
        self._sums = dict(state)

    def rest(self) -> Iterator[Term]:
        """The sums that :meth:`add` has not returned."""
        for name, (total, unit, _) in self._sums.items():
            yield name, total, unit
