"""What a selection method receives and returns."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

Layers = dict[str, np.ndarray]
Needs = str


@dataclass(frozen=True)
class Inputs:
    """What a method may use; layers are in the network's order.

    Attributes:
        weights: programmed weights, name -> array.
        curvature: the estimator's result, summed over samples, name -> array shaped like the
            weight; None if the method needs weights alone.
        seed: the experiment's seed.
    """

    weights: Layers
    curvature: Layers | None
    seed: int

    def scale(self, name: str) -> float:
        """``max|W|`` of a layer: its full scale."""
        return float(np.abs(self.weights[name]).max())


def by_full_scale(inputs: Inputs) -> Layers:
    """``H_ii * max|W_layer|^2``: the expected loss by each weight's error, up to a factor.

    ``E[dL] ~ 1/2 sum_i H_ii Var(dw_i)``, and a device's variance is proportional to the square of
    its layer's full scale, with a factor that all weights share (SWIM, DAC 2022,
    arXiv:2202.08395).
    """
    assert inputs.curvature is not None
    return {name: h * inputs.scale(name) ** 2 for name, h in inputs.curvature.items()}


def estimator_of(needs: Needs, chosen: str) -> str | None:
    """The estimator whose result a method receives; None if it needs weights alone.

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
