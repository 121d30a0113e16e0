"""The second derivative alone, without the layer's full scale: `second` of the first release."""

from swim.selection.scores.base import Inputs, Layers, Needs

NEEDS: Needs = "curvature"


def score(inputs: Inputs) -> Layers:
    """``H_ii``."""
    assert inputs.curvature is not None
    return inputs.curvature
