"""Prepare a data set once, as one file of arrays that later steps map into memory."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from swim.errors import DataError, SettingError
from swim.runtime import files
from swim.settings import OwnDataSet, registry


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
        name: a key of ``swim.settings.registry.DATASETS``, or any name with ``own``.
        path: the file to write.
        own: the user's own images, instead of a registered data set.
        data_root: folder with, or for, the original files.
        download: whether files that are missing there may be downloaded.

    Raises:
        SettingError: there is no such data set, or own settings do not fit the images.
        DataError: its files are missing or incomplete, or a label is not a class number.
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
    _check_labels(name, arrays, settings["classes"])
    files.save_arrays(path, arrays, {"dataset": name, **settings})


def _check_labels(name: str, arrays: Mapping[str, np.ndarray], classes: int) -> None:
    """Check that each image has a label that is a class number.

    Raises:
        DataError: a label is not; the message names the first such image.
    """
    for split in ("train", "test"):
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        if labels.shape != (len(images),):
            raise DataError(f"{name}: {split} has {len(images)} images and labels {labels.shape}")
        wrong = np.flatnonzero((labels < 0) | (labels >= classes))
        if wrong.size:
            first = int(wrong[0])
            raise DataError(
                f"{name}: label {labels[first]} of {split} image {first} is out of range: there "
                f"are {classes} classes, numbered from 0 ({wrong.size} such labels in all)"
            )


def _own(own: OwnDataSet) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and settings; by default mean and standard deviation of the training images."""
    arrays = registry.find("own data set", own.kind).load(own)
    pixels = arrays["train_images"]
    found_mean, found_std = _moments(pixels)
    mean, std = own.mean or found_mean, own.std or found_std
    for name, values in (("mean", mean), ("std", std)):
        if len(values) != pixels.shape[1]:
            raise SettingError(f"{name} has {len(values)} values for {pixels.shape[1]} channels")
    classes = int(arrays["train_labels"].max()) + 1
    return arrays, {"classes": classes, "mean": mean, "std": std, "augmentation": own.augmentation}


def _moments(pixels: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, of pixels in [0, 1].

    Counting the 256 values, some images at a time, avoids a copy of all pixels in floats.
    """
    counts = np.zeros((pixels.shape[1], 256), dtype=np.int64)
    for start in range(0, len(pixels), 1000):
        for channel, count in enumerate(counts):
            part = pixels[start : start + 1000, channel]
            count += np.bincount(part.reshape(-1), minlength=256)
    values = np.arange(256) / 255
    share = counts / counts.sum(1, keepdims=True)
    mean = share @ values
    std = np.sqrt((share * (values - mean[:, None]) ** 2).sum(1))
    return mean.round(4).tolist(), std.clip(1e-4).round(4).tolist()
