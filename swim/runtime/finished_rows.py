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
from pathlib import Path
from typing import Any

from swim.runtime import digests, files

Row = Sequence[Any]


class Progress:
    """The rows of chips 0, 1, ... that were made under one digest.

    Attributes:
        rows: one sequence of values a chip, in order.
    """

    def __init__(self, output: str | os.PathLike[str], digest: str, seconds: float = 10.0):
        """Read what an earlier run left for ``output``; rows of another digest are discarded.

        Args:
            output: the file that the rows are for; progress is ``.{stem}.progress.json`` beside it.
            digest: of everything that the rows depend on.
            seconds: time between two writes.
        """
        output = Path(output)
        self._path = output.with_name(f".{output.stem}.progress.json")
        self._digest, self._seconds = digest, seconds
        self._written = time.monotonic()
        self.rows: list[Row] = self._read()
        self._saved = len(self.rows)

    def _read(self) -> list[Row]:
        try:
            content: Any = json.loads(self._path.read_bytes())
            rows, sums = list(content["rows"]), list(content["sums"])
            if content["digest"] != self._digest:
                return []
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return []  # none, or not a whole one: its rows are made again
        # What comes before a damaged, lost or repeated row is kept; the rest is made again.
        whole = itertools.takewhile(
            lambda n: sums[n : n + 1] == [self._sum(n, rows[n])], range(len(rows))
        )
        return [rows[n] for n in whole]

    def _sum(self, number: int, row: Row) -> str:
        """A digest of a row and its place."""
        return digests.of_json([self._digest, number, list(row)])[:16]

    def add(self, row: Row) -> None:
        """Take the next chip's row; it is on disk after a few seconds."""
        self.rows.append(list(row))
        if time.monotonic() - self._written > self._seconds:
            self.save()

    def save(self) -> None:
        """Write all rows, whole or not at all."""
        if len(self.rows) != self._saved:
            sums = [self._sum(number, row) for number, row in enumerate(self.rows)]
            content = {"digest": self._digest, "rows": self.rows, "sums": sums}
            files.write_text(self._path, json.dumps(content))
            self._saved = len(self.rows)
        self._written = time.monotonic()


def digest_of(parts: Iterable[bytes]) -> str:
    """One digest of several pieces of content, each told apart from the next."""
    import hashlib

    whole = hashlib.blake2b(digest_size=16)
    for part in parts:
        whole.update(hashlib.blake2b(part, digest_size=16).digest())
    return whole.hexdigest()
