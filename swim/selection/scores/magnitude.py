"""Larger weights first: the usual proxy for sensitivity."""

import numpy as np

from swim.selection.scores.base import Inputs, Layers, Needs

NEEDS: Needs = "weights"


def score(inputs: Inputs) -> Layers:
    """``|W|``."""
    return {name: np.abs(weight) for name, weight in inputs.weights.items()}
