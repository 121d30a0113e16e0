"""The Fisher's diagonal with labels drawn from the network itself: a Monte Carlo Gauss-Newton."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from swim.curvature.control import Control
from swim.curvature.losses import drawn_classes, residual_of_classes
from swim.curvature.per_sample import summed_squares
from swim.curvature.shared import Term, summed
from swim.data.labels import Loss, fit
from swim.networks.subject import Subject
from swim.runtime import rng


def monte_carlo_fisher(
    model: nn.Module,
    batches: Iterable[tuple[Any, Any]],
    *,
    loss: Loss = "cross_entropy",
    progress: Callable[[int], None] | None = None,
    control: Control | None = None,
    seed: int = 0,
    samples: int = 1,
) -> dict[str, Tensor]:
    """``sum_n mean_k (J_n^T s_nk)_i^2``, whose expectation is the Gauss-Newton diagonal.

    For cross-entropy ``s_nk`` is the residual with a label drawn from the network's softmax, for
    mse a normal vector of variance 2 (BackPACK's DiagGGNMC, arXiv:1912.10985). It costs a
    gradient of single samples for each draw.

    Args:
        model: a network that ``torch.func.vmap`` can run; left as it was.
        batches: (inputs, labels) pairs; of the labels only their shape is used, and which count.
            They may be None where outputs are (N, C).
        loss: ``cross_entropy`` or ``mse`` (sum of squared errors).
        progress: called with the number of batches done.
        control: follows the pass, and keeps its state.
        seed: of the draws. They are taken sample by sample from one stream, so the split into
            batches changes none, unless rounding tips a label that is drawn on the boundary.
        samples: labels drawn for each sample.

    Returns:
        name -> float64 tensor shaped like the weight.

    Raises:
        UnsupportedOperationError: a weight cannot be told, or vmap cannot run the network.
        DataError: ``batches`` is empty or not made of pairs, or a derivative is not finite.
        SettingError: the loss is unknown.
    """
    control = control or Control()
    stream = rng.generator(seed, "monte_carlo_fisher")
    control.keep_generator(stream)

    def terms(subject: Subject, inputs: Any, labels: Any) -> Iterator[Term]:
        draws: list[np.ndarray] = []

        def starts(outputs: Tensor, rows: slice) -> Tensor:
            fitted = fit(loss, outputs, None if labels is None else labels[rows])
            if not draws:
                draws.append(_drawn(stream, loss, (len(inputs), samples), fitted.outputs))
            own = torch.from_numpy(draws[0][rows]).to(outputs.device).movedim(1, 0)
            if loss == "mse":
                return math.sqrt(2) * own
            found = [
                residual_of_classes(fitted, drawn_classes(fitted.outputs, u), 0.5) for u in own
            ]
            return fitted.back(torch.stack(found), before=1)

        for name, value, unit in summed_squares(subject, inputs, starts, control):
            yield name, value, unit / samples

    return summed(model, batches, progress, terms, control)


def _drawn(
    stream: np.random.Generator, loss: Loss, size: tuple[int, int], outputs: Tensor
) -> np.ndarray:
    """The batch's draws (N, K, ...): normals for mse, else uniform numbers, one a position."""
    if loss == "mse":
        return stream.standard_normal((*size, *outputs.shape[1:]))
    return stream.random((*size, *outputs.shape[2:]))
