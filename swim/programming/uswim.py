"""Weights whole, by the variance that verifying takes away from each (U-SWIM's idea).

``H sum_j s_j^2 (sigma_j^2 - r^2)`` per expected cycle, where sigma depends on what a device holds
(Yan, Hu and Shi, TCAD 2024, arXiv:2401.05357). With one sigma for all it ranks as ``swim`` does.
"""

from torch import Tensor

from swim.programming.budgeted import Offers, by_weight
from swim.programming.cells import Cells


def offers(cells: Cells, curvature: Tensor) -> Offers:
    """Weights by what they save per cycle."""
    return by_weight(cells, curvature * cells.gain.double().sum(0) / cells.planned.sum(0))
