"""The computing steps: prepare, train, sensitivity, select, evaluate.

Imports that cost seconds (torch) are inside the commands that need them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple
from typing import TYPE_CHECKING, Any

import click
from tqdm import tqdm

from swim import data as data_sets
from swim import io, selection, spec
from swim.cli.options import settings_options
from swim.errors import DataError, SettingError
from swim.methods import METHODS, Inputs

if TYPE_CHECKING:
    import torch

FILE = click.Path(dir_okay=False)


@contextmanager
def _bar(total: int, unit: str) -> Iterator[Any]:
    """A progress bar on a terminal, nothing in a log."""
    with tqdm(total=total, unit=unit, disable=None, leave=False) as bar:
        yield bar


def _compute(settings: spec.Compute) -> "torch.device":
    """Fix the arithmetic of this process and say where networks run."""
    import torch

    torch.set_num_threads(settings.arithmetic_threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    if settings.accelerator == "cuda" and not torch.cuda.is_available():
        raise SettingError(
            "accelerator is 'cuda', but this process sees no GPU; use 'auto' or 'cpu'"
        )
    wanted = settings.accelerator
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


@click.command()
@click.option(
    "--dataset",
    required=True,
    type=click.Choice(list(data_sets.DATASETS)),
    help="; ".join(f"{name}: {source.help}" for name, source in data_sets.DATASETS.items()),
)
@click.option("--out", required=True, type=FILE, help="file to write (.safetensors)")
@click.option("--data-root", default="data", show_default=True, help="folder of the original files")
@click.option("--download/--no-download", default=True, help="whether missing files may be fetched")
def prepare(dataset: str, out: str, data_root: str, download: bool) -> None:
    """Turn a data set into one file of arrays that later steps map into memory."""
    data_sets.prepare(dataset, out, data_root=data_root, download=download)


@click.command()
@click.option("--data", required=True, type=FILE, help="prepared data set")
@click.option("--out", required=True, type=FILE, help="checkpoint to write (.safetensors)")
@click.option("--history", type=FILE, help="one row an epoch, to write (.csv)")
@settings_options(spec.TrainJob)
def train(data: str, out: str, history: str | None, settings: spec.TrainJob) -> None:
    """Train a network; its last epoch is the checkpoint."""
    from swim import train as training

    place = _compute(settings)
    dataset = data_sets.DataSet(data)

    with _bar(settings.training.epochs, "epoch") as bar:

        def report(row: training.Epoch) -> None:
            bar.update()
            click.echo(
                f"epoch {row.epoch}/{settings.training.epochs}: loss {row.loss:.4f}, "
                f"training accuracy {row.accuracy:.2%}{', quantised' if row.quantised else ''}"
            )

        model, rows = training.train(
            settings.model,
            settings.training,
            dataset,
            seed=settings.seed,
            place=place,
            progress=report,
        )
    job = settings.model_dump(mode="json", exclude={"accelerator"})
    training.save(out, model, dataset, {**job, "dataset": dataset.name})
    if history:
        header = ("epoch", "quantised", "learning_rate", "loss", "accuracy")
        io.write_rows(history, header, [astuple(row) for row in rows])


@click.command()
@click.option("--model", required=True, type=FILE, help="checkpoint")
@click.option("--data", required=True, type=FILE, help="prepared data set; its training images")
@click.option("--out", required=True, type=FILE, help="second derivatives to write (.safetensors)")
@settings_options(spec.SensitivityJob)
def sensitivity(model: str, data: str, out: str, settings: spec.SensitivityJob) -> None:
    """Second derivative of the loss per weight, summed over the training images."""
    from swim import train as training
    from swim.curvature import second_derivative

    place = _compute(settings)
    network, _ = training.load(model)
    dataset = data_sets.DataSet(data)
    batches = -(-dataset.size("train") // settings.batch_size)
    with _bar(batches, "batch") as bar:
        raw = second_derivative(
            network.to(place),
            dataset.batches("train", settings.batch_size),
            estimator=settings.estimator,
            progress=lambda done: bar.update(),
        )
    arrays = {name: value.cpu().numpy() for name, value in raw.items()}
    job = settings.model_dump(mode="json", exclude={"accelerator"})
    io.save_arrays(out, arrays, {**job, "dataset": dataset.name})


@click.command()
@click.option("--model", required=True, type=FILE, help="checkpoint")
@click.option("--sensitivity", type=FILE, help="second derivatives, for methods that rank by them")
@click.option("--out", required=True, type=FILE, help="mask to write (.npz, packed bits)")
@settings_options(spec.SelectJob)
def select(model: str, sensitivity: str | None, out: str, settings: spec.SelectJob) -> None:
    """Choose which weights to write-verify."""
    arrays, checkpoint = io.load_arrays(model)
    if "programmed" not in checkpoint:
        raise DataError(f"{model}: not a checkpoint of ours")
    weights = {name: arrays[name] for name in checkpoint["programmed"]}
    method = METHODS[settings.method]
    curvature = None
    if method.NEEDS == "curvature":
        if sensitivity is None:
            raise SettingError(f"method {settings.method!r} needs --sensitivity")
        curvature, _ = io.load_arrays(sensitivity)
        shapes = {name: layer.shape for name, layer in curvature.items()}
        if shapes != {name: layer.shape for name, layer in weights.items()}:
            raise DataError(f"{sensitivity}: is of another network than {model}")
    scores = method.score(Inputs(weights, curvature, settings.seed))
    mask = selection.mask_of(scores, settings.fraction, selection.relative_magnitude(weights))
    io.save_mask(out, mask, settings.model_dump(mode="json"))


@click.command()
@click.option("--model", required=True, type=FILE, help="checkpoint")
@click.option("--data", required=True, type=FILE, help="prepared data set; its test images")
@click.option("--mask", type=FILE, help="weights to write-verify (.npz)")
@click.option(
    "--verify", type=click.Choice(["none", "all"]), help="an end point, instead of --mask"
)
@click.option("--out", required=True, type=FILE, help="one row a chip, to write (.csv)")
@click.option("--clean", type=FILE, help="also write the unprogrammed network's accuracy (.csv)")
@settings_options(spec.EvaluateJob)
def evaluate(
    model: str,
    data: str,
    mask: str | None,
    verify: str | None,
    out: str,
    clean: str | None,
    settings: spec.EvaluateJob,
) -> None:
    """Program chips by Monte Carlo and measure the accuracy of each."""
    if (mask is None) == (verify is None):
        raise SettingError("give either --mask or --verify")
    import torch

    from swim import chips
    from swim import train as training
    from swim.devices import Device

    place = _compute(settings)
    network, checkpoint = training.load(model)
    network.to(place)
    dataset = data_sets.DataSet(data)
    batches = list(dataset.batches("test", settings.batch_size, settings.test_images))
    if mask is not None:
        chosen = {name: torch.from_numpy(layer) for name, layer in io.load_mask(mask)[0].items()}
    else:
        parameters = dict(network.named_parameters())
        chosen = {
            name: torch.full(parameters[name].shape, verify == "all")
            for name in checkpoint["programmed"]
        }
    with _bar(settings.chips, "chip") as bar:
        result = chips.evaluate(
            network,
            batches,
            chosen,
            device=Device(sigma=float(settings.sigma), **settings.device.model_dump()),
            chips=settings.chips,
            seed=settings.seed,
            progress=lambda done: bar.update(),
        )
    io.write_rows(out, chips.COLUMNS, chips.rows(result))
    if clean:
        io.write_rows(clean, ("accuracy", "loss"), [chips.clean(network, batches)])
