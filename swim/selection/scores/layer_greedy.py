"""Whole layers, the most sensitive a weight first: what a chip can do that verifies by array."""

import numpy as np

from swim.selection.scores.base import Inputs, Layers, Needs, by_full_scale

NEEDS: Needs = "curvature"


def score(inputs: Inputs) -> Layers:
    """Layers by the mean of ``H_ii max|W_layer|^2`` a weight, the gain a cycle; then by itself.

    A score is the number of distinct scores below it, in its layer and in all layers that come
    later, so that no rounding mixes two layers.
    """
    scores = by_full_scale(inputs)
    found, below = {}, 0
    for name in sorted(scores, key=lambda name: float(scores[name].mean())):
        levels, rank = np.unique(scores[name], return_inverse=True)
        found[name] = below + rank.reshape(scores[name].shape)
        below += len(levels)
    return {name: found[name] for name in scores}
