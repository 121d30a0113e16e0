"""``swim claims``."""

import click

from swim import settings
from swim.cli.console import FILE
from swim.cli.options import json_object
from swim.errors import SettingError
from swim.reports import accuracy_tables, claims_page, cycles_to_accuracy
from swim.reports import claims as judged
from swim.runtime import files
from swim.runtime.latex import from_markdown
from swim.settings import validation


@click.command()
@click.argument("stored", nargs=-1, type=FILE)
@click.option("--cycles", type=FILE, help="cycles_to_accuracy.csv of an experiment or comparison")
@click.option("--accuracy", multiple=True, type=FILE, help="its accuracy.csv, or each experiment's")
@click.option("--settings", "chosen", default="{}", help="estimator, level_dependent, as JSON")
@click.option("--out", type=FILE, help="claims to write (.json)")
@click.option("--markdown", type=FILE, help="the same to read, to write (.md)")
@click.option("--latex", type=FILE, help="its tables for a paper, to write (.tex)")
@click.option("--html", "page", type=FILE, help="the same as a page, to write (.html)")
def claims(
    stored: tuple[str, ...],
    cycles: str | None,
    accuracy: tuple[str, ...],
    chosen: str,
    out: str | None,
    markdown: str | None,
    latex: str | None,
    page: str | None,
) -> None:
    """Claims of the papers' abstracts, and ours, against what was measured.

    Prints a verdict per claim: of STORED files that this command wrote, or from the tables of an
    experiment or comparison.
    """
    if (
        bool(stored) == bool(cycles)
        or bool(cycles) != bool(accuracy)
        or (stored and (out or markdown or latex or page))
    ):
        raise SettingError("give either STORED claims to print, or --cycles with --accuracy")
    for path in stored:
        click.echo(claims_page.read_text(path))
    if cycles:
        job = validation.parse(settings.ClaimsJob, json_object(chosen), "settings")
        tables = [accuracy_tables.read_accuracy(path) for path in accuracy]
        own = judged.measured(
            cycles_to_accuracy.read(cycles), tables, job.estimator, job.level_dependent
        )
        if out:
            files.write_text(out, judged.to_json(own))
        if markdown:
            files.write_text(markdown, claims_page.markdown(own))
        if latex:
            files.write_text(latex, from_markdown(claims_page.markdown(own)))
        if page:
            files.write_text(page, claims_page.page(own))
        click.echo(claims_page.text(own))
