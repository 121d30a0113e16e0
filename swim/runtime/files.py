"""Files: written whole or not at all, carrying the settings that made them and digests.

Whatever a later step reads is checked against its digest (:mod:`.digests`) as it is read.
"""

import contextlib
import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from swim.errors import DataError, SwimError
from swim.runtime import digests
from swim.runtime.digests import Record
from swim.runtime.writing import atomic as atomic


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file whole.

    Raises:
        DataError: the system does not let it be written; the message says why.
    """
    with atomic(path) as temporary:
        temporary.write_bytes(text.encode())


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write JSON with sorted keys, so that equal content gives equal bytes."""
    write_text(path, json.dumps(content, sort_keys=True, indent=2) + "\n")


def write_rows(
    path: str | os.PathLike[str],
    header: Sequence[str],
    rows: Iterable[Sequence[Any]],
    record: Mapping[str, Any] | None = None,
) -> None:
    """Write a CSV; floats keep all their digits. The rest is as in :func:`write_table`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_table(path, text.getvalue(), record)


def write_table(
    path: str | os.PathLike[str], text: str, record: Mapping[str, Any] | None = None
) -> None:
    """Write a CSV, and beside it the hidden file with its record.

    The record comes first: whoever sees the table finds it. Between the two, a table of an
    earlier run does not fit its record, and is refused.

    Args:
        path: the table.
        text: its content.
        record: ``made_from``, and what else is to be known of it.
    """
    seal_table(path, text, record)
    write_text(path, text)


def seal_table(
    path: str | os.PathLike[str], text: str, record: Mapping[str, Any] | None = None
) -> None:
    """Write the record of a table that has this text, but not the table."""
    content = digests.of_bytes(text.encode())
    write_json(digests.beside(path), digests.sealed({**(record or {}), "content": content}))


def read_table(path: str | os.PathLike[str]) -> tuple[bytes, Record]:
    """The bytes of a table and its record.

    Raises:
        DataError: it is missing, carries no digest, or is not what was written.
    """
    record = read_record(path)
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if digests.of_bytes(content) != record.get("content"):
        raise digests.damaged(path)
    return content, record


def read_record(path: str | os.PathLike[str]) -> Record:
    """The record beside a table, without reading the table.

    Raises:
        DataError: the table is missing, or its record is missing or damaged.
    """
    beside = digests.beside(path)
    if not Path(path).is_file():
        raise DataError(f"{path}: cannot be read (no such file)")
    try:
        record = json.loads(beside.read_bytes())
    except FileNotFoundError:
        detail = f" (a copy needs the hidden file {beside.name} beside it, too)"
        raise digests.unstamped(path, detail) from None
    except (OSError, ValueError, RecursionError) as error:
        raise digests.damaged(path, f"{beside.name} is damaged") from error
    if not digests.is_sealed(record):
        raise digests.damaged(path, f"{beside.name} is damaged")
    return dict(record)


def save_arrays(
    path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], settings: Mapping[str, Any]
) -> None:
    """Write named arrays as safetensors, with ``settings``, the arrays' order and digests inside.

    Args:
        path: the file.
        arrays: name -> array.
        settings: what is to be known of them; ``made_from`` has digests of other files.
    """
    from safetensors.numpy import save_file

    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    described = {name: _described(array) for name, array in whole.items()}
    record = digests.sealed({**settings, "names": list(whole), "arrays": described})
    with atomic(path) as temporary:
        save_file(whole, temporary, {"swim": json.dumps(record, sort_keys=True)})
        _as_readable_as_others(temporary)


def _described(array: np.ndarray) -> list[Any]:
    """What a record says of an array."""
    return [str(array.dtype), list(array.shape), digests.of_array(array)]


def _as_readable_as_others(path: Path) -> None:
    """Give a file the mode of any new file: safetensors writes for its owner's eyes alone."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


@contextlib.contextmanager
def reading(path: str | os.PathLike[str], kind: str) -> Iterator[None]:
    """Whatever a library says to a damaged file, as an error that says what to do."""
    if not Path(path).is_file():
        raise DataError(f"{path}: no such file")
    try:
        yield
    except SwimError:
        raise
    except Exception as error:
        raise DataError(
            f"{path}: not a complete {kind} file ({error}); delete it and make it again"
        ) from error


