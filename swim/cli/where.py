"""``swim where``."""

import json

import click
import torch

from swim.cli.accelerator import start
from swim.cli.console import FILE
from swim.cli.inputs import scores_of
from swim.cli.mask_file import mask_of
from swim.cli.options import settings_options
from swim.cli.weights_file import weights_of
from swim.devices.from_settings import of_settings
from swim.errors import DataError, SettingError
from swim.evaluation import spending as places
from swim.programming.lookup import of_name
from swim.programming.mask import VerifyMask
from swim.runtime import files
from swim.settings import WhereJob, section_json


@click.command()
@click.option("--model", required=True, type=FILE, help="checkpoint")
@click.option("--sensitivity", type=FILE, help="an estimator's file, for policies to rank by")
@click.option("--mask", "masks", multiple=True, type=FILE, help="of `swim select`; several")
@click.option("--policy", "policies", multiple=True, help="a programming policy; several")
@click.option("--out", required=True, type=FILE, help="table to write (.csv)")
@settings_options(WhereJob)
def where(
    model: str,
    sensitivity: str | None,
    masks: tuple[str, ...],
    policies: tuple[str, ...],
    out: str,
    settings: WhereJob,
) -> None:
    """Where methods spend their write cycles: devices rewritten in each layer and slice."""
    if not masks and not policies:
        raise SettingError("give --mask or --policy, or several of them")
    place = start(settings)
    weights = weights_of(model)
    targets = {name: torch.from_numpy(w).to(place) for name, w in weights.layers.items()}
    digest, made_from = weights.record["digest"], {"model": weights.record["digest"]}
    methods: dict[str, places.Spending] = {}
    for path in masks:
        mask, made = mask_of(path, model, digest, weights.shapes)
        if "method" not in made:
            raise DataError(f"{path}: does not say which method chose it; make it by `swim select`")
        methods[made["method"]] = VerifyMask({n: torch.from_numpy(m) for n, m in mask.items()})
    if policies:
        if sensitivity is None:
            raise SettingError("policies need --sensitivity")
        ranked, made = scores_of(sensitivity, weights)
        made_from["sensitivity"] = made["digest"]
        scores = {name: torch.from_numpy(h) for name, h in ranked.items()}
        for name in policies:
            methods[name] = of_name(name, float(settings.budget), scores)
    device = of_settings(settings.device, settings.sigma)
    found = places.table(methods, targets, device=device, seed=settings.seed, chips=settings.chips)
    job = json.loads(section_json(settings, exclude={"accelerator"}))
    record = {"made_from": made_from, "settings": job}
    files.write_table(out, found.to_csv(index=False, lineterminator="\n"), record)
