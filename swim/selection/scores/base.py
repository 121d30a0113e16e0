"""What a selection method is given and what it gives."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

Layers = dict[str, np.ndarray]
Needs = str


@dataclass(frozen=True)
class Inputs:
    """What a method may score by; layers are in the network's order.

    Attributes:
        weights: programmed weights, name -> array.
        curvature: what the estimator gave, raw and summed over samples, name -> array shaped like
            the weight; None if the method needs weights alone.
        seed: the experiment's seed.
    """

    weights: Layers
    curvature: Layers | None
    seed: int

    def scale(self, name: str) -> float:
        """``max|W|`` of a layer: its full scale."""
        return float(np.abs(self.weights[name]).max())


def by_full_scale(inputs: Inputs) -> Layers:
    """``H_ii * max|W_layer|^2``: the loss that each weight's error costs.

    ``E[dL] ~ 1/2 sum_i H_ii Var(dw_i)``, and a device's variance is in proportion to the square of
    its layer's full scale, beside factors that all weights share (SWIM, DAC 2022,
    arXiv:2202.08395).
    """
    assert inputs.curvature is not None
    return {name: h * inputs.scale(name) ** 2 for name, h in inputs.curvature.items()}


def estimator_of(needs: Needs, chosen: str) -> str | None:
    """The estimator whose numbers a method is given; None if it takes weights alone.

    Args:
        needs: the method's ``NEEDS``.
        chosen: the experiment's estimator.
    """
    return {"weights": None, "curvature": chosen}.get(needs, needs)


class Method(Protocol):
    """A module of this folder."""

    NEEDS: Needs

    def score(self, inputs: Inputs) -> Layers:
        """One number a weight, shaped like the weight; higher is verified first."""
