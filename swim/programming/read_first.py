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

    def worth(at: slice) -> Tensor:
        part = cells.block(at)
        trust = part.trust_at(part.levels)
        # Given its reading, the error has the mean trust * reading, the variance trust * noise^2.
        square = (part.readings * trust).double() ** 2 + trust * part.device.read_noise**2
        saved = curvature[at] * (square - part.residual**2) * part.significance**2
        return (saved / part.rewrites).masked_fill(~part.outside, -math.inf)

    made = by_device(cells, worth)
    return dataclasses.replace(made, read_before=math.prod(cells.shape), reads_each=0)
