"""An estimator's file, read for what ranks by it; numpy only."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from swim import digests, io
from swim.digests import Record
from swim.effective import programmed
from swim.errors import DataError
from swim.methods.base import Inputs, by_full_scale


@dataclass(frozen=True)
class Weights:
    """The programmed weights of a checkpoint.

    Attributes:
        path: its file.
        record: what it carries.
        layers: name -> array, in the network's order.
    """

    path: str
    record: Record
    layers: dict[str, np.ndarray]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each layer."""
        return {name: layer.shape for name, layer in self.layers.items()}


def weights_of(model: str) -> Weights:
    """The programmed weights of a checkpoint.

    Raises:
        DataError: the file is missing, damaged, or no checkpoint.
    """
    arrays, checkpoint = io.load_arrays(model)
    if "programmed" not in checkpoint:
        raise DataError(f"{model}: not a checkpoint of ours")
    return Weights(model, checkpoint, programmed(arrays, checkpoint))


def curvature_of(sensitivity: str, weights: Weights) -> tuple[dict[str, np.ndarray], Record]:
    """What an estimator gave for these weights, and its file's record.

    Raises:
        DataError: the file is missing, damaged, or of another checkpoint; or its values are not
            finite.
    """
    curvature, made = io.load_arrays(sensitivity)
    _require_shapes(sensitivity, curvature, weights.path, weights.shapes)
    digests.require_origin(sensitivity, made, model=(weights.path, weights.record["digest"]))
    for name, layer in curvature.items():
        if not np.isfinite(layer).all():
            raise DataError(f"{sensitivity}: {name} has values that are not finite; make it again")
    return curvature, made


def mask_of(
    path: str, model: str, digest: str, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[dict[str, np.ndarray], Record]:
    """A mask for the weights of a checkpoint, and its record.

    Args:
        path: the mask's file.
        model: the checkpoint's.
        digest: of the checkpoint.
        shapes: of its programmed weights.

    Raises:
        DataError: the file is missing, damaged, or of another checkpoint.
    """
    mask, made = io.load_mask(path)
    _require_shapes(path, mask, model, shapes)
    digests.require_origin(path, made, model=(model, digest))
    return mask, made


def _require_shapes(
    path: str,
    layers: Mapping[str, np.ndarray],
    model: str,
    shapes: Mapping[str, tuple[int, ...]],
) -> None:
    """Refuse arrays that are not shaped as a checkpoint's weights, layer by layer.

    Raises:
        DataError: a name or a shape differs; the message says which.
    """
    given = {name: layer.shape for name, layer in layers.items()}
    for name in {**shapes, **given}:
        if shapes.get(name) != given.get(name):
            raise DataError(
                f"{path}: is of another network than {model}: {name} is "
                f"{given.get(name, 'missing')} here and {shapes.get(name, 'missing')} there"
            )


def scores_of(sensitivity: str, weights: Weights) -> tuple[dict[str, np.ndarray], Record]:
    """``H * max|W_layer|^2`` of each weight of a checkpoint, and the estimator's record.

    Raises:
        DataError: the file is missing or damaged, or of another checkpoint.
    """
    curvature, made = curvature_of(sensitivity, weights)
    return by_full_scale(Inputs(weights.layers, curvature, 0)), made
