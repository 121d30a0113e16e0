"""Whole layers, the most sensitive per weight first: for chips that verify by array."""

import numpy as np

from swim.selection.scores.base import Inputs, Layers, Needs, by_full_scale

NEEDS: Needs = "curvature"


def score(inputs: Inputs) -> Layers:
    """Rank layers by their mean ``H_ii max|W_layer|^2``, and weights in a layer by their own.

    A weight's score is the number of distinct values below its own, in its layer and in all layers
    that are verified later, so no rounding mixes two layers.
    """
    scores = by_full_scale(inputs)
    found, below = {}, 0
    for name in sorted(scores, key=lambda name: float(scores[name].mean())):
        levels, rank = np.unique(scores[name], return_inverse=True)
        found[name] = below + rank.reshape(scores[name].shape)
        below += len(levels)
    return {name: found[name] for name in scores}
