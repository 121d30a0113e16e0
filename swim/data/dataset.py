"""Prepared data sets, mapped into memory and normalised when they are read."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from swim.errors import DataError
from swim.runtime import files

if TYPE_CHECKING:
    import torch


ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


class DataSet:
    """A prepared data set, mapped from its file.

    Arrays are compared with their digests when they are first used: a step that only tests does
    not read the training images.

    Attributes:
        path: its file.
        digest: digest of the whole content.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = path
        self._tensors, self._record = files.load_tensors(path, check=False)
        settings = self._record
        if not set(ARRAYS) <= set(self._tensors):
            raise DataError(f"{path}: not a prepared data set")
        self._unchecked = set(self._tensors)
        self.digest: str = settings["digest"]
        self.name: str = settings["dataset"]
        self.classes: int = settings["classes"]
        self.mean: list[float] = settings["mean"]
        self.std: list[float] = settings["std"]
        self.augmentation: str = settings["augmentation"]

    def _array(self, name: str) -> "torch.Tensor":
        """An array of the file.

        Raises:
            DataError: the array differs from its digest, or a label is not a class number.
        """
        tensor: torch.Tensor = self._tensors[name]
        if name in self._unchecked:
            files.check_array(self.path, self._record, name, tensor.numpy())
            if name.endswith("_labels") and len(tensor):
                low, high = int(tensor.min()), int(tensor.max())
                if low < 0 or high >= self.classes:
                    raise DataError(
                        f"{self.path}: {name} go from {low} to {high}, but there are "
                        f"{self.classes} classes; make it again"
                    )
            self._unchecked.discard(name)
        return tensor

    def size(self, split: str) -> int:
        """Number of images of ``train`` or ``test``."""
        return len(self._array(f"{split}_labels"))

    @property
    def channels(self) -> int:
        """Number of channels of an image."""
        return int(self._array("train_images").shape[1])

    def labels(self, split: str) -> "torch.Tensor":
        """All labels of a split: int64 (N,)."""
        return self._array(f"{split}_labels")

    def inputs(self, split: str, index: "torch.Tensor | slice") -> "torch.Tensor":
        """Normalised images: float32 (n, C, H, W)."""
        import torch

        images = self._array(f"{split}_images")[index]
        mean = torch.tensor(self.mean).view(-1, 1, 1)
        std = torch.tensor(self.std).view(-1, 1, 1)
        return (images.float() / 255 - mean) / std

    def batches(
        self,
        split: str,
        size: int,
        limit: int | None = None,
        index: "torch.Tensor | None" = None,
    ) -> Iterator[tuple["torch.Tensor", "torch.Tensor"]]:
        """(inputs, labels) of ``size`` images each, in the order of the file.

        Args:
            split: ``train`` or ``test``.
            size: images of a batch.
            limit: at most so many in total, the first ones.
            index: positions of those to take instead, int64 (n,); all if both are None.
        """
        if index is not None:
            for part in index.split(size):
                yield self.inputs(split, part), self.labels(split)[part]
            return
        count = self.size(split) if limit is None else min(limit, self.size(split))
        for start in range(0, count, size):
            rows = slice(start, min(start + size, count))
            yield self.inputs(split, rows), self.labels(split)[rows]
