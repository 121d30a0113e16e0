"""The 50,000 and 10,000 images of CIFAR-10, through torchvision."""

from pathlib import Path

import numpy as np

from swim.errors import DataError

CLASSES = 10
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2470, 0.2435, 0.2616)
AUGMENTATION = "crop_flip"
HELP = "CIFAR-10, 50,000/10,000, through torchvision"


def load(root: Path, download: bool) -> dict[str, np.ndarray]:
    """Both splits, from ``root/cifar-10-batches-py`` or, where allowed, downloaded there first.

    Raises:
        DataError: files are missing or do not have their checksums; the message says where they
            belong.
    """
    from torchvision.datasets import CIFAR10

    arrays = {}
    for split in ("train", "test"):
        try:
            data = CIFAR10(str(root), train=split == "train", download=download)
        except Exception as error:  # torchvision raises whatever the network or the file gave
            raise DataError(_remedy(root, download, str(error))) from error
        arrays[f"{split}_images"] = np.ascontiguousarray(data.data.transpose(0, 3, 1, 2))
        arrays[f"{split}_labels"] = np.array(data.targets, dtype=np.int64)
    return arrays


def _remedy(root: Path, download: bool, error: str) -> str:
    remedy = (
        "The download failed; try again, or place the folder there yourself."
        if download
        else "Place it there, or allow the download (`download: true`)."
    )
    return (
        f"CIFAR-10 could not be read from data_root {str(root)!r}: {error}\n"
        "Expected data_batch_1 to data_batch_5, test_batch and batches.meta, as "
        f"cifar-10-python.tar.gz holds them, in {root / 'cifar-10-batches-py'}. {remedy}"
    )
