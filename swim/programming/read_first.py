"""Read every device once, then rewrite those that are off where it matters, by how far they are.

A device read outside its tolerance is worth ``H s_j^2 (e^2 - r^2) p``: e^2 is what its reading says
of its squared error, r^2 what rewriting leaves, 1/p the cycles that it is expected to take.
"""

import dataclasses
import math

from torch import Tensor

from swim.programming.budgeted import Offers, by_device
from swim.programming.cells import Cells


def offers(cells: Cells, curvature: Tensor) -> Offers:
    """Devices outside, by what they save per cycle."""
    cells.must_simulate("read_first")
    trust = cells.trust_at(cells.levels)
    # A reading's error, given the reading, has this mean and variance.
    square = (cells.readings * trust).double() ** 2 + trust * cells.device.read_noise**2
    worth = curvature * (square - cells.residual**2) * cells.significance**2 / cells.rewrites
    made = by_device(cells, worth.masked_fill(~cells.outside, -math.inf))
    return dataclasses.replace(made, read_before=math.prod(cells.shape), reads_each=0)
