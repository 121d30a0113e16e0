"""``swim cycles``."""

import functools
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import pandas as pd

from swim import settings
from swim.cli.console import FILE
from swim.cli.options import json_object
from swim.errors import DataError, SettingError
from swim.reports import cycles_to_accuracy
from swim.runtime import files
from swim.runtime.latex import from_markdown
from swim.settings import layout, validation
from swim.settings.decimals import canonical

points_option = click.option(
    "--points", help="devices, sigmas, methods, fractions, as JSON; without: all there"
)
within_option = functools.partial(
    click.option, "--within", multiple=True, default=("0.1", "0.5", "1"), show_default=True
)


def chosen_points(points: str | None) -> settings.SummariseJob | None:
    """What ``--points`` asks for; None for all points that are there.

    Raises:
        SettingError: it is not JSON of such points.
    """
    return (
        validation.parse(settings.SummariseJob, json_object(points), "points") if points else None
    )


@click.command()
@click.argument("folders", nargs=-1, type=click.Path(file_okay=False))
@points_option
@click.option("--experiment", help="name in the table's first column; with FOLDERS")
@within_option(help="points of accuracy below everything verified; may be repeated")
@click.option("--table", "parts", multiple=True, type=FILE, help="one to join, instead of FOLDERS")
@click.option("--out", required=True, type=FILE, help="table to write (.csv)")
@click.option("--markdown", type=FILE, help="the same to read, to write (.md)")
@click.option("--latex", type=FILE, help="the same for a paper, to write (.tex)")
def cycles(
    folders: tuple[str, ...],
    points: str | None,
    experiment: str | None,
    within: tuple[str, ...],
    parts: tuple[str, ...],
    out: str,
    markdown: str | None,
    latex: str | None,
) -> None:
    """Write cycles from which on a method is nearly as accurate as everything verified.

    FOLDERS are chips folders, with the files of `swim evaluate` in
    DEVICE/sigma-SIGMA/METHOD/FRACTION.csv; several are of networks that differ in their seed.
    """
    if bool(folders) == bool(parts) or bool(folders) != bool(experiment):
        raise SettingError("give either FOLDERS with --experiment, or --table")
    record: dict[str, Any] = {}
    if parts:
        found = pd.concat([cycles_to_accuracy.read(part) for part in parts])
    else:
        job = chosen_points(points)
        seeds = [chips_files(Path(folder), job) for folder in folders]
        within = drops(within)
        found = cycles_to_accuracy.table(
            seeds, experiment or "", within, custom=job.custom if job else ()
        )
        record["settings"] = {
            "experiment": experiment,
            "within": list(within),
            **({"points": job.model_dump(mode="json")} if job else {}),
        }
    files.write_table(out, found.to_csv(index=False, lineterminator="\n"), record)
    if markdown:
        files.write_text(markdown, cycles_to_accuracy.markdown(found))
    if latex:
        files.write_text(latex, from_markdown(cycles_to_accuracy.markdown(found)))


def drops(within: Iterable[str]) -> tuple[str, ...]:
    """Accuracy drops in percentage points, as settings spell them.

    Raises:
        SettingError: one is no number from 0 to 100.
    """
    try:
        return tuple(canonical(part, Decimal(0), Decimal(100), "within") for part in within)
    except ValueError as error:
        raise SettingError(str(error)) from None


def chips_files(
    folder: Path, job: settings.SummariseJob | None, pattern: str = layout.ALL_POINTS
) -> list[Path]:
    """The chips files of a folder: of some points, or all that are there.

    Args:
        folder: chips folder.
        job: the points, if they are not all.
        pattern: glob of all.

    Raises:
        DataError: there is none.
    """
    if job:
        return [folder / file for file in job.files()]
    found = sorted(path for path in folder.glob(pattern))
    if not found:
        raise DataError(f"{folder}: no DEVICE/sigma-SIGMA/METHOD/FRACTION.csv in it")
    return found
