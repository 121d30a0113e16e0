"""Digests: what a file held when it was written, and what it was made from.

A *record* is a JSON object that a file carries inside it, or beside it where other programs read
the file as it is. It holds digests of the content and, under ``made_from``, of the files that the
content was made from, and is itself *sealed*: ``digest`` covers all the rest of it. None of these
depends on code or on versions, so equal content has equal digests for ever.
"""

import hashlib
import json
import os
import shlex
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from swim.errors import DataError
from swim.runtime.writing import atomic

Record = dict[str, Any]
_LETTERS = 32  # 128 bits
NAMES = {"data": "data set", "model": "checkpoint", "sensitivity": "second derivatives",
          "mask": "mask", "checkpoint": "file of a trained network",
          "levels": "table of levels"}  # fmt: skip


def of_bytes(content: Any) -> str:
    """A digest of bytes, or of anything that gives them out as one block."""
    # As fast as memory on processors with instructions for it: 1 GB/s, where BLAKE2 takes 0.5.
    return hashlib.sha256(content).hexdigest()[:_LETTERS]


def of_array(array: np.ndarray) -> str:
    """A digest of an array's bytes in row-major order."""
    return of_bytes(np.ascontiguousarray(array).reshape(-1).view(np.uint8))


def of_json(content: Any) -> str:
    """A digest of what JSON says, however it is laid out."""
    return of_bytes(json.dumps(content, sort_keys=True).encode())


def of_file(path: str | os.PathLike[str]) -> str:
    """A digest of a file's bytes.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:_LETTERS]
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def sealed(record: Mapping[str, Any]) -> Record:
    """A record with a digest of itself."""
    rest = {key: value for key, value in record.items() if key != "digest"}
    return {**rest, "digest": of_json(rest)}


def is_sealed(record: Any) -> bool:
    """Whether a record is one that :func:`sealed` gave, unchanged."""
    return isinstance(record, dict) and "digest" in record and sealed(record) == record


def damaged(path: str | os.PathLike[str], detail: str = "") -> DataError:
    """The error for a file that is no longer what was written."""
    return DataError(
        f"{path}: is not what it was when it was written{f' ({detail})' if detail else ''}; delete "
        "it and make it again"
    )


def unstamped(path: str | os.PathLike[str], detail: str = "") -> DataError:
    """The error for a file without a digest."""
    return DataError(
        f"{path}: carries no digest of its content{detail}. If an earlier version wrote it "
        f"and is what you take it for, say so:\n  swim stamp {shlex.quote(str(path))}\nElse delete "
        "it and make it again"
    )


def beside(path: str | os.PathLike[str]) -> Path:
    """The hidden file that holds the record of a file that cannot carry one."""
    path = Path(path)
    return path.with_name(f".{path.name}.digest.json")


def write_beside(path: str | os.PathLike[str]) -> None:
    """Write a digest of a file of no kind of ours beside it."""
    with atomic(beside(path)) as temporary:
        temporary.write_text(json.dumps(sealed({"content": of_file(path)})) + "\n")


def require_intact(path: str | os.PathLike[str]) -> None:
    """Refuse a file that is damaged, as far as it can be known of a file of the user's own.

    What :func:`write_beside` wrote is compared, if it is there. Files of ``torch.save`` are zip
    files, whose sums torch writes but does not look at.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        record = json.loads(beside(path).read_bytes())
    except FileNotFoundError:
        record = None
    except (OSError, ValueError):
        record = {}
    if record is not None and (not is_sealed(record) or record.get("content") != of_file(path)):
        raise DataError(
            f"{path}: is not what it was when it was written. Delete it and make it again; or, if "
            f"it is another file that you put there, delete {beside(path)}"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            members = {member.filename: member.CRC for member in archive.infolist()}
            wrong = archive.testzip()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except Exception:  # no zip file, or one whose reader will say what is wrong
        return
    if wrong is not None and members[wrong]:  # torch can be told to write no sums
        raise DataError(f"{path}: is damaged: {wrong} in it is not what its checksum says")


def require_origin(
    path: str | os.PathLike[str],
    record: Mapping[str, Any],
    **inputs: tuple[str | os.PathLike[str], str],
) -> None:
    """Refuse a file that was made from other files than those it is now used with.

    Args:
        path: the file.
        record: its record.
        inputs: ``data``, ``model``, ``sensitivity`` or ``mask`` -> (path, digest) that is given.
            What the record does not say cannot be compared.

    Raises:
        DataError: a digest differs; the message names both files.
    """
    made_from = record.get("made_from", {})
    for kind, (other, digest) in inputs.items():
        if made_from.get(kind, digest) != digest:
            raise DataError(
                f"{path}: was made from another {NAMES[kind]} than {other}; give the files of one "
                "experiment, or delete it and make it again from this"
            )
