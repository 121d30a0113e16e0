"""The 60,000 and 10,000 digits of MNIST, as torchvision reads them."""

import gzip
from pathlib import Path

import numpy as np

from swim.data import download as downloading
from swim.errors import DataError

CLASSES = 10
MEAN = (0.1307,)
STD = (0.3081,)
AUGMENTATION = "none"
HELP = "MNIST, 60,000/10,000, 12 MB through torchvision's mirrors"
# MD5 sums of the four files once they are unpacked; those of the archives are torchvision's.
_UNPACKED = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


def load(root: Path, download: bool) -> dict[str, np.ndarray]:
    """Both splits, from ``root/MNIST/raw`` or, where allowed, downloaded there first.

    Raises:
        DataError: files are missing or incomplete; the message says where they belong.
    """
    from torchvision.datasets import MNIST

    for name, md5 in MNIST.resources:
        _obtain(root / "MNIST" / "raw" / name, [f"{m}{name}" for m in MNIST.mirrors], md5, download)
    arrays = {}
    for split in ("train", "test"):
        try:
            data = MNIST(str(root), train=split == "train", download=False)
        except Exception as error:  # torchvision raises errors of any kind
            raise DataError(
                f"MNIST could not be read from {root / 'MNIST' / 'raw'}: {error}. Delete the files "
                "there and place them, or let them be downloaded, again"
            ) from error
        arrays[f"{split}_images"] = data.data.numpy()[:, None]
        arrays[f"{split}_labels"] = data.targets.numpy().astype(np.int64)
    return arrays


def _obtain(archive: Path, urls: list[str], md5: str, download: bool) -> None:
    """Make sure that one of the four files is unpacked and complete."""
    unpacked = archive.with_suffix("")
    if downloading.is_original(unpacked, _UNPACKED[unpacked.name]):
        return
    instead = (
        "Or place the unpacked files: train-images-idx3-ubyte, train-labels-idx1-ubyte, "
        f"t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte in {archive.parent}"
    )
    downloading.obtain(archive, urls, md5, allowed=download, instead=instead)
    with gzip.open(archive) as source:
        downloading.unpack(source, unpacked)
