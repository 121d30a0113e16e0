"""The 50,000 and 10,000 images of CIFAR-10, as torchvision reads them."""

import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from swim.data import download as downloading

CLASSES = 10
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2470, 0.2435, 0.2616)
AUGMENTATION = "crop_flip"
HELP = "CIFAR-10, 50,000/10,000, 170 MB from torchvision's address"


def load(root: Path, download: bool) -> dict[str, np.ndarray]:
    """Both splits, from ``root/cifar-10-batches-py`` or, where allowed, downloaded there first.

    Raises:
        DataError: files are missing or do not have their checksums; the message says where they
            belong.
    """
    try:
        parts = _read(root)
    except RuntimeError:  # a file is missing, or its checksum differs
        _unpack(root, download)
        parts = _read(root)
    arrays = {}
    for split, data in parts.items():
        arrays[f"{split}_images"] = np.ascontiguousarray(data.data.transpose(0, 3, 1, 2))
        arrays[f"{split}_labels"] = np.array(data.targets, dtype=np.int64)
    return arrays


def _read(root: Path) -> dict[str, Any]:
    from torchvision.datasets import CIFAR10

    splits = {"train": True, "test": False}
    return {name: CIFAR10(str(root), train=train, download=False) for name, train in splits.items()}


def _unpack(root: Path, download: bool) -> None:
    """Unpack the original archive, downloaded first if need be, over what is there."""
    from torchvision.datasets import CIFAR10

    folder = root / CIFAR10.base_folder
    instead = (
        "Or place what it unpacks to, data_batch_1 to data_batch_5, test_batch and batches.meta, "
        f"in {folder}"
    )
    archive = downloading.obtain(
        root / CIFAR10.filename, [CIFAR10.url], CIFAR10.tgz_md5, allowed=download, instead=instead
    )
    with tarfile.open(archive) as opened:
        for member in opened:
            source = opened.extractfile(member)
            if source is not None:
                downloading.unpack(source, folder / Path(member.name).name)
