"""How far a long piece of work is: a bar on a terminal, and for what asks for it lines in a log."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from tqdm import tqdm

SECONDS = 10  # between two lines


class Meter(Protocol):
    """Is told how many more units are done: ``meter(3)``.

    Attributes:
        total: units in all, which may change while they are worked on; None if not known.
    """

    total: int | None

    def __call__(self, more: int) -> object:
        """So many more units are done."""


@contextmanager
def meter(
    what: str,
    total: int | None,
    unit: str,
    done: int = 0,
    closing: bool = True,
    beside: Callable[[], str] | None = None,
) -> Iterator[Meter]:
    """Yield what is told how many more units are done.

    A terminal has a bar; a log has a line at the start, every ten seconds with the rate and the
    time left, and at the end.

    Args:
        what: what is worked on, for the user.
        total: units in all; None if that is not known.
        unit: its name; ``B`` is scaled to kB and MB.
        done: units that an earlier run did.
        closing: whether there is a line at the end; else the caller writes its own.
        beside: returns what else is known so far, such as a mean; asked when it is shown.
    """
    if sys.stderr.isatty():
        scaled = unit == "B"
        space = unit if scaled else f" {unit}"
        with tqdm(desc=what, total=total, initial=done, unit=space, unit_scale=scaled) as bar:
            yield _Bar(bar, beside)
    else:
        lines = _Lines(what, total, unit, done, beside)
        yield lines
        if closing:
            lines.write()


@contextmanager
def progress_bar(total: int, unit: str, done: int = 0) -> Iterator[Any]:
    """Yield a bar with ``update(more)``: shown on a terminal, and nothing in a log."""
    with tqdm(total=total, initial=done, unit=unit, disable=None, leave=False) as bar:
        yield bar


def duration(seconds: float) -> str:
    """A time as bars and logs show it: ``01:05``, ``2:12:45``."""
    text: str = tqdm.format_interval(seconds)
    return text


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


class _Bar:
    def __init__(self, bar: Any, beside: Callable[[], str] | None):
        self._bar, self._beside, self._shown = bar, beside, 0.0

    @property
    def total(self) -> int | None:
        total: int | None = self._bar.total
        return total

    @total.setter
    def total(self, total: int | None) -> None:
        self._bar.total = total

    def __call__(self, more: int) -> None:
        if self._beside and time.monotonic() - self._shown > self._bar.mininterval:
            self._bar.set_postfix_str(self._beside(), refresh=False)
            self._shown = time.monotonic()
        self._bar.update(more)


class _Lines:
    def __init__(
        self, what: str, total: int | None, unit: str, done: int, beside: Callable[[], str] | None
    ):
        self._what, self.total, self._unit, self._done = what, total, unit, done
        self._beside = beside
        self._first, self._began = done, time.monotonic()
        self.write()

    def __call__(self, more: int) -> None:
        self._done += more
        if time.monotonic() - self._written > SECONDS:
            self.write()

    def write(self) -> None:
        self._written = time.monotonic()
        total = "" if self.total is None else f" of {self.total:,}"
        known = f", {self._beside()}" if self._beside and self._done else ""
        line = f"{self._what}: {self._done:,}{total} {self._unit}{known}{self._pace()}"
        print(line, file=sys.stderr, flush=True)

    def _pace(self) -> str:
        """The rate of this run so far, and the time left at that rate; nothing once all is done."""
        more, seconds = self._done - self._first, self._written - self._began
        if not more or not seconds or self._done == self.total:
            return ""
        rate = more / seconds
        text = f", {rate:,.0f}" if rate >= 10 else f", {rate:.2g}"
        text = f"{text} {self._unit}/s"
        if self.total is None:
            return text
        return f"{text}, {duration((self.total - self._done) / rate)} left"
