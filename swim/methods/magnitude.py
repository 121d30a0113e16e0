"""Larger weights first: the usual proxy for importance."""

from typing import Literal

import numpy as np

from swim.methods.base import Inputs, Layers

NEEDS: Literal["weights"] = "weights"


def score(inputs: Inputs) -> Layers:
    """``|W|``."""
    return {name: np.abs(weight) for name, weight in inputs.weights.items()}
