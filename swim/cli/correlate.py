"""``swim correlate``: files in, tables and figure out, without torch."""

from collections.abc import Sequence

import click
import numpy as np

from swim.cli.console import FILE
from swim.cli.inputs import curvature_of
from swim.cli.options import figure_options, settings_options
from swim.cli.weights_file import Weights, weights_of
from swim.errors import SettingError
from swim.reports import correlation
from swim.reports.plots import scatter_figure
from swim.runtime.files import write_table, write_text
from swim.runtime.progress_bar import meter
from swim.selection import scoring
from swim.selection.scores.base import Inputs, estimator_of
from swim.settings import CorrelateJob, PlotJob, registry


@click.command()
@click.argument("files", nargs=-1, required=True, type=FILE)
@click.option("--model", required=True, type=FILE, help="checkpoint")
@click.option(
    "--sensitivity", "sensitivities", multiple=True, type=FILE,
    help="an estimator's file, for methods that rank by one; may be repeated",
)  # fmt: skip
@click.option("--method", "methods", multiple=True, required=True, help="whose score; repeatable")
@click.option("--experiment", required=True, help="name in the table's first column")
@click.option("--label", required=True, help="name of the network in the table")
@click.option("--dataset", required=True, help="name of the data set in the table")
@click.option("--out", required=True, type=FILE, help="correlations to write (.csv)")
@click.option("--scores", type=FILE, help="each weight with all scores, to write (.csv)")
@click.option("--markdown", type=FILE, help="correlations by layer, to write (.md)")
@click.option("--figure", type=FILE, help="scatter plots to write (.png), .svg and .pdf beside it")
@figure_options
@settings_options(CorrelateJob)
def correlate(
    files: tuple[str, ...],
    model: str,
    sensitivities: tuple[str, ...],
    methods: tuple[str, ...],
    experiment: str,
    label: str,
    dataset: str,
    out: str,
    scores: str | None,
    markdown: str | None,
    figure: str | None,
    settings: CorrelateJob,
    job: PlotJob,
) -> None:
    """Each method's score against what weights cost: correlations and scatter plots.

    FILES are those of `swim perturb`, each in DEVICE/sigma-SIGMA.csv.
    """
    names = list(
        dict.fromkeys(
            registry.canonical("selection method", method, settings.custom) for method in methods
        )
    )
    weights = weights_of(model)
    found = _scores(weights, sensitivities, names, settings)
    table = correlation.measured(files, weights.layers, found, weights.record["digest"])
    constants = {"experiment": experiment, "model": label, "dataset": dataset}
    with meter("correlate", correlation.groups(table), "groups of weights") as count:
        correlations = correlation.correlation_table(
            table, names, constants, settings.seed, progress=count
        )
    record = {"made_from": {"model": weights.record["digest"]}}
    write_table(out, correlations.to_csv(index=False, lineterminator="\n"), record)
    if scores:
        write_table(scores, table.to_csv(index=False, lineterminator="\n"), record)
    if markdown:
        write_text(markdown, correlation.markdown(correlations, table))
    if figure:
        scatter_figure.draw(figure, table, correlations, names, job)


def _scores(
    weights: Weights,
    sensitivities: Sequence[str],
    methods: Sequence[str],
    settings: CorrelateJob,
) -> dict[str, dict[str, np.ndarray]]:
    """Method -> layer -> array of scores.

    Raises:
        SettingError: a method's estimator has no file.
        DataError: a file is of another network.
    """
    by_estimator = {}
    for path in sensitivities:
        given, made = curvature_of(path, weights)
        by_estimator[made.get("estimator")] = given
    found = {}
    for name in methods:
        method = scoring.method(name, settings.custom.get(name))
        estimator = estimator_of(method.NEEDS, settings.estimator)
        if estimator is not None and estimator not in by_estimator:
            raise SettingError(
                f"method {name!r} needs --sensitivity, a file of the estimator {estimator!r}"
            )
        curvature = None if estimator is None else by_estimator[estimator]
        found[name] = scoring.scores(method, Inputs(weights.layers, curvature, settings.seed))
    return found
