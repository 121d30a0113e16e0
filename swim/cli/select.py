"""``swim select``: files in, file out, numpy only."""

import click

from swim import io, registry, selection, spec
from swim.cli.console import FILE
from swim.cli.options import settings_options
from swim.cli.second_file import curvature_of
from swim.cli.weights_file import weights_of
from swim.errors import DataError, SettingError
from swim.methods.base import Inputs


@click.command()
@click.option("--model", required=True, type=FILE, help="checkpoint")
@click.option("--sensitivity", type=FILE, help="an estimator's file, for methods that rank by one")
@click.option("--out", required=True, type=FILE, help="mask to write (.npz, packed bits)")
@settings_options(spec.SelectJob)
def select(model: str, sensitivity: str | None, out: str, settings: spec.SelectJob) -> None:
    """Choose which weights to write-verify."""
    weights = weights_of(model)
    made_from = {"model": weights.record["digest"]}
    method = registry.find("selection method", settings.method)
    curvature = None
    if method.NEEDS != "weights":
        if sensitivity is None:
            raise SettingError(f"method {settings.method!r} needs --sensitivity")
        curvature, made = curvature_of(sensitivity, weights)
        made_from["sensitivity"] = made["digest"]
        estimator = made.get("estimator")
        if method.NEEDS not in ("curvature", estimator):
            raise DataError(
                f"{sensitivity}: was made by the estimator {estimator!r}, but method "
                f"{settings.method!r} needs {method.NEEDS!r}"
            )
    scores = method.score(Inputs(weights.layers, curvature, settings.seed))
    ties = selection.relative_magnitude(weights.layers)
    mask = selection.mask_of(scores, settings.fraction, ties)
    io.save_mask(out, mask, {**settings.model_dump(mode="json"), "made_from": made_from})