@contextlib.contextmanager
def _open_tensors(path: str | os.PathLike[str], framework: str) -> Iterator[tuple[Any, Record]]:
    """The open file and its record, which is checked; arrays are not."""
    from safetensors import safe_open

    with reading(path, "safetensors"), safe_open(path, framework=framework) as file:
        metadata = file.metadata() or {}
        if "swim" not in metadata:
            raise DataError(f"{path}: carries no SWIM settings; was it written by another program?")
        record = json.loads(metadata["swim"])
        if "digest" not in record:
            raise digests.unstamped(path)
        if not digests.is_sealed(record) or sorted(file.keys()) != sorted(record["names"]):
            raise digests.damaged(path)
        yield file, record


def read_settings(path: str | os.PathLike[str]) -> Record:
    """The settings stored in a safetensors file of ours, checked; the arrays are not read.

    ``digest`` among them stands for the file and all that it holds.

    Raises:
        DataError: the file is missing, damaged, without a digest, or not one of ours.
    """
    with _open_tensors(path, "np") as (_, record):
        return record


def load_arrays(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], Record]:
    """Read named arrays, in the order they were given in, and the settings.

    Raises:
        DataError: the file is missing, damaged, without a digest, or not one of ours.
    """
    with _open_tensors(path, "np") as (file, record):
        arrays = {name: file.get_tensor(name) for name in record["names"]}
        for name, array in arrays.items():
            check_array(path, record, name, array)
        return arrays, record


def load_tensors(path: str | os.PathLike[str], check: bool = True) -> tuple[dict[str, Any], Record]:
    """Like :func:`load_arrays`, as torch tensors mapped from the file.

    Args:
        path: the file.
        check: check all arrays now; else the caller does, with :func:`check_array`.
    """
    with _open_tensors(path, "pt") as (file, record):
        tensors = {name: file.get_tensor(name) for name in record["names"]}
        for name, tensor in tensors.items() if check else ():
            check_array(path, record, name, tensor.numpy())
        return tensors, record


def check_array(
    path: str | os.PathLike[str], record: Mapping[str, Any], name: str, array: np.ndarray
) -> None:
    """Compare an array with what the record of its file says of it.

    Raises:
        DataError: they differ.
    """
    if _described(array) != record["arrays"].get(name):
        raise digests.damaged(path, name)


def save_mask(
    path: str | os.PathLike[str], mask: Mapping[str, np.ndarray], settings: Mapping[str, Any]
) -> None:
    """Write a boolean mask as packed bits, with names and shapes in the network's order.

    Args:
        path: the file.
        mask: name -> bool array.
        settings: what is to be known of it; ``made_from`` has digests of other files.
    """
    packed = {name: np.packbits(layer.reshape(-1)) for name, layer in mask.items()}
    record = digests.sealed({
        **settings,
        "shapes": {name: list(layer.shape) for name, layer in mask.items()},
        "names": list(mask),
        "arrays": {name: digests.of_array(bits) for name, bits in packed.items()},
    })  # fmt: skip
    with atomic(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **packed, **{_SETTINGS: np.array(json.dumps(record, sort_keys=True))})  # type: ignore[arg-type]


_SETTINGS = "settings.json"


def load_mask(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], Record]:
    """Read what :func:`save_mask` wrote: name -> bool array shaped like the weight.

    Raises:
        DataError: the file is missing, damaged, without a digest, or no mask.
    """
    packed, record = read_packed(path)
    if "digest" not in record:
        raise digests.unstamped(path)
    if not digests.is_sealed(record) or set(packed) != set(record["names"]):
        raise digests.damaged(path)
    if {name: digests.of_array(bits) for name, bits in packed.items()} != record["arrays"]:
        raise digests.damaged(path)
    return unpacked(path, packed, record), record


def read_packed(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], Record]:
    """Packed bits and the record of a mask file, unchecked."""
    with (
        reading(path, "mask"),
        open(path, "rb") as raw,
        np.load(raw, allow_pickle=False) as file,
    ):
        record = json.loads(str(file[_SETTINGS]))
        return {name: file[name] for name in file.files if name != _SETTINGS}, dict(record)


def unpacked(
    path: str | os.PathLike[str], packed: Mapping[str, np.ndarray], record: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """The mask that packed bits stand for, in the record's order."""
    with reading(path, "mask"):
        mask = {}
        for name in record["names"]:
            shape = record["shapes"][name]
            count = int(np.prod(shape))
            if packed[name].size != -(-count // 8):
                raise digests.damaged(path, name)
            mask[name] = np.unpackbits(packed[name], count=count).astype(bool).reshape(shape)
        return mask
