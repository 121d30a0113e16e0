"""Texts that become file names, targets, paths and arguments: what they may hold."""

import json
import math
import os
import re
from collections.abc import Mapping
from typing import Any

from swim.errors import short
from swim.settings.registry import foreign

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]*")
# What readers of CSV files, pandas' too, take for something else than text.
MISREAD = re.compile(r"\d+(e\d+)?|0x[0-9a-f]+|none|null|nan?|true|false|inf(inity)?", re.IGNORECASE)
REPEATED = re.compile(r"(.+)\1{9}$")  # Snakemake looks for endless loops at 20
# Names are parts of file names, which have at most 255 bytes.
LONGEST_NAME, LONGEST_FILE, LONGEST_PATH, LONGEST_ARGUMENTS = 80, 255, 2000, 20_000


def name(value: Any) -> Any:
    """Check the name of an experiment, a device, a data set or a comparison.

    Raises:
        ValueError: it cannot be part of a file name and of a target.
    """
    if not isinstance(value, str):
        raise ValueError(f"a name is text: quote {short(value)}")
    rule = "a name has letters a to z, A to Z, digits and _, and begins with a letter or a digit"
    if not NAME.fullmatch(value):
        odd = foreign(value) or next((repr(c) for c in value if not re.match(r"\w", c)), "")
        found = f"it has {odd}" if odd else "it begins with _" if value else "it is empty"
        raise ValueError(f"{short(value)} is no name: {found}; {rule}")
    if len(value) > LONGEST_NAME:
        raise ValueError(f"is a name of {len(value)} characters; at most {LONGEST_NAME} will do")
    if MISREAD.fullmatch(value):
        raise ValueError(
            f"{short(value)} is no name: readers of tables take it for a number, for true or "
            f"false, or for nothing; choose another, such as {short('run_' + value)}"
        )
    if REPEATED.search(value):
        raise ValueError(f"{short(value)} repeats itself so often that Snakemake refuses it")
    return value


def path(value: str) -> str:
    """Check the path of a file or a folder, which Snakemake and the steps take as it is.

    Raises:
        ValueError: something in it would be read otherwise; the message says what to do.
    """
    shown = short(value)
    if not value.strip():
        raise ValueError("is an empty path; name a file or a folder")
    if value != value.strip():
        raise ValueError(f"{shown} begins or ends with a blank; remove it")
    if not value.isprintable():
        odd = next(c for c in value if not c.isprintable())
        raise ValueError(f"{shown} has the character U+{ord(odd):04X}, which no path of ours may")
    if braces := [character for character in "{}<>" if character in value]:
        raise ValueError(
            f"{shown} has {braces[0]}, which begins or ends a wildcard of Snakemake's; rename the "
            "file or the folder, or make a link without it"
        )
    if value[0] in "~$":
        raise ValueError(f"{shown}: {value[0]} is not expanded here; write the whole path")
    if "://" in value:
        raise ValueError(f"{shown} is an address; download it, and give the path of the file")
    longest = max(len(os.fsencode(part)) for part in value.split("/"))
    if longest > LONGEST_FILE or len(os.fsencode(value)) > LONGEST_PATH:
        raise ValueError(f"{shown} is longer than the names of files may be")
    return value


def arguments(value: dict[str, Any]) -> dict[str, Any]:
    """Check the arguments of a user's function: JSON, so that steps and digests see the same.

    Raises:
        ValueError: there is a number that is not finite, a date, or a key that is no text.
    """
    check_json(value)
    if len(json.dumps(value)) > LONGEST_ARGUMENTS:
        raise ValueError(
            f"has more than {LONGEST_ARGUMENTS:,} characters; put them into a file, and name that"
        )
    return value


def check_json(value: Any, where: str = "", depth: int = 0) -> None:
    """Raise ValueError where a value is not JSON: finite numbers, text, lists and mappings."""
    shown = f"{where.lstrip('.')}: " if where else ""
    if depth > 20:
        raise ValueError(f"{shown[:60]}is nested more than 20 levels deep")
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ValueError(f"{shown}the key {short(key)} is no text: quote it")
            check_json(item, f"{where}.{key}", depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            check_json(item, f"{where}.{index}", depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{shown}must be a finite number (got {value})")
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**63:
        raise ValueError(f"{shown}must be less than 2^63 (got {short(value)})")
    elif isinstance(value, str):
        if any(0xD800 <= ord(character) < 0xE000 for character in value):
            raise ValueError(f"{shown}has half a surrogate pair, which is no text")
    elif value is not None and not isinstance(value, bool | int | float):
        raise ValueError(f"{shown}must be text, a number, true, false, null, or a list or mapping")
