"""Files: written whole or not at all, and carrying the settings that made them."""

import contextlib
import csv
import io
import json
import os
import re
import secrets
import socket
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from swim.errors import DataError

# Told apart on a file system that machines share; only letters that a pattern takes literally.
_HOST = re.sub(r"\W", "_", socket.gethostname())


@contextlib.contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it if the block succeeds.

    The temporary name is unique per process, and keeps the suffix, from which some writers
    take the format. What killed processes of this machine left under such names is removed.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target)
    temporary = target.with_name(
        f".{target.stem}.{_HOST}-{os.getpid()}-{secrets.token_hex(4)}{target.suffix}"
    )
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _sweep(target: Path) -> None:
    """Remove the temporary files of this machine's ended processes."""
    name = re.compile(
        rf"\.{re.escape(target.stem)}\.{_HOST}-(\d+)-[0-9a-f]{{8}}{re.escape(target.suffix)}"
    )
    for path in target.parent.glob(".*"):
        found = name.fullmatch(path.name)
        if found and not _runs(int(found[1])):
            path.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file whole."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write JSON with sorted keys, so that equal content gives equal bytes."""
    write_text(path, json.dumps(content, sort_keys=True, indent=2) + "\n")


def write_rows(
    path: str | os.PathLike[str], header: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Write a CSV; floats keep all their digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def save_arrays(
    path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], settings: Mapping[str, Any]
) -> None:
    """Write named arrays as safetensors, with ``settings`` and the arrays' order inside."""
    from safetensors.numpy import save_file

    record = json.dumps({**settings, "names": list(arrays)}, sort_keys=True)
    with atomic(path) as temporary:
        save_file(
            {k: np.ascontiguousarray(v) for k, v in arrays.items()}, temporary, {"swim": record}
        )
        _as_readable_as_others(temporary)


def _as_readable_as_others(path: Path) -> None:
    """Give a file the mode of any new file: safetensors writes for its owner's eyes alone."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def _open_tensors(path: str | os.PathLike[str], framework: str) -> Any:
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise DataError(f"{path}: no such file")
    try:
        return safe_open(path, framework=framework)
    except (SafetensorError, OSError) as error:
        raise DataError(
            f"{path}: not a complete safetensors file ({error}); delete it and make it again"
        ) from error


def read_settings(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The settings stored in a safetensors file of ours.

    Raises:
        DataError: the file is missing, cut off, or not one of ours.
    """
    with _open_tensors(path, "np") as file:
        metadata = file.metadata() or {}
    if "swim" not in metadata:
        raise DataError(f"{path}: carries no SWIM settings; was it written by another program?")
    settings: dict[str, Any] = json.loads(metadata["swim"])
    return settings


def load_arrays(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read named arrays, in the order they were given in, and the settings."""
    settings = read_settings(path)
    with _open_tensors(path, "np") as file:
        return {name: file.get_tensor(name) for name in settings["names"]}, settings


def load_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Like :func:`load_arrays`, as torch tensors mapped from the file."""
    settings = read_settings(path)
    with _open_tensors(path, "pt") as file:
        return {name: file.get_tensor(name) for name in settings["names"]}, settings


def save_mask(
    path: str | os.PathLike[str], mask: Mapping[str, np.ndarray], settings: Mapping[str, Any]
) -> None:
    """Write a boolean mask as packed bits, with names and shapes in the network's order."""
    record = {**settings, "shapes": {name: list(layer.shape) for name, layer in mask.items()}}
    record["names"] = list(mask)
    packed = {name: np.packbits(layer.reshape(-1)) for name, layer in mask.items()}
    with atomic(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **packed, **{"settings.json": np.array(json.dumps(record, sort_keys=True))})  # type: ignore[arg-type]


def load_mask(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what :func:`save_mask` wrote: name -> bool array shaped like the weight."""
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            settings = json.loads(str(file["settings.json"]))
            mask = {}
            for name in settings["names"]:
                shape = settings["shapes"][name]
                count = int(np.prod(shape))
                mask[name] = np.unpackbits(file[name], count=count).astype(bool).reshape(shape)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a complete mask file ({error}); make it again") from error
    return mask, settings
