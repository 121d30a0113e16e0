"""``swim watch``."""

import shutil
import sys
import time
from pathlib import Path

import click

from swim.errors import SettingError
from swim.reports import running

_CLEAR = "\x1b[H\x1b[2J"  # the cursor to the top left, and an empty screen


@click.command()
@click.argument("folder", type=click.Path(file_okay=False))
@click.option("--once", is_flag=True, help="print once, every point, and end")
@click.option(
    "--every", type=float, default=5.0, show_default=True, help="seconds between two looks"
)
def watch(folder: str, once: bool, every: float) -> None:
    """Show how far an experiment is: every point's chips, mean accuracy and time left.

    FOLDER is results/EXPERIMENT. It is looked at again and again, until all points of the
    experiment are finished or Ctrl-C. Nothing is changed, and nothing has to be there yet.
    """
    if not every > 0:
        raise SettingError(f"--every must be a number of seconds above 0, not {every:g}")
    if not once:
        click.echo(f"{folder}, every {every:g} s; Ctrl-C ends this, not the run", err=True)
    before: list[str] = []
    place = Path(folder)
    try:
        while True:
            found = running.states(place)
            before = _show(place, found, once, before)
            if once or running.complete(place, found):
                return
            time.sleep(every)
    except KeyboardInterrupt:
        return


def _show(place: Path, found: list[running.State], once: bool, before: list[str]) -> list[str]:
    """Print a table: on a terminal in place of the last one, else where it differs from that."""
    on_screen = not once and sys.stdout.isatty()
    most = shutil.get_terminal_size().lines - 1 if on_screen else None
    lines = running.lines(place.resolve().name, found, most) if found else running.stage(place)
    if on_screen:
        click.echo(_CLEAR, nl=False)
    if on_screen or lines != before:
        click.echo("\n".join(lines if on_screen or once else [*lines, ""]))
    return lines
