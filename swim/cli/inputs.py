"""An estimator's file, read for what ranks by it; numpy only."""

import numpy as np

from swim.cli.mask_file import require_shapes
from swim.cli.weights_file import Weights
from swim.errors import DataError
from swim.runtime import digests, files
from swim.runtime.digests import Record
from swim.selection.scores.base import Inputs, by_full_scale


def curvature_of(sensitivity: str, weights: Weights) -> tuple[dict[str, np.ndarray], Record]:
    """What an estimator gave for these weights, and its file's record.

    Raises:
        DataError: the file is missing, damaged, or of another checkpoint; or its values are not
            finite.
    """
    curvature, made = files.load_arrays(sensitivity)
    require_shapes(sensitivity, curvature, weights.path, weights.shapes)
    digests.require_origin(sensitivity, made, model=(weights.path, weights.record["digest"]))
    for name, layer in curvature.items():
        if not np.isfinite(layer).all():
            raise DataError(
                f"{sensitivity}: {name} has values that are not finite, which cannot be ranked: "
                "the network or its loss is not finite on some images"
            )
    return curvature, made


def scores_of(sensitivity: str, weights: Weights) -> tuple[dict[str, np.ndarray], Record]:
    """``H * max|W_layer|^2`` of each weight of a checkpoint, and the estimator's record.

    Raises:
        DataError: the file is missing or damaged, or of another checkpoint.
    """
    curvature, made = curvature_of(sensitivity, weights)
    return by_full_scale(Inputs(weights.layers, curvature, 0)), made
