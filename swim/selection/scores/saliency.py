"""The loss of setting a weight to zero: the saliency of optimal brain damage.

LeCun, Denker & Solla, 1990. The score says which weights to prune; a programming error changes a
weight in another way.
"""

from swim.selection.scores.base import Inputs, Layers, Needs

NEEDS: Needs = "curvature"


def score(inputs: Inputs) -> Layers:
    """``H_ii w_i^2``; the saliency's factor 1/2 changes no order."""
    assert inputs.curvature is not None
    return {name: h * inputs.weights[name] ** 2 for name, h in inputs.curvature.items()}
