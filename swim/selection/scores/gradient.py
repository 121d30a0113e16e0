"""First derivatives, which SWIM argues against: they vanish where training ends."""

import numpy as np

from swim.selection.scores.base import Inputs, Layers, Needs

NEEDS: Needs = "gradient"


def score(inputs: Inputs) -> Layers:
    """``|dL/dw_i| * max|W_layer|``: the first-order change of the loss by a device's error."""
    assert inputs.curvature is not None
    return {name: np.abs(g) * inputs.scale(name) for name, g in inputs.curvature.items()}
