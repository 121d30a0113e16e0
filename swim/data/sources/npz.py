"""A user's own images, from one ``.npz`` file of numpy arrays."""

from pathlib import Path

import numpy as np

from swim.errors import DataError
from swim.settings import OwnDataSet

_MOST = 1_000_000  # largest label: a network has an output for each class
KEYS = ("x_train", "y_train", "x_test", "y_test")


def load(own: OwnDataSet) -> dict[str, np.ndarray]:
    """Both splits, as in the other data sets.

    Args:
        own: settings that name a file with ``x_train`` and ``x_test``, uint8 images (N, H, W),
            (N, H, W, C) or (N, C, H, W), and ``y_train`` and ``y_test``, whole numbers (N,) from 0.

    Raises:
        DataError: the file is missing or has other content; the message says what is wrong.
    """
    assert own.file is not None
    path = Path(own.file)
    arrays = _read(path)
    found = {}
    for split in ("train", "test"):
        images, labels = arrays[f"x_{split}"], arrays[f"y_{split}"]
        found[f"{split}_images"] = _channels_first(path, f"x_{split}", images)
        found[f"{split}_labels"] = _whole_numbers(path, f"y_{split}", labels, len(images))
    shapes = [found[f"{split}_images"].shape[1:] for split in ("train", "test")]
    if shapes[0] != shapes[1]:
        raise DataError(f"{path}: training images are {shapes[0]}, test images {shapes[1]}")
    most = found["train_labels"].max()
    if (top := found["test_labels"].max()) > most:
        raise DataError(
            f"{path}: y_test has a class that y_train lacks: label {top} of image "
            f"{np.argmax(found['test_labels'])}, while y_train ends at {most}"
        )
    return found


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            missing = [key for key in KEYS if key not in file]
            if missing:
                raise DataError(
                    f"{path} has no {', '.join(missing)}; it must hold {', '.join(KEYS)}, and has "
                    f"{', '.join(file) or 'nothing'}"
                )
            return {key: file[key] for key in KEYS}
    except FileNotFoundError:
        raise DataError(f"{path} is missing; it must hold {', '.join(KEYS)}") from None
    except DataError:
        raise
    except Exception as error:  # zipfile and numpy raise errors of any kind on damaged bytes
        raise DataError(f"{path} is no whole .npz file of plain arrays: {error}") from error


def _channels_first(path: Path, key: str, images: np.ndarray) -> np.ndarray:
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or not images.size:
        raise DataError(
            f"{path}: {key} is {images.dtype} {images.shape}; images must be uint8, 0 to 255, "
            "(N, H, W), (N, H, W, C) or (N, C, H, W)"
        )
    if images.ndim == 3:
        return images[:, None]
    if images.shape[3] in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    elif images.shape[1] not in (1, 3):
        raise DataError(f"{path}: {key} is {images.shape}; no dimension of it is 1 or 3 channels")
    return np.ascontiguousarray(images)


def _whole_numbers(path: Path, key: str, labels: np.ndarray, count: int) -> np.ndarray:
    if labels.size != count or labels.shape[0] != count:
        one_hot = labels.ndim == 2 and len(labels) == count
        way = f"; class numbers of one-hot labels are {key}.argmax(1)" if one_hot else ""
        raise DataError(f"{path}: {key} is {labels.shape} for {count} images{way}")
    if labels.dtype.kind not in "iu":
        raise DataError(f"{path}: {key} must be whole numbers from 0, not {labels.dtype}")
    wrong = [f"{np.argmin(labels)} is {labels.min()}"] if labels.min() < 0 else []
    if labels.max() > _MOST:  # a mistake, or numbers that are not classes
        wrong.append(f"{np.argmax(labels)} is {labels.max()}")
    if wrong:
        raise DataError(
            f"{path}: {key} must be whole numbers from 0, one for each class; that of image "
            f"{wrong[0]}"
        )
    return labels.reshape(count).astype(np.int64)
