"""The 60,000 and 10,000 digits of MNIST, through torchvision."""

from pathlib import Path

import numpy as np

from swim.errors import DataError

CLASSES = 10
MEAN = (0.1307,)
STD = (0.3081,)
AUGMENTATION = "none"
HELP = "MNIST, 60,000/10,000, through torchvision"
_SIZES = {"train": 60_000, "test": 10_000}


def load(root: Path, download: bool) -> dict[str, np.ndarray]:
    """Both splits, from ``root/MNIST/raw`` or, where allowed, downloaded there first.

    Raises:
        DataError: files are missing or incomplete; the message says where they belong.
    """
    from torchvision.datasets import MNIST

    arrays = {}
    for split, size in _SIZES.items():
        try:
            data = MNIST(str(root), train=split == "train", download=download)
        except Exception as error:  # torchvision raises whatever the network or the file gave
            raise DataError(_remedy(root, download, str(error))) from error
        if len(data) != size:
            raise DataError(f"MNIST in {root} has {len(data)} {split} images: a file is cut off")
        arrays[f"{split}_images"] = data.data.numpy()[:, None]
        arrays[f"{split}_labels"] = data.targets.numpy().astype(np.int64)
    return arrays


def _remedy(root: Path, download: bool, error: str) -> str:
    remedy = (
        "The download failed; try again, or place them there yourself."
        if download
        else "Place them there, or allow the download (`download: true`)."
    )
    return (
        f"MNIST could not be read from data_root {str(root)!r}: {error}\n"
        "Expected train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and "
        f"t10k-labels-idx1-ubyte in {root / 'MNIST' / 'raw'}. {remedy}"
    )
