"""The settings that files carry, against those that they should have been made with.

Snakemake compares the settings of a run with those in its own records. Results that were copied
without these records are compared here.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from swim import digests, io
from swim.errors import DataError, SettingError

_SHOWN = 10


def settings_in(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The settings that a file of ours was made with.

    Raises:
        DataError: it is missing, damaged, or carries no digest.
    """
    if Path(path).suffix == ".csv":
        return dict(io.read_record(path).get("settings", {}))
    if Path(path).suffix == ".npz":
        return io.load_mask(path)[1]
    return io.read_settings(path)


def require_settings(wanted: Iterable[tuple[str | os.PathLike[str], str]]) -> None:
    """Refuse files that were made with other settings.

    Args:
        wanted: files, and their settings as :func:`swim.spec.section_json` writes them. What a file
            does not say is not compared.

    Raises:
        SettingError: some differ; the message lists them.
        DataError: a file is damaged or carries no digest.
    """
    found = []
    for path, job in wanted:
        lines = list(differences(json.loads(job), settings_in(path)))
        found += [f"  {path}: {line}" for line in lines]
    if found:
        more = [f"  and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
        raise SettingError(
            "these results were made with other settings, and Snakemake has no record of them, as "
            "of a copy without its folder .snakemake:\n"
            + "\n".join([*found[:_SHOWN], *more])
            + "\nDelete them and what was made from them, or set the settings back"
        )


def differences(
    wanted: Mapping[str, Any], stored: Mapping[str, Any], prefix: str = ""
) -> Iterable[str]:
    """One line a setting that is stored and is another one."""
    for key, value in wanted.items():
        if key not in stored:
            continue
        other, name = stored[key], f"{prefix}{key}"
        if isinstance(value, dict) and isinstance(other, dict):
            yield from differences(value, other, f"{name}.")
        elif value != other:
            yield f"{name} is {json.dumps(other)} there and {json.dumps(value)} now"


def require_content(path: str | os.PathLike[str], checkpoint: str) -> None:
    """Refuse a checkpoint that was adopted from another file than the one that is set.

    Raises:
        DataError: it was; or a file cannot be read.
    """
    made_from = io.read_settings(path).get("made_from", {})
    if "checkpoint" in made_from and made_from["checkpoint"] != digests.of_file(checkpoint):
        raise DataError(
            f"{path}: was adopted from another file than {checkpoint}; delete it, and what was "
            "made from it"
        )
