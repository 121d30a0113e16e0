"""A mask, read for the checkpoint that it was made from."""

from collections.abc import Mapping

import numpy as np

from swim.errors import DataError
from swim.runtime import digests, files
from swim.runtime.digests import Record


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
    mask, made = files.load_mask(path)
    require_shapes(path, mask, model, shapes)
    digests.require_origin(path, made, model=(model, digest))
    return mask, made


def require_shapes(
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
