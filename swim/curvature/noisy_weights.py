"""Second derivatives where the weights will be: at programmed chips, not at the ideal weights.

Programming moves all weights at once, so what counts is the curvature around the ideal weights,
not at them: ``E_dw H_ii(w + dw)``. Where a network is sure of its training images, that at the
ideal weights is next to nothing. Every batch is passed through a chip of its own, so the average
costs no more than the plain pass.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from swim.curvature.control import Control
from swim.data.batches import counts
from swim.networks.subject import Subject
from swim.runtime import rng

Estimate = Callable[[Subject, list[tuple[Any, Any]], int], dict[str, Tensor]]


def averaged(
    subject: Subject,
    batches: Iterable[tuple[Any, Any]],
    noise: float,
    seed: int,
    estimate: Estimate,
    progress: Callable[[int], None] | None = None,
    control: Control | None = None,
) -> dict[str, Tensor]:
    """The sum over batches of an estimate, each at weights with fresh Gaussian errors.

    Args:
        subject: the model, made ready.
        batches: (inputs, labels) pairs; more of them average over more chips.
        noise: standard deviation of a weight's error, in units of ``max|W_layer|``.
        seed: of the errors, which are keyed by batch and layer.
        estimate: from a model made ready, a batch in a list and its number to name -> float64
            tensor.
        progress: called with the number of batches done.
        control: follows the pass, and keeps its state.

    Raises:
        DataError: ``batches`` is empty.
    """
    totals: dict[str, Tensor] = {}
    control = control or Control()
    control.keep_sums(subject, totals)
    for number, inputs, labels in control.remaining(batches, progress):
        if not counts(labels):
            continue
        found = _at_a_chip(subject, (inputs, labels), number, noise, seed, estimate)
        for name, value in found.items():
            totals[name] = totals[name].add_(value) if name in totals else value
    return totals


def _at_a_chip(
    subject: Subject, batch: tuple[Any, Any], number: int, noise: float, seed: int,
    estimate: Estimate,
) -> dict[str, Tensor]:  # fmt: skip
    """The estimate of one batch, at weights with errors."""
    while True:
        weights = {
            name: target + _error(target, noise, rng.generator(seed, "curvature", number, name))
            for name, target in subject.weights.items()
        }
        noisy = replace(subject, weights=dict(weights))
        found = estimate(noisy, [batch], number)
        unseen = {name: w for name, w in noisy.weights.items() if name not in weights}
        if not unseen:
            return found
        subject.weights.update(unseen)  # of a path that no batch took before: again, with errors


def _error(target: Tensor, noise: float, draws: np.random.Generator) -> Tensor:
    error = torch.from_numpy(rng.normals(draws, *target.shape))
    return error.to(target) * (noise * target.abs().max())
