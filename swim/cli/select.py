"""``swim select``: files in, file out, numpy only."""

import click

from swim import io, registry, selection, spec
from swim.cli.console import FILE
from swim.cli.options import settings_options
from swim.errors import DataError, SettingError
from swim.methods.base import Inputs


@click.command()
@click.option("--model", required=True, type=FILE, help="checkpoint")
@click.option("--sensitivity", type=FILE, help="an estimator's file, for methods that rank by one")
@click.option("--out", required=True, type=FILE, help="mask to write (.npz, packed bits)")
@settings_options(spec.SelectJob)
def select(model: str, sensitivity: str | None, out: str, settings: spec.SelectJob) -> None:
    """Choose which weights to write-verify."""
    arrays, checkpoint = io.load_arrays(model)
    if "programmed" not in checkpoint:
        raise DataError(f"{model}: not a checkpoint of ours")
    weights = {name: arrays[name] for name in checkpoint["programmed"]}
    method = registry.find("selection method", settings.method)
    curvature = None
    if method.NEEDS != "weights":
        if sensitivity is None:
            raise SettingError(f"method {settings.method!r} needs --sensitivity")
        curvature, made = io.load_arrays(sensitivity)
        shapes = {name: layer.shape for name, layer in curvature.items()}
        if shapes != {name: layer.shape for name, layer in weights.items()}:
            raise DataError(f"{sensitivity}: is of another network than {model}")
        if method.NEEDS not in ("curvature", made.get("estimator")):
            raise DataError(
                f"{sensitivity}: was made by the estimator {made.get('estimator')!r}, but method "
                f"{settings.method!r} needs {method.NEEDS!r}"
            )
    scores = method.score(Inputs(weights, curvature, settings.seed))
    mask = selection.mask_of(scores, settings.fraction, selection.relative_magnitude(weights))
    io.save_mask(out, mask, settings.model_dump(mode="json"))
