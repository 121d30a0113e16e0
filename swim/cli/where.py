"""``swim where``."""

import click
import torch

from swim import devices, io, spec
from swim import where as places
from swim.cli.console import FILE
from swim.cli.options import settings_options
from swim.cli.running import start
from swim.cli.second_file import scores_of, weights_of
from swim.errors import SettingError
from swim.policies import VerifyMask, of_name


@click.command()
@click.option("--model", required=True, type=FILE, help="checkpoint")
@click.option("--sensitivity", type=FILE, help="an estimator's file, for policies to rank by")
@click.option("--mask", "masks", multiple=True, type=FILE, help="of `swim select`; several")
@click.option("--policy", "policies", multiple=True, help="a programming policy; several")
@click.option("--out", required=True, type=FILE, help="table to write (.csv)")
@settings_options(spec.WhereJob)
def where(
    model: str,
    sensitivity: str | None,
    masks: tuple[str, ...],
    policies: tuple[str, ...],
    out: str,
    settings: spec.WhereJob,
) -> None:
    """Where methods spend their write cycles: devices rewritten in each layer and slice."""
    if not masks and not policies:
        raise SettingError("give --mask or --policy, or several of them")
    place = start(settings)
    targets = {name: torch.from_numpy(w).to(place) for name, w in weights_of(model).items()}
    methods: dict[str, places.Spending] = {}
    for path in masks:
        mask, made = io.load_mask(path)
        methods[made["method"]] = VerifyMask({n: torch.from_numpy(m) for n, m in mask.items()})
    if policies:
        if sensitivity is None:
            raise SettingError("policies need --sensitivity")
        scores = {name: torch.from_numpy(h) for name, h in scores_of(sensitivity, model).items()}
        for name in policies:
            methods[name] = of_name(name, float(settings.budget), scores)
    device = devices.of_settings(settings.device, settings.sigma)
    found = places.table(methods, targets, device=device, seed=settings.seed, chips=settings.chips)
    io.write_text(out, found.to_csv(index=False, lineterminator="\n"))
