"""Give files of an earlier version the digests that later steps ask for; their content stays.

What a file was made from is taken from where it lies: ``{experiment}/model.safetensors`` and
``data/{dataset}.safetensors`` beside the experiment's folder. That its layers have the names and
shapes of that checkpoint, and that its rows are whole, is checked; the rest is its owner's word.
"""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from swim.errors import DataError
from swim.reports import accuracy_tables
from swim.runtime import csv_files, digests, files, provenance
from swim.runtime.digests import Record
from swim.settings import layout

# In this order: what others are made from comes first.
KINDS = ("data set", "checkpoint", "second derivatives", "mask", "table")
_CHIPS = {"chip", "accuracy", "nwc"}


def stamp(paths: Iterable[str | os.PathLike[str]]) -> Iterator[str]:
    """Add digests to files, or to all files of folders; one line for each that is done.

    Files that have digests already are checked, and left as they are.

    Raises:
        DataError: a file is missing, damaged, of no kind that carries digests, or does not go with
            the checkpoint that it lies beside. Files before it are done.
    """
    found = [(_kind(path), path) for path in _files(paths)]
    for kind, path in sorted(found, key=lambda item: (KINDS.index(item[0]), str(item[1]))):
        yield f"{path}: {_stamp(kind, path)}"


def _files(paths: Iterable[str | os.PathLike[str]]) -> Iterator[Path]:
    for path in map(Path, paths):
        if path.is_dir():
            yield from (
                file
                for file in sorted(path.rglob("*"))
                if file.suffix in (".safetensors", ".npz", ".csv") and file.is_file()
                and not file.name.startswith(".")
            )  # fmt: skip
        elif path.is_file():
            yield path
        else:
            raise DataError(f"{path}: no such file")


def _kind(path: Path) -> str:
    """What a file is, by its content."""
    with path.open("rb") as file:
        start = file.read(9)
    if path.suffix == ".csv":
        return "table"
    if start.startswith(b"PK"):
        return "mask"
    if start[8:] != b"{":
        raise DataError(
            f"{path}: is no table (.csv), mask (.npz) or safetensors file; these carry digests"
        )
    arrays, record = _arrays(path)
    if "train_images" in arrays:
        return "data set"
    return "checkpoint" if "programmed" in record else "second derivatives"


def _stamp(kind: str, path: Path) -> str:
    """Do one file; what was done."""
    if kind == "table":
        return _stamp_table(path)
    if kind == "mask":
        return _stamp_mask(path)
    arrays, record = _arrays(path)
    if "digest" in record:
        files.load_arrays(path)
        return f"{kind}, has its digest"
    if kind == "second derivatives":
        made_from = _origin(path, {name: array.shape for name, array in arrays.items()})
    else:
        made_from = _data_of(path.parent.parent, record) if kind == "checkpoint" else {}
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise DataError(f"{path}: {name} has values that are not finite; make it again")
    files.save_arrays(path, arrays, {**record, **({"made_from": made_from} if made_from else {})})
    return f"{kind}, stamped{_said(made_from)}"


def _arrays(path: Path) -> tuple[dict[str, np.ndarray], Record]:
    """Arrays and record of a safetensors file, unchecked."""
    from safetensors import safe_open

    with files.reading(path, "safetensors"), safe_open(path, framework="np") as file:
        metadata = file.metadata() or {}
        if "swim" not in metadata:
            raise DataError(f"{path}: carries no SWIM settings; was it written by another program?")
        record = json.loads(metadata["swim"])
        return {name: file.get_tensor(name) for name in record["names"]}, record


def _stamp_mask(path: Path) -> str:
    packed, record = files.read_packed(path)
    if "digest" in record:
        files.load_mask(path)
        return "mask, has its digest"
    mask = files.unpacked(path, packed, record)
    made_from = _origin(path, {name: layer.shape for name, layer in mask.items()})
    made_from.pop("data", None)
    files.save_mask(path, mask, {**record, "made_from": made_from})
    return f"mask, stamped{_said(made_from)}"


def _stamp_table(path: Path) -> str:
    if digests.beside(path).is_file():
        files.read_table(path)
        return "table, has its digest"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    columns = set(text.partition("\n")[0].strip().split(","))
    if columns >= _CHIPS or path.stem == layout.CLEAN:
        table = csv_files.parsed(path, text.encode())
        accuracy_tables.check_chips(path, table)
        if "chip" in table and table["chip"].tolist() != list(range(len(table))):
            raise DataError(
                f"{path}: chips are missing or out of order; delete it and make it again"
            )
        point = provenance.place_of(path)
    elif (sigma := provenance.sigma_of(path.stem)) is not None:
        point = {"sigma": sigma}
    else:
        point = {}
    made_from = _origin(path) if point else {}
    if point.get("method") in ("clean", None):
        point.pop("method", None)
    record: dict[str, Any] = {"made_from": made_from}
    if point:
        record["point"] = {
            key: point[key] for key in ("sigma", "method", "fraction") if key in point
        }
    files.seal_table(path, text, record)
    return f"table, stamped{_said(made_from)}"


def _origin(path: Path, shapes: dict[str, tuple[int, ...]] | None = None) -> dict[str, str]:
    """Digests of the checkpoint in whose experiment a file lies, and of its data set.

    Raises:
        DataError: the layers are not those of the checkpoint.
    """
    for folder in path.resolve().parents:
        model = folder / layout.MODEL_FILE
        if not model.is_file():
            continue
        record = files.read_settings(model)
        programmed = {n: tuple(record["arrays"][n][1]) for n in record["programmed"]}
        if shapes is not None and shapes != programmed:
            raise DataError(
                f"{path}: is of another network than {model}; delete it and make it again"
            )
        return {"model": record["digest"], **_data_of(folder.parent, record)}
    return {}


def _data_of(results: Path, record: Record) -> dict[str, str]:
    """Digest of the prepared data set that a record names."""
    path = results.resolve() / layout.DATA_FILE.format(dataset=record.get("dataset"))
    return {"data": files.read_settings(path)["digest"]} if path.is_file() else {}


def _said(made_from: dict[str, str]) -> str:
    names = [digests.NAMES[kind] for kind in made_from]
    return f" as made from the {' and the '.join(names)} that it lies beside" if names else ""
