"""Arguments and messages of the steps; nothing here changes a result."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from tqdm import tqdm

FILE = click.Path(dir_okay=False)
# A checkpoint names the function that made its network; only the user may have it called.
trusted_network = click.option(
    "--network", help="where the checkpoint's network is of your own: its import, package:function"
)


@contextmanager
def progress_bar(total: int, unit: str, done: int = 0) -> Iterator[Any]:
    """A progress bar on a terminal, nothing in a log."""
    with tqdm(total=total, initial=done, unit=unit, disable=None, leave=False) as bar:
        yield bar


class Bars:
    """Progress of several steps one after the other: a bar each on a terminal, nothing in a log."""

    def __init__(self) -> None:
        self._bar: Any = None

    def __call__(self, step: str, done: int, total: int) -> None:
        """So much of a step is done."""
        if self._bar is None:
            self._bar = tqdm(total=total, desc=step, disable=None, leave=False)
        self._bar.update(done - self._bar.n)
        if done >= total:
            self._bar.close()
            self._bar = None
