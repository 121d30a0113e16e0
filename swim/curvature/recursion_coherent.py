"""The recursion with averages that let positions add coherently, as the first release has it."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swim.curvature.control import Control
from swim.curvature.recursion import second_derivatives
from swim.curvature.rules import Averaging
from swim.curvature.shared import Term, summed
from swim.data.labels import Loss
from swim.networks.subject import Subject


def _average(func: Any, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """By the coefficient c itself, as a gradient: ``h_x = P^T h``."""
    result: Tensor = Averaging.apply(input, lambda x: func(x, *args, **kwargs), 1)
    return result


PLAIN = dict.fromkeys(
    [
        F.avg_pool1d, F.avg_pool2d, F.avg_pool3d,
        F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d,
        torch.mean, Tensor.mean,
    ],
    _average,
)  # fmt: skip


def recursion_coherent(
    model: nn.Module,
    batches: Iterable[tuple[Any, Any]],
    *,
    loss: Loss = "cross_entropy",
    progress: Callable[[int], None] | None = None,
    control: Control | None = None,
) -> dict[str, Tensor]:
    """Raw ``H_ii`` by the recursion, but through averages by the plain coefficient.

    An average of n positions multiplies h by ``1/n``, not ``1/n^2``. That is what comes out where
    a weight moves all positions alike (n of them, ``n (1/n) h = h``): it overrates what lies
    before a global average pool as the squared coefficient underrates it. Without averages it
    equals :func:`swim.curvature.recursion.recursion`, whose arguments, result and errors it has.
    """

    def terms(subject: Subject, inputs: Any, labels: Any) -> list[Term]:
        return second_derivatives(subject, inputs, labels, loss, PLAIN)

    return summed(model, batches, progress, terms, control)
