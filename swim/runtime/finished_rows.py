"""Finished chips, kept beside an evaluation's output so that a later run goes on from them.

A killed job continues, and more chips or a finer precision extend what is there. Snakemake does
not know the file: it removes the output of a job that it starts, not this. Each row has a digest: a
row that is damaged is made again.
"""

import itertools
import json
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swim.runtime import digests, files

Row = Sequence[Any]
SUFFIX = ".progress.json"


def progress_file(output: Path) -> Path:
    """Where the finished rows of an output are kept."""
    return output.with_name(f".{output.stem}{SUFFIX}")


@dataclass(frozen=True)
class Watched:
    """What a progress file says to those who watch.

    Attributes:
        rows: finished rows, as far as they are whole.
        goal: how many there will be, if that is known.
        rate: rows per second of the run that wrote the file; None if that is not known.
        age: seconds since the file was written.
    """

    rows: list[Row]
    goal: int | None
    rate: float | None
    age: float


def watch(path: Path) -> Watched | None:
    """What a progress file says, whatever its digest; None where there is none that can be read."""
    try:
        written = path.stat().st_mtime
        content = json.loads(path.read_bytes())
        run = content.get("run", {})
        began, first, goal = run.get("began"), run.get("first"), run.get("goal")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
    _, rows = _whole(content)
    rate = None
    numbers = isinstance(began, int | float) and isinstance(first, int)
    if numbers and written > began and len(rows) > first:
        rate = (len(rows) - first) / (written - began)
    known = goal if isinstance(goal, int) else None
    return Watched(rows, known, rate, max(0.0, time.time() - written))


def _read(path: Path) -> tuple[str, list[Row]]:
    """:func:`_whole` of a file; no rows where there is none that can be read."""
    try:
        return _whole(json.loads(path.read_bytes()))
    except (OSError, ValueError, RecursionError):
        return "", []  # its rows are made again


def _whole(content: Any) -> tuple[str, list[Row]]:
    """The digest that the rows of a file's content were made under, and those that are whole."""
    try:
        rows, sums = list(content["rows"]), list(content["sums"])
        digest = content["digest"]
    except (KeyError, TypeError):
        return "", []
    # What comes before a damaged, lost or repeated row is kept; the rest is made again.
    whole = itertools.takewhile(
        lambda n: sums[n : n + 1] == [_sum(digest, n, rows[n])], range(len(rows))
    )
    return digest, [rows[n] for n in whole]


def _sum(digest: str, number: int, row: Row) -> str:
    """A digest of a row and its place."""
    return digests.of_json([digest, number, list(row)])[:16]


class Progress:
    """The rows of chips 0, 1, ... that were made under one digest.

    Attributes:
        rows: one sequence of values a chip, in order.
        goal: how many there will be, if that is known; for those who watch.
    """

    goal: int | None = None

    def __init__(self, output: str | os.PathLike[str], digest: str, seconds: float = 10.0):
        """Read what an earlier run left for ``output``; rows of another digest are discarded.

        Args:
            output: the file that the rows are for; progress is ``.{stem}.progress.json`` beside it.
            digest: of everything that the rows depend on.
            seconds: time between two writes.
        """
        self._path = progress_file(Path(output))
        self._digest, self._seconds = digest, seconds
        self._written = time.monotonic()
        known, rows = _read(self._path)
        self.rows: list[Row] = rows if known == digest else []
        self._began, self._first = time.time(), len(self.rows)

    def add(self, row: Row) -> None:
        """Take the next chip's row; it is on disk after a few seconds."""
        self.rows.append(list(row))
        if time.monotonic() - self._written > self._seconds:
            self._write({"began": self._began, "first": self._first, "goal": self.goal})
            self._written = time.monotonic()

    def save(self) -> None:
        """Write all rows, whole or not at all, at the end of a run; when it began is left out."""
        if self.rows:
            self._write(None)

    def _write(self, run: dict[str, Any] | None) -> None:
        sums = [_sum(self._digest, number, row) for number, row in enumerate(self.rows)]
        content: dict[str, Any] = {"digest": self._digest, "rows": self.rows, "sums": sums}
        if run is not None:
            content["run"] = run
        files.write_text(self._path, json.dumps(content))


def digest_of(parts: Iterable[bytes]) -> str:
    """One digest of several pieces of content, each told apart from the next."""
    import hashlib

    whole = hashlib.blake2b(digest_size=16)
    for part in parts:
        whole.update(hashlib.blake2b(part, digest_size=16).digest())
    return whole.hexdigest()
