"""``swim summarise``."""

import os

import click

from swim import settings
from swim.cli.console import FILE
from swim.cli.options import json_object
from swim.errors import SettingError
from swim.reports import accuracy_tables, device_variance
from swim.runtime import files, provenance
from swim.runtime.latex import from_markdown
from swim.settings import validation


@click.command()
@click.argument("chips", nargs=-1, type=FILE)
@click.option("--folder", type=click.Path(file_okay=False), help="chips folder, instead of CHIPS")
@click.option("--points", help="with --folder: its devices, sigmas, methods, fractions, as JSON")
@click.option("--experiment", required=True, help="name in the table's first column")
@click.option("--model", required=True, help="name of the network in the table")
@click.option("--dataset", required=True, help="name of the data set in the table")
@click.option("--out", required=True, type=FILE, help="tidy table to write (.csv)")
@click.option("--paired", type=FILE, help="differences between methods, to write (.csv)")
@click.option("--markdown", type=FILE, help="both in the paper's layout, to write (.md)")
@click.option("--latex", type=FILE, help="the same for a paper, to write (.tex)")
def summarise(
    chips: tuple[str, ...],
    folder: str | None,
    points: str | None,
    experiment: str,
    model: str,
    dataset: str,
    out: str,
    paired: str | None,
    markdown: str | None,
    latex: str | None,
) -> None:
    """Statistics over chips, one row a point.

    CHIPS are files of `swim evaluate`, each in DEVICE/sigma-SIGMA/METHOD/FRACTION.csv, and
    DEVICE/sigma-SIGMA/clean.csv.
    """
    if bool(chips) == bool(folder) or bool(folder) != bool(points):
        raise SettingError("give either CHIPS files, or --folder with --points")
    job = None
    if folder:
        job = validation.parse(settings.SummariseJob, json_object(points or ""), "points")
        chips = tuple(os.path.join(folder, file) for file in job.files())
    constants = {"experiment": experiment, "model": model, "dataset": dataset}
    chosen = {"points": job.model_dump(mode="json")} if job else {}
    made_from = provenance.of_one_experiment(chips, custom=job.custom if job else ())
    record = {"made_from": made_from, "settings": {**constants, **chosen}}
    table = accuracy_tables.accuracy_table(chips, constants)
    differences = accuracy_tables.paired_table(chips, constants)
    files.write_table(out, table.to_csv(index=False, lineterminator="\n"), record)
    if paired:
        files.write_table(paired, differences.to_csv(index=False, lineterminator="\n"), record)
    if markdown or latex:
        parts = [accuracy_tables.markdown(table), accuracy_tables.paired_markdown(differences)]
        text = "\n".join([*parts, *device_variance.markdown(chips)])
        if markdown:
            files.write_text(markdown, text)
        if latex:
            files.write_text(latex, from_markdown(text))
