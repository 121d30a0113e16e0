"""Prepare a data set once, as one file of arrays that every later step maps into memory."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from swim import io, registry
from swim.datasets import npz
from swim.errors import SettingError
from swim.spec import OwnDataSet


def prepare(
    name: str,
    path: str | os.PathLike[str],
    *,
    own: OwnDataSet | None = None,
    data_root: str = "data",
    download: bool = True,
) -> None:
    """Write a data set to ``path`` as one safetensors file.

    Args:
        name: a key of ``swim.registry.DATASETS``, or with ``own`` any.
        path: the file to write.
        own: the user's own images, instead of a data set that is known by name.
        data_root: folder in which the original files are, or are put.
        download: whether files that are missing there may be downloaded.

    Raises:
        SettingError: there is no such data set, or own settings do not fit the images.
        DataError: its files are missing or incomplete.
    """
    if own is not None:
        arrays, settings = _own(own)
    else:
        source = registry.find("data set", name)
        arrays = source.load(Path(data_root), download)
        settings = {
            "classes": source.CLASSES,
            "mean": source.MEAN,
            "std": source.STD,
            "augmentation": source.AUGMENTATION,
        }
    io.save_arrays(path, arrays, {"dataset": name, **settings})


def _own(own: OwnDataSet) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and settings; mean and standard deviation of the training images if none are given."""
    arrays = npz.load(Path(own.file))
    pixels = arrays["train_images"]
    mean = own.mean or (pixels.mean((0, 2, 3)) / 255).round(4).tolist()
    std = own.std or (pixels.std((0, 2, 3)) / 255).clip(1e-4).round(4).tolist()
    for name, values in (("mean", mean), ("std", std)):
        if len(values) != pixels.shape[1]:
            raise SettingError(f"{name} has {len(values)} values for {pixels.shape[1]} channels")
    classes = int(arrays["train_labels"].max()) + 1
    return arrays, {"classes": classes, "mean": mean, "std": std, "augmentation": own.augmentation}
