"""Device by device, by squared magnitude in place of the second derivative: an ablation."""

from torch import Tensor

from swim.policies.cells import Cells
from swim.policies.greedy import Offers, by_device


def offers(cells: Cells, curvature: Tensor) -> Offers:
    """Devices by ``|W|^2 s_j^2 (sigma^2 - r^2)`` per cycle."""
    squares = cells.target.double().square().flatten()
    return by_device(cells, squares * cells.gain / cells.planned)
