"""``swim explore``."""

from pathlib import Path

import click

from swim import settings
from swim.cli.console import FILE
from swim.cli.cycles import chips_files, chosen_points, drops, points_option, within_option
from swim.cli.options import figure_options
from swim.errors import SettingError
from swim.reports.explorer import data, page
from swim.reports.plots.titles import words
from swim.runtime import files
from swim.settings import layout


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(file_okay=False))
@points_option
@click.option("--experiment", required=True, help="its name, or that of the comparison of several")
@click.option(
    "--member", "members", multiple=True, help="name of each of several FOLDERS, in their order"
)
@within_option(help="accuracy drops of its cycles_to_accuracy.csv, in points; may be repeated")
@click.option("--out", required=True, type=FILE, help="page to write (.html)")
@figure_options
def explore(
    folders: tuple[str, ...],
    points: str | None,
    experiment: str,
    members: tuple[str, ...],
    within: tuple[str, ...],
    out: str,
    job: settings.PlotJob,
) -> None:
    """Curves of an experiment to explore in a browser: one file, which needs no network.

    FOLDERS is its chips folder, with the files of `swim evaluate` in
    DEVICE/sigma-SIGMA/METHOD/FRACTION.csv; several are of networks that differ in their seed.
    """
    names = members or (experiment,) * (len(folders) == 1)
    if len(names) != len(folders) or len(set(names)) != len(names):
        raise SettingError(
            f"{len(folders)} folders with {len(set(names))} names: give each of several folders a "
            "--member NAME of its own"
        )
    chosen = chosen_points(points)
    found = data.explorer_data(
        {
            name: chips_files(Path(folder), chosen, layout.ALL_CHIPS_FILES)
            for name, folder in zip(names, folders, strict=True)
        },
        experiment,
        drops(within),
        words(job),
        custom=chosen.custom if chosen else (),
    )
    files.write_text(out, page.page(found))
