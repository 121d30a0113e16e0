"""Read every device once, then verify the devices outside their tolerance that cost the most loss.

The expected benefit of verifying a device is ``H s_j^2 (e^2 - r^2) p`` per cycle: e^2 is its
expected squared error given its reading, r^2 the residual error's square, and 1/p its expected
number of cycles.
"""

import dataclasses
import math

from torch import Tensor

from swim.programming.budgeted import Offers, by_device
from swim.programming.cells import Cells


def offers(cells: Cells, curvature: Tensor) -> Offers:
    """Devices read outside their tolerance, with the saving of expected loss per cycle."""
    cells.must_simulate("read_first")
    trust = cells.trust_at(cells.levels)
    # The error given the reading has the mean trust * reading and the variance trust * noise^2.
    square = (cells.readings * trust).double() ** 2 + trust * cells.device.read_noise**2
    worth = curvature * (square - cells.residual**2) * cells.significance**2 / cells.rewrites
    made = by_device(cells, worth.masked_fill(~cells.outside, -math.inf))
    return dataclasses.replace(made, read_before=math.prod(cells.shape), reads_each=0)
