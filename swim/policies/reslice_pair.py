"""As ``reslice``, with digits below zero too: a differential pair for each slice.

The digits -(2^K - 1) to 2^K - 1 reach both ways from whatever a slice has left; with digits from
zero a slice that came out too high can only be made up for as far as the ones below were set.
"""

from torch import Tensor

from swim.policies.cells import Cells
from swim.policies.greedy import Offers
from swim.policies.reslice import one_after_the_other


def offers(cells: Cells, curvature: Tensor) -> Offers:
    """Steps from what slices written one after the other leave."""
    return one_after_the_other(cells, curvature, signed=True)
