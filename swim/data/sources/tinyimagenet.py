"""The 100,000 and 10,000 labelled images of Tiny ImageNet, 64x64 in 200 classes.

Stanford's course CS231n distributes them as one zip file of 248,100,043 bytes, without a checksum;
the MD5 sum is the one that Avalanche (``avalanche.benchmarks.datasets.tiny_imagenet``) and others
check. Its test images have no labels, so the validation images are the test set here, as is usual.
The zip file is read where it is: nothing is unpacked and no file moved.
"""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from swim.data import download as downloading
from swim.data import image_files
from swim.data.sources import folder
from swim.errors import DataError

CLASSES = 200
MEAN = (0.485, 0.456, 0.406)  # ImageNet's
STD = (0.229, 0.224, 0.225)
AUGMENTATION = "crop_flip"
HELP = "Tiny ImageNet, 100,000/10,000 of 64x64, 248 MB from Stanford"
NAME = "tiny-imagenet-200"


@dataclass(frozen=True)
class Original:
    """The original file: its addresses, its MD5 sum, and its numbers of classes and images."""

    urls: tuple[str, ...] = ("http://cs231n.stanford.edu/tiny-imagenet-200.zip",)
    md5: str = "90528d7ca1a48142e341f4ef8d21d0de"
    classes: int = CLASSES
    train: int = 500
    test: int = 50


ORIGINAL = Original()


def load(root: Path, download: bool, original: Original = ORIGINAL) -> dict[str, np.ndarray]:
    """Both splits; gray images are made RGB.

    Args:
        root: has ``tiny-imagenet-200.zip`` or what it unpacks to, ``tiny-imagenet-200/``.
        download: whether the zip file may be downloaded into it.
        original: the expected file.

    Raises:
        DataError: neither is there, or it is incomplete; the message says what belongs where.
    """
    with _files(root, download, original) as files:
        found = folder.splits(files)
        for split, expected in (("train", original.train), ("test", original.test)):
            counts = np.bincount([label for _, label in found[split]], minlength=original.classes)
            if counts.tolist() != [expected] * original.classes:
                raise DataError(
                    f"{files.root} has {counts.sum():,} images for {split}ing in {len(counts)} "
                    f"classes, not {expected} in each of {original.classes}; delete it, or "
                    "complete it"
                )
        return folder.arrays(files, found, (3, 64, 64))


@contextmanager
def _files(root: Path, download: bool, original: Original) -> Iterator[image_files.Files]:
    archive, unpacked = root / f"{NAME}.zip", root / NAME
    if unpacked.is_dir() and not downloading.is_original(archive, original.md5):
        yield image_files.in_folder(unpacked)
        return
    instead = f"Or place what it unpacks to in {unpacked}"
    downloading.obtain(archive, original.urls, original.md5, allowed=download, instead=instead)
    with zipfile.ZipFile(archive) as opened:
        yield image_files.in_zip(opened, NAME)
