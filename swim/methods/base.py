"""What a selection method is given and what it gives."""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

Layers = dict[str, np.ndarray]
Needs = Literal["weights", "curvature"]


@dataclass(frozen=True)
class Inputs:
    """What a method may score by; layers are in the network's order.

    Attributes:
        weights: programmed weights, name -> array.
        curvature: raw second derivatives of the loss summed over samples, name -> array
            shaped like the weight; None unless the method needs them.
        seed: the experiment's seed.
    """

    weights: Layers
    curvature: Layers | None
    seed: int

    def scale(self, name: str) -> float:
        """``max|W|`` of a layer: its full scale."""
        return float(np.abs(self.weights[name]).max())


class Method(Protocol):
    """A module of this folder."""

    NEEDS: Needs

    def score(self, inputs: Inputs) -> Layers:
        """One number a weight, shaped like the weight; higher is verified first."""
