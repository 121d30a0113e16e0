"""The empirical Fisher's diagonal: squared gradients of single samples."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import Tensor, nn

from swim.curvature.control import Control
from swim.curvature.losses import residual
from swim.curvature.per_sample import summed_squares
from swim.curvature.shared import Term, summed
from swim.data.labels import Loss, needed
from swim.networks.subject import Subject


def empirical_fisher(
    model: nn.Module,
    batches: Iterable[tuple[Any, Any]],
    *,
    loss: Loss = "cross_entropy",
    progress: Callable[[int], None] | None = None,
    control: Control | None = None,
) -> dict[str, Tensor]:
    """``sum_n (dL_n / dw_i)^2`` with the true labels.

    It is no curvature: where the network is sure and right it vanishes faster than the Hessian
    (Kunstner, Balles & Hennig, 2019, arXiv:1905.12558).

    Args:
        model: a network that ``torch.func.vmap`` can run; left as it was.
        batches: (inputs, labels) pairs.
        loss: ``cross_entropy`` or ``mse`` (sum of squared errors).
        progress: called with the number of batches done.
        control: follows the pass, and keeps its state.

    Returns:
        name -> float64 tensor shaped like the weight; a sum over samples, so the split into
        batches changes it by rounding only.

    Raises:
        UnsupportedOperationError: a weight cannot be told, or vmap cannot run the network.
        DataError: batches or labels are missing or do not fit, or a derivative is not finite.
        SettingError: the loss is unknown.
    """
    control = control or Control()

    def terms(subject: Subject, inputs: Any, labels: Any) -> Iterator[Term]:
        own = needed(labels)

        def starts(outputs: Tensor, rows: slice) -> Tensor:
            return residual(loss, outputs, own[rows])[None]

        return summed_squares(subject, inputs, starts, control)

    return summed(model, batches, progress, terms, control)
