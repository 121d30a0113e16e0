"""Weights in a random order: one permutation of the network's weights per seed."""

import numpy as np

from swim.runtime import rng
from swim.selection.scores.base import Inputs, Layers, Needs

NEEDS: Needs = "weights"


def score(inputs: Inputs) -> Layers:
    """A rank from one seeded permutation, the same at every fraction."""
    sizes = [weight.size for weight in inputs.weights.values()]
    ranks = rng.generator(inputs.seed, "random").permutation(sum(sizes))
    parts = np.split(ranks, np.cumsum(sizes)[:-1])
    return {
        name: part.reshape(weight.shape)
        for (name, weight), part in zip(inputs.weights.items(), parts, strict=True)
    }
