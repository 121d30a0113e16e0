"""``swim select``: files in, file out, numpy only."""

import json

import click

from swim.cli.console import FILE
from swim.cli.inputs import curvature_of
from swim.cli.options import settings_options
from swim.cli.weights_file import weights_of
from swim.errors import DataError, SettingError
from swim.runtime import files
from swim.selection import masks, scoring
from swim.selection.scores.base import Inputs
from swim.settings import SelectJob, section_json


@click.command()
@click.option("--model", required=True, type=FILE, help="checkpoint")
@click.option("--sensitivity", type=FILE, help="an estimator's file, for methods that rank by one")
@click.option("--out", required=True, type=FILE, help="mask to write (.npz, packed bits)")
@settings_options(SelectJob)
def select(model: str, sensitivity: str | None, out: str, settings: SelectJob) -> None:
    """Choose which weights to write-verify."""
    method = scoring.method(settings.method, settings.score)
    weights = weights_of(model)
    made_from = {"model": weights.record["digest"]}
    curvature = None
    if method.NEEDS != "weights":
        if sensitivity is None:
            made_by = "" if method.NEEDS == "curvature" else f" --estimator {method.NEEDS}"
            raise SettingError(
                f"method {settings.method!r} needs --sensitivity, a file of "
                f"`swim sensitivity{made_by}`"
            )
        curvature, made = curvature_of(sensitivity, weights)
        made_from["sensitivity"] = made["digest"]
        estimator = made.get("estimator")
        if method.NEEDS not in ("curvature", estimator):
            raise DataError(
                f"{sensitivity}: was made by the estimator {estimator!r}, but method "
                f"{settings.method!r} needs {method.NEEDS!r}"
            )
    scores = scoring.scores(method, Inputs(weights.layers, curvature, settings.seed))
    ties = masks.relative_magnitude(weights.layers)
    mask = masks.mask_of(scores, settings.fraction, ties)
    files.save_mask(out, mask, {**json.loads(section_json(settings)), "made_from": made_from})
