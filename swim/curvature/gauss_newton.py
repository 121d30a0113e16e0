"""The exact diagonal of the generalised Gauss-Newton matrix, for small networks."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import Tensor, nn

from swim.curvature.control import Control
from swim.curvature.losses import curvature_factors
from swim.curvature.per_sample import summed_squares
from swim.curvature.shared import Term, summed
from swim.data.labels import Loss
from swim.networks.subject import Subject


def gauss_newton(
    model: nn.Module,
    batches: Iterable[tuple[Any, Any]],
    *,
    loss: Loss = "cross_entropy",
    progress: Callable[[int], None] | None = None,
    control: Control | None = None,
) -> dict[str, Tensor]:
    """``sum_n (J_n^T H_n J_n)_ii = sum_n sum_c (J_n^T s_nc)_i^2``, nothing dropped.

    ``H_n = sum_c s_nc s_nc^T`` is the loss's Hessian in sample n's outputs. For networks that are
    piecewise linear in each weight it is the Hessian's diagonal itself; in general it lacks the
    term of the network's own curvature, which vanishes with the residuals (Schraudolph, 2002,
    doi:10.1162/08997660260028683). It costs as many backward passes as there are outputs.

    Args:
        model: a network that ``torch.func.vmap`` can run; left as it was.
        batches: (inputs, labels) pairs; of the labels only their shape is used, and which count.
            They may be None where outputs are (N, C).
        loss: ``cross_entropy`` or ``mse`` (sum of squared errors).
        progress: called with the number of batches done.
        control: follows the pass, and keeps its state.

    Returns:
        name -> float64 tensor shaped like the weight; a sum over samples, so the split into
        batches changes it by rounding only.

    Raises:
        UnsupportedOperationError: a weight cannot be told, or vmap cannot run the network.
        DataError: ``batches`` is empty or not made of pairs, or a derivative is not finite.
        SettingError: the loss is unknown.
    """
    control = control or Control()

    def terms(subject: Subject, inputs: Any, labels: Any) -> Iterator[Term]:
        def starts(outputs: Tensor, rows: slice) -> Tensor:
            return curvature_factors(loss, outputs, None if labels is None else labels[rows])

        return summed_squares(subject, inputs, starts, control)

    return summed(model, batches, progress, terms, control)
