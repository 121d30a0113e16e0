"""Device by device, by squared magnitude in place of the second derivative: an ablation."""

from torch import Tensor

from swim.programming.budgeted import Offers, by_device
from swim.programming.cells import Cells


def offers(cells: Cells, curvature: Tensor) -> Offers:
    """Devices by ``|W|^2 s_j^2 (sigma^2 - r^2)`` per cycle."""
    squares = cells.target.double().square().flatten()
    return by_device(cells, squares * cells.gain / cells.planned)
