"""A measured device: standard deviation by level, from a CSV file."""

import csv
import math
import os
from collections.abc import Iterator
from pathlib import Path

from swim.errors import DataError

COLUMNS = ("level", "sigma")


def read(path: str | os.PathLike[str]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Levels and standard deviations of a file of measurements.

    Args:
        path: a CSV file whose header has ``level`` and ``sigma``, both as fractions of a device's
            full scale; other columns, empty lines and lines that start with ``#`` are ignored.

    Returns:
        Increasing levels in [0, 1], at least two, and the sigma of each.

    Raises:
        DataError: the file is missing, lacks a column, or has a faulty line; the message names it.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError, TypeError) as error:
        raise DataError(f"{path}: a table of levels cannot be read ({error})") from error
    numbered = [(n, line) for n, line in enumerate(lines, 1) if line.strip() and line[0] != "#"]
    first = _cells(f"{path}, line {numbered[0][0]}", numbered[0][1]) if numbered else []
    header = [name.strip() for name in first]
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise DataError(
            f"{path}: lacks the column {' and '.join(missing)}; a table of levels has the columns "
            f"level and sigma, this one has {', '.join(header) or 'none'}"
        )
    found = list(_rows(path, header, numbered[1:]))
    if len(found) < 2:
        raise DataError(f"{path}: a table needs two levels or more; this one has {len(found)}")
    levels, sigmas = zip(*found, strict=True)
    return levels, sigmas


def _rows(
    path: str | os.PathLike[str], header: list[str], lines: list[tuple[int, str]]
) -> Iterator[tuple[float, float]]:
    before = -math.inf
    for number, line in lines:
        where = f"{path}, line {number}"
        cells = dict(zip(header, _cells(where, line), strict=False))
        level, sigma = (_number(where, name, cells.get(name, "")) for name in COLUMNS)
        if not 0 <= level <= 1:
            raise DataError(f"{where}: level {level:g} is not between 0 and 1 of full scale")
        if level <= before:
            raise DataError(
                f"{where}: level {level:g} follows {before:g}; levels must rise, each but once"
            )
        if sigma < 0:
            raise DataError(f"{where}: sigma {sigma:g} is negative")
        before = level
        yield level, sigma


def _cells(where: str, line: str) -> list[str]:
    try:
        return next(csv.reader([line]))
    except (csv.Error, StopIteration) as error:
        raise DataError(f"{where}: is no line of a CSV file ({error})") from None


def _number(where: str, name: str, text: str) -> float:
    try:
        value = float(text.replace("_", "?"))  # Python accepts _ inside numbers
    except ValueError:
        raise DataError(f"{where}: {name} is {text.strip()!r}, not a number") from None
    if not math.isfinite(value):
        raise DataError(f"{where}: {name} is {text.strip()}, not a finite number")
    return value
