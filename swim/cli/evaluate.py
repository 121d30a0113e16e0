"""``swim evaluate``."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from swim import chips, io, machine, sources, spec, stopping
from swim import network as networks
from swim.cli.console import FILE, progress_bar, trusted_network
from swim.cli.options import settings_options
from swim.cli.running import start
from swim.data import DataSet
from swim.devices import Device
from swim.errors import SettingError
from swim.progress import Progress, digest_of

# What decides how many chips there are, not what each is; and where it runs, which is recorded
# as what was found there.
_ELSEWHERE = {"chips", "precision", "max_chips", "accelerator"}


@click.command()
@click.option("--model", required=True, type=FILE, help="checkpoint")
@click.option("--data", required=True, type=FILE, help="prepared data set; its test images")
@click.option("--mask", type=FILE, help="weights to write-verify (.npz)")
@click.option(
    "--verify", type=click.Choice(["none", "all"]), help="an end point, instead of --mask"
)
@click.option("--out", required=True, type=FILE, help="one row a chip, to write (.csv)")
@click.option("--clean", type=FILE, help="also write the unprogrammed network's accuracy (.csv)")
@trusted_network
@settings_options(spec.EvaluateJob)
def evaluate(
    model: str,
    data: str,
    mask: str | None,
    verify: str | None,
    out: str,
    clean: str | None,
    network: str | None,
    settings: spec.EvaluateJob,
) -> None:
    """Program chips by Monte Carlo and measure the accuracy of each.

    Finished chips are kept in a hidden file beside --out: after a kill, or with more chips or a
    finer precision, the same command goes on from them.
    """
    if (mask is None) == (verify is None):
        raise SettingError("give either --mask or --verify")
    place = start(settings)
    loaded, checkpoint = networks.load(model, network)
    loaded.to(place)
    batches = list(DataSet(data).batches("test", settings.batch_size, settings.test_images))
    if mask is not None:
        chosen = {name: torch.from_numpy(layer) for name, layer in io.load_mask(mask)[0].items()}
    else:
        parameters = dict(loaded.named_parameters())
        chosen = {
            name: torch.full(parameters[name].shape, verify == "all")
            for name in checkpoint["programmed"]
        }
    digest = digest_of(_content(model, chosen, batches, settings, place, checkpoint))
    rows = _rows(loaded, batches, chosen, settings, Progress(out, digest))
    io.write_rows(out, chips.COLUMNS, rows)
    if clean:
        io.write_rows(clean, ("accuracy", "loss"), [chips.clean(loaded, batches)])


def _content(
    model: str,
    mask: dict[str, torch.Tensor],
    batches: list[tuple[torch.Tensor, torch.Tensor]],
    settings: spec.EvaluateJob,
    place: torch.device,
    checkpoint: dict[str, Any],
) -> Iterator[bytes]:
    """Everything that a chip's row depends on."""
    yield Path(model).read_bytes()
    for name, layer in mask.items():
        yield name.encode()
        yield layer.numpy().tobytes()
    for inputs, labels in batches:
        yield inputs.numpy().tobytes()
        yield labels.numpy().tobytes()
    yield spec.section_json(settings, exclude=_ELSEWHERE).encode()
    made_by = spec.ModelSettings.model_validate(checkpoint["model"]).network
    code = sources.digest_of("swim.chips", "swim.network", "swim.data", network=made_by)
    yield json.dumps([machine.runs_on(place), torch.__version__, np.__version__, code]).encode()


def _rows(
    network: torch.nn.Module,
    batches: list[tuple[torch.Tensor, torch.Tensor]],
    mask: dict[str, torch.Tensor],
    settings: spec.EvaluateJob,
    progress: Progress,
) -> list[Any]:
    """The rows of as many chips as the settings call for."""

    def needed() -> int:
        return stopping.chips_needed(
            [row[1] for row in progress.rows],
            chips=settings.chips,
            precision=settings.precision,
            most=settings.max_chips,
        )

    if progress.rows:
        click.echo(f"going on after {len(progress.rows)} chips of an earlier run")
    device = Device(sigma=float(settings.sigma), **settings.device.model_dump())
    done, goal = len(progress.rows), needed()
    made = chips.stream(
        network,
        batches,
        mask,
        device=device,
        seed=settings.seed,
        first_chip=done,
        images=settings.images_per_chip,
    )
    with progress_bar(goal, "chip", done=min(done, goal)) as bar:
        while len(progress.rows) < goal:
            progress.add(next(made))
            bar.update()
            if len(progress.rows) == goal:
                goal = bar.total = needed()
    progress.save()
    return progress.rows[:goal]
