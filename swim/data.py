"""Prepared data sets, mapped into memory and normalised as they are read."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from swim import io
from swim.errors import DataError

if TYPE_CHECKING:
    import torch


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
        self.augmentation: str = settings["augmentation"]

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
