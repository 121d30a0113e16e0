"""SWIM device by device: a cycle goes where it takes most of the expected loss away.

A weight's error is the sum of its devices' at their significances s_j, so verifying device j alone
saves ``H s_j^2 (sigma^2 - r^2)``, r what write-verify leaves, for the cycles that it is expected to
take. The top slice carries three quarters of the variance of eight one-bit devices.
"""

from torch import Tensor

from swim.programming.budgeted import Offers, by_device
from swim.programming.cells import Cells


def offers(cells: Cells, curvature: Tensor) -> Offers:
    """Devices by what they save per cycle."""
    return by_device(cells, curvature * cells.gain / cells.planned)
