"""How far a long piece of work is: a bar on a terminal, and for what asks for it lines in a log."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

SECONDS = 10  # between two lines


@contextmanager
def meter(
    what: str, total: int | None, unit: str, done: int = 0, closing: bool = True
) -> Iterator[Callable[[int], object]]:
    """Yield a function that is told how many more units are done.

    A terminal has a bar; a log has a line at the start, every ten seconds with the rate and the
    time left, and at the end.

    Args:
        what: what is worked on, for the user.
        total: units in all; None if that is not known.
        unit: its name; ``B`` is scaled to kB and MB.
        done: units that an earlier run did.
        closing: whether there is a line at the end; else the caller writes its own.
    """
    if sys.stderr.isatty():
        scaled = unit == "B"
        space = unit if scaled else f" {unit}"
        with tqdm(desc=what, total=total, initial=done, unit=space, unit_scale=scaled) as bar:
            yield bar.update
    else:
        lines = _Lines(what, total, unit, done)
        yield lines.update
        if closing:
            lines.write()


@contextmanager
def progress_bar(total: int, unit: str, done: int = 0) -> Iterator[Any]:
    """Yield a bar with ``update(more)``: shown on a terminal, and nothing in a log."""
    with tqdm(total=total, initial=done, unit=unit, disable=None, leave=False) as bar:
        yield bar


class Bars:
    """Progress of several steps one after the other: a bar each on a terminal, nothing in a log."""

    def __init__(self) -> None:
        """No step has begun."""
        self._bar: Any = None

    def __call__(self, step: str, done: int, total: int) -> None:
        """So much of a step is done."""
        if self._bar is None:
            self._bar = tqdm(total=total, desc=step, disable=None, leave=False)
        self._bar.update(done - self._bar.n)
        if done >= total:
            self._bar.close()
            self._bar = None


class _Lines:
    def __init__(self, what: str, total: int | None, unit: str, done: int):
        self._what, self._total, self._unit, self._done = what, total, unit, done
        self._first, self._began = done, time.monotonic()
        self.write()

    def update(self, more: int) -> None:
        self._done += more
        if time.monotonic() - self._written > SECONDS:
            self.write()

    def write(self) -> None:
        self._written = time.monotonic()
        total = "" if self._total is None else f" of {self._total:,}"
        line = f"{self._what}: {self._done:,}{total} {self._unit}{self._pace()}"
        print(line, file=sys.stderr, flush=True)

    def _pace(self) -> str:
        """The rate of this run so far, and the time left at that rate; nothing once all is done."""
        more, seconds = self._done - self._first, self._written - self._began
        if not more or not seconds or self._done == self._total:
            return ""
        rate = more / seconds
        text = f", {rate:,.0f}" if rate >= 10 else f", {rate:.2g}"
        text = f"{text} {self._unit}/s"
        if self._total is None:
            return text
        return f"{text}, {tqdm.format_interval((self._total - self._done) / rate)} left"
