"""Image files in a folder or an archive: their names, and their pixels as arrays."""

import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from swim.errors import DataError
from swim.runtime.progress_bar import meter

if TYPE_CHECKING:
    from PIL.Image import Image

# As in torchvision.datasets.ImageFolder; a test compares the two.
EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
LISTS = ("wnids.txt", "val/val_annotations.txt")  # of Tiny ImageNet: classes and their images
GRAY = frozenset({"1", "L", "LA"})


@dataclass(frozen=True)
class Files:
    """Image files, and the lists of their classes if there are any.

    Attributes:
        root: folder or archive, for messages.
        names: paths below it, with ``/``, sorted, without hidden and other files.
        read: returns the content of a file by its name.
    """

    root: str
    names: tuple[str, ...]
    read: Callable[[str], bytes]

    def at(self, name: str) -> str:
        """The whole path of a file, for messages."""
        return f"{self.root}/{name}"


def _is_ours(name: str) -> bool:
    hidden = any(part.startswith(".") for part in name.split("/"))
    return not hidden and (name.lower().endswith(EXTENSIONS) or name in LISTS)


def in_folder(folder: Path) -> Files:
    """The files below a folder; links are followed.

    Raises:
        DataError: there is no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")

    def found() -> Iterator[str]:
        for place, _, files in os.walk(folder, followlinks=True):
            inner = os.path.relpath(place, folder).replace(os.sep, "/")
            yield from (file if inner == "." else f"{inner}/{file}" for file in files)

    names = tuple(sorted(filter(_is_ours, found())))
    return Files(str(folder), names, lambda name: (folder / name).read_bytes())


def in_zip(archive: zipfile.ZipFile, top: str) -> Files:
    """The files below the folder ``top`` of an open zip file."""
    start = f"{top}/"
    below = (name[len(start) :] for name in archive.namelist() if name.startswith(start))
    names = tuple(sorted(filter(_is_ours, below)))
    return Files(f"{archive.filename}/{top}", names, lambda name: archive.read(start + name))


@contextmanager
def _opened(files: Files, name: str) -> Iterator["Image"]:
    """An open image whose header is read; errors, also of decoding, name the file."""
    from PIL import Image

    try:
        with Image.open(BytesIO(files.read(name))) as image:
            yield image
    except Exception as error:  # Pillow's decoders raise errors of any kind
        if isinstance(error, DataError):
            raise
        raise DataError(f"{files.at(name)} is no whole image: {error}") from error


def survey(files: Files, names: Sequence[str], size: int | None) -> tuple[int, int, int]:
    """The common shape (C, H, W) of images, from their headers alone.

    Args:
        files: the folder or archive.
        names: names of the images, at least one.
        size: side length after :func:`decode`; None if all images must have one size.

    Raises:
        DataError: their sizes differ and no ``size`` is set, or a file is not an image.
    """
    first, channels = None, 1
    for name in names:
        with _opened(files, name) as image:
            if image.mode not in GRAY:
                channels = 3
            first = first or (image.size, name)
            if size is None and image.size != first[0]:
                raise DataError(
                    f"{files.root}: {first[1]} is {_by(first[0])} pixels, {name} "
                    f"{_by(image.size)}; give `size`, for instance `size: 64`, to resize the "
                    "shorter side of each to it and keep the central square"
                )
    assert first is not None
    width, height = (size, size) if size else first[0]
    return channels, height, width


def decode(
    files: Files, names: Sequence[str], shape: tuple[int, int, int], size: int | None = None
) -> np.ndarray:
    """Pixels, uint8 (N, C, H, W).

    Images of every mode become RGB with three channels, or gray with one channel; transparency is
    dropped.

    Args:
        files: the folder or archive.
        names: names of the images, in the order of the result.
        shape: (C, H, W) of each image.
        size: resize the shorter side to this and keep the central square, as torchvision's
            ``Resize`` and ``CenterCrop`` do; None leaves images as they are.

    Raises:
        DataError: an image is broken, deeper than 8 bits or of another size; the message names it.
    """
    pixels = np.empty((len(names), *shape), dtype=np.uint8)
    with meter(files.root, len(names), "images") as count:
        for target, name in zip(pixels, names, strict=True):
            with _opened(files, name) as image:
                converted = _converted(files.at(name), image, shape[0])
                fitted = _fitted(converted, size) if size else converted
                if fitted.size != shape[:0:-1]:
                    raise DataError(
                        f"{files.at(name)} is {_by(fitted.size)} pixels, not {_by(shape[:0:-1])}"
                    )
                found = np.asarray(fitted)
            target[:] = found if shape[0] == 1 else found.transpose(2, 0, 1)
            count(1)
    return pixels


def _by(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size))


def _converted(name: str, image: "Image", channels: int) -> "Image":
    if image.mode.startswith(("I", "F")):
        raise DataError(f"{name} has more than 8 bits per channel ({image.mode}); convert it first")
    if image.mode == "P" and "transparency" in image.info:
        return image.convert("RGBA").convert("RGB")
    return image.convert("L" if channels == 1 else "RGB")


def _fitted(image: "Image", size: int) -> "Image":
    from torchvision.transforms import functional

    result: Image = functional.center_crop(functional.resize(image, size), size)
    return result
