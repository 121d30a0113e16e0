"""Random images in the place of a data set, where only their shape and number matter."""

from pathlib import Path

import numpy as np

from swim.data.dataset import DataSet
from swim.runtime import files


def synthetic(
    folder: Path, shape: tuple[int, int, int], classes: int, augmentation: str, images: int
) -> DataSet:
    """A prepared data set of random images, as a file in a folder.

    Args:
        folder: where to write it.
        shape: channels, height and width.
        classes: number of classes.
        augmentation: of training images.
        images: number of images of each split.
    """
    generator = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for split in ("train", "test"):
        arrays[f"{split}_images"] = generator.integers(0, 256, (images, *shape), dtype=np.uint8)
        arrays[f"{split}_labels"] = generator.integers(0, classes, images)
    record = {"dataset": "synthetic images", "classes": classes, "augmentation": augmentation}
    means = {"mean": [0.5] * shape[0], "std": [0.25] * shape[0]}
    path = folder / "images.safetensors"
    files.save_arrays(path, arrays, {**record, **means})
    return DataSet(path)
