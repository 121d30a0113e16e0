"""An estimator's file, read for what ranks by it; numpy only."""

from collections.abc import Mapping

import numpy as np

from swim import io
from swim.effective import programmed
from swim.errors import DataError
from swim.methods.base import Inputs, by_full_scale


def weights_of(model: str) -> dict[str, np.ndarray]:
    """The programmed weights of a checkpoint, in the network's order.

    Raises:
        DataError: the file is missing, incomplete, or no checkpoint.
    """
    arrays, checkpoint = io.load_arrays(model)
    if "programmed" not in checkpoint:
        raise DataError(f"{model}: not a checkpoint of ours")
    return programmed(arrays, checkpoint)


def curvature_of(
    sensitivity: str, model: str, weights: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], str | None]:
    """What an estimator gave for these weights, and the estimator's name.

    Raises:
        DataError: the file is missing, incomplete, or of another network.
    """
    curvature, made = io.load_arrays(sensitivity)
    shapes = {name: layer.shape for name, layer in curvature.items()}
    if shapes != {name: layer.shape for name, layer in weights.items()}:
        raise DataError(f"{sensitivity}: is of another network than {model}")
    return curvature, made.get("estimator")


def scores_of(sensitivity: str, model: str) -> dict[str, np.ndarray]:
    """``H * max|W_layer|^2`` of each weight of a checkpoint.

    Raises:
        DataError: a file is missing or incomplete, or they are of different networks.
    """
    weights = weights_of(model)
    return by_full_scale(Inputs(weights, curvature_of(sensitivity, model, weights)[0], 0))
