"""SWIM exactly as its first release computes it.

The sum approximates a ranking by curvature, then by magnitude; ``swim`` ranks so exactly
(arXiv:2202.08395, the code of the first release).
"""

from swim.selection.masks import relative_magnitude
from swim.selection.scores.base import Inputs, Layers, Needs, by_full_scale

NEEDS: Needs = "release"


def score(inputs: Inputs) -> Layers:
    """``1e6 * H_ii * max|W_layer|^2 + |W| / max|W_layer|``, H as the release has it."""
    small = relative_magnitude(inputs.weights)
    return {name: 1e6 * h + small[name] for name, h in by_full_scale(inputs).items()}
