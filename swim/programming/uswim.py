"""Whole weights, ranked by the variance that write-verify removes (the idea of U-SWIM).

The score is ``H sum_j s_j^2 (sigma_j^2 - r^2)`` per expected cycle, where sigma_j depends on the
level that device j holds and r is the residual error (Yan, Hu and Shi, TCAD 2024,
arXiv:2401.05357). With one sigma for all devices the ranking is that of ``swim``.
"""

from torch import Tensor

from swim.programming.budgeted import Offers, by_weight
from swim.programming.cells import Cells


def offers(cells: Cells, curvature: Tensor) -> Offers:
    """Whole weights, with the saving of expected loss per cycle."""

    def worth(at: slice) -> Tensor:
        part = cells.block(at)
        return curvature[at] * part.gain.double().sum(0) / part.planned.sum(0)

    return by_weight(cells, worth)
