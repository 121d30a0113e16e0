"""Device by device, with the squared magnitude instead of the second derivative: an ablation."""

from torch import Tensor

from swim.programming.budgeted import Offers, by_device
from swim.programming.cells import Cells


def offers(cells: Cells, curvature: Tensor) -> Offers:
    """Single devices, with ``|W|^2 s_j^2 (sigma^2 - r^2)`` per expected cycle."""

    def worth(at: slice) -> Tensor:
        part = cells.block(at)
        return part.target.double().square() * part.gain / part.planned

    return by_device(cells, worth)
