"""What files say that they were made with, against what they should have been made with.

Snakemake compares the settings and inputs of a run with those in its own records. Results that were
copied without these records are compared here.
"""

import functools
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from swim.data import level_table
from swim.errors import SettingError
from swim.runtime import digests, files

_SHOWN = 10
# A file, its settings as section_json writes them, and the files it is made from by kind.
Wanted = tuple[str | os.PathLike[str], str, Mapping[str, str]]


def record_of(path: str | os.PathLike[str]) -> digests.Record:
    """The record of a file of ours.

    Raises:
        DataError: it is missing, damaged, or carries no digest.
    """
    if Path(path).suffix == ".csv":
        return files.read_record(path)
    if Path(path).suffix == ".npz":
        return files.load_mask(path)[1]
    return files.read_settings(path)


@functools.cache
def _digest(kind: str, path: str) -> str:
    """The digest by which a file is known to those that are made from it."""
    if kind == "levels":
        return digests.of_json(level_table.read(path))
    if kind == "checkpoint":
        return digests.of_file(path)
    return str(record_of(path)["digest"])


def require(wanted: Iterable[Wanted]) -> None:
    """Refuse files that were made with other settings, or from other files.

    What a file does not say is not compared, and neither are files that are not there.

    Raises:
        SettingError: some differ; the message lists them.
        DataError: a file is damaged or carries no digest.
    """
    found = [f"  {path}: {line}" for path, job, inputs in wanted
             for line in _differences(path, json.loads(job), inputs)]  # fmt: skip
    if found:
        more = [f"  and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
        raise SettingError(
            "these results were made with other settings, and Snakemake has no record of them, as "
            "of a copy without its folder .snakemake:\n"
            + "\n".join([*found[:_SHOWN], *more])
            + "\nDelete them and what was made from them, or set the settings back"
        )


def _differences(
    path: str | os.PathLike[str], job: Mapping[str, Any], inputs: Mapping[str, str]
) -> Iterator[str]:
    record = record_of(path)
    yield from differences(job, record.get("settings", record))
    made_from = record.get("made_from", {})
    for kind, source in inputs.items():
        # What is newer makes Snakemake make the file again.
        known = kind in made_from and Path(source).is_file() and not _newer(source, path)
        if known and made_from[kind] != _digest(kind, source):
            yield f"was made from another {digests.NAMES[kind]} than {source}"


def _newer(source: str | os.PathLike[str], path: str | os.PathLike[str]) -> bool:
    return os.path.getmtime(source) > os.path.getmtime(path)


def differences(
    wanted: Mapping[str, Any], stored: Mapping[str, Any], prefix: str = ""
) -> Iterator[str]:
    """One line a setting that is stored and is another one."""
    for key, value in wanted.items():
        if key not in stored:
            continue
        other, name = stored[key], f"{prefix}{key}"
        if isinstance(value, dict) and isinstance(other, dict):
            yield from differences(value, other, f"{name}.")
        elif value != other:
            yield f"{name} is {json.dumps(other)} there and {json.dumps(value)} now"
