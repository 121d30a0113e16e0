"""SWIM: second derivative of the loss times the variance that the device leaves.

The variance is proportional to ``max|W_layer|^2`` and to factors that all weights share
(DAC 2022, arXiv:2202.08395).
"""

from swim.methods.base import Inputs, Layers, Needs

NEEDS: Needs = "curvature"


def score(inputs: Inputs) -> Layers:
    """``H_ii * max|W_layer|^2``."""
    assert inputs.curvature is not None
    return {name: h * inputs.scale(name) ** 2 for name, h in inputs.curvature.items()}
