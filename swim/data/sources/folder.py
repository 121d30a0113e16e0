"""A user's own images, from a folder of image files.

Two layouts are read: torchvision's ``ImageFolder``, once for training and once for testing, and
Tiny ImageNet's::

    train/{class}/*.png    (or .jpg and others, in further folders too)
    test/{class}/*.png     (or val/ where there is no test/)

    wnids.txt              (the classes)
    train/{class}/images/*.JPEG
    val/images/*.JPEG, val/val_annotations.txt

Classes are numbered in the order of their names. Images are ordered in turn, one of each class, so
that the first few of a split contain all classes.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from swim.data import image_files
from swim.data.image_files import EXTENSIONS, LISTS, Files
from swim.errors import DataError
from swim.settings import OwnDataSet

Labelled = list[tuple[str, int]]  # names and class numbers


def load(own: OwnDataSet) -> dict[str, np.ndarray]:
    """Both splits, as in the other data sets; gray if all images are, else RGB.

    Raises:
        DataError: there is no such folder, its layout is neither of the two, or an image is
            broken or of another size than the others while ``own.size`` is not set.
    """
    assert own.folder is not None
    files = image_files.in_folder(Path(own.folder))
    found = splits(files)
    names = [name for split in found.values() for name, _ in split]
    return arrays(files, found, image_files.survey(files, names, own.size), own.size)


def arrays(
    files: Files,
    found: dict[str, Labelled],
    shape: tuple[int, int, int],
    size: int | None = None,
) -> dict[str, np.ndarray]:
    """Images and labels of each split; arguments as those of :func:`swim.data.image_files.decode`.

    Raises:
        DataError: an image is broken or of another size.
    """
    made = {}
    for split, labelled in found.items():
        names = [name for name, _ in labelled]
        made[f"{split}_images"] = image_files.decode(files, names, shape, size)
        made[f"{split}_labels"] = np.array([label for _, label in labelled], dtype=np.int64)
    return made


def splits(files: Files) -> dict[str, Labelled]:
    """Which images are for training and which for testing, with their classes.

    Raises:
        DataError: the layout is neither of the two that are known, or is incomplete.
    """
    # Some sort its validation images into folders of their classes after unpacking.
    original = any(name.startswith("val/images/") for name in files.names)
    listed = LISTS[0] in files.names
    found = _tiny_imagenet(files) if listed and original else _image_folder(files, not listed)
    return {split: _in_turn(labelled) for split, labelled in found.items()}


_EXPECTED = (
    "expected train/CLASS/*.png and test/CLASS/*.png or val/CLASS/*.png, or the files of Tiny "
    f"ImageNet; images end in {', '.join(EXTENSIONS)}"
)


def _image_folder(files: Files, use_test: bool) -> dict[str, Labelled]:
    tested = use_test and any(name.startswith("test/") for name in files.names)
    test = "test" if tested else "val"
    inside = {
        split: [name for name in files.names if name.startswith(f"{place}/") and name not in LISTS]
        for split, place in (("train", "train"), ("test", test))
    }
    _none_empty(files, inside)
    numbers = _numbers(files, inside["train"])
    return {split: _by_folder(files, names, numbers) for split, names in inside.items()}


def _none_empty(files: Files, found: Mapping[str, Sequence[object]]) -> None:
    for split, images in found.items():
        if not images:
            raise DataError(f"{files.root}: no image for {split}ing ({_EXPECTED})")


def _numbers(files: Files, names: Iterable[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(sorted({_class(files, n) for n in names}))}


def _class(files: Files, name: str) -> str:
    parts = name.split("/")
    if len(parts) < 3:
        raise DataError(f"{files.at(name)} is in no class's folder ({_EXPECTED})")
    return parts[1]


def _by_folder(files: Files, names: Iterable[str], numbers: dict[str, int]) -> Labelled:
    labelled = []
    for name in names:
        if _class(files, name) not in numbers:
            raise DataError(
                f"{files.at(name)}: there is no class {_class(files, name)!r} for training; there "
                f"are {', '.join(list(numbers)[:5])} ... ({len(numbers)})"
            )
        labelled.append((name, numbers[_class(files, name)]))
    return labelled


def _tiny_imagenet(files: Files) -> dict[str, Labelled]:
    classes, annotations = LISTS
    numbers = {name: i for i, name in enumerate(sorted(_text(files, classes).split()))}
    train = _by_folder(files, (n for n in files.names if n.startswith("train/")), numbers)
    if annotations not in files.names:
        raise DataError(
            f"{files.at(annotations)} is missing: it says which class each image in val/images has"
        )
    images = {name for name in files.names if name.startswith("val/images/")}
    test = []
    for line in _text(files, annotations).splitlines():
        image, _, rest = line.partition("\t")
        name, label = f"val/images/{image}", rest.partition("\t")[0]
        if name not in images or label not in numbers:
            raise DataError(
                f"{files.at(annotations)}: {line!r} is not an image of val/images, a tab and a "
                f"class of {classes}, or names one a second time"
            )
        images.remove(name)
        test.append((name, numbers[label]))
    if images:
        raise DataError(f"{files.at(annotations)} does not name {min(images)}")
    found = {"train": train, "test": test}
    _none_empty(files, found)
    return found


def _text(files: Files, name: str) -> str:
    try:
        return files.read(name).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{files.at(name)}: {error}") from error


def _in_turn(labelled: Labelled) -> Labelled:
    """One of each class, then the second of each; within a class by name."""
    seen: Counter[int] = Counter()
    ranked = []
    for name, label in sorted(labelled):
        ranked.append((seen[label], label, name))
        seen[label] += 1
    return [(name, label) for _, label, name in sorted(ranked)]
