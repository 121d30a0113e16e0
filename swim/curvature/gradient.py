"""The gradient of the loss: what second derivatives are compared with."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from swim.curvature.control import Control
from swim.curvature.losses import residual
from swim.curvature.shared import Term, differentiable, normalised, reached, summed
from swim.data.labels import Loss
from swim.networks.subject import Subject


def gradients(subject: Subject, inputs: Any, labels: Any, loss: Loss) -> Iterator[Term]:
    """One batch's gradient of the loss summed over samples, a term a weight."""
    outputs, leaves = differentiable(subject, inputs)
    start, unit = normalised(residual(loss, outputs, labels), outputs.dtype)
    found = torch.autograd.grad(outputs, list(leaves.values()), start, allow_unused=True)
    for name, value in zip(leaves, reached(found, leaves), strict=True):
        yield name, value, unit


def gradient(
    model: nn.Module,
    batches: Iterable[tuple[Any, Any]],
    *,
    loss: Loss = "cross_entropy",
    progress: Callable[[int], None] | None = None,
    control: Control | None = None,
) -> dict[str, Tensor]:
    """The gradient ``sum_n dL_n / dw_i``, with its sign; near a minimum it is nearly zero.

    Args:
        model: any differentiable network; left as it was.
        batches: (inputs, labels) pairs.
        loss: ``cross_entropy`` or ``mse`` (sum of squared errors).
        progress: called with the number of batches done.
        control: follows the pass, and keeps its state.

    Returns:
        name -> float64 tensor shaped like the weight; a sum over samples, so the split into
        batches changes it by rounding only.

    Raises:
        UnsupportedOperationError: a weight cannot be told, or the output does not depend on it.
        DataError: batches or labels are missing or do not fit, or a derivative is not finite.
        SettingError: the loss is unknown.
    """

    def terms(subject: Subject, inputs: Any, labels: Any) -> Iterator[Term]:
        return gradients(subject, inputs, labels, loss)

    return summed(model, batches, progress, terms, control)
