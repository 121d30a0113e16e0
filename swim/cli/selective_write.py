"""``swim selective-write``: the command line of the paper's first release."""

from pathlib import Path

import click
import torch

from swim.cli.accelerator import start
from swim.cli.options import Finite
from swim.data import prepare as preparing
from swim.data.dataset import DataSet
from swim.devices.bit_sliced import Device
from swim.errors import DataError, SettingError
from swim.evaluation.first_release import DATA_SETS, recipe
from swim.evaluation.first_release import selective_write as steps
from swim.networks import import_weights
from swim.networks.training import train
from swim.runtime import digests, files
from swim.runtime.progress_bar import Bars
from swim.settings import MOST, Compute, ModelSettings, TrainingSettings, registry
from swim.settings.arguments import LARGEST

MODELS = registry.ALIASES["network"]
METHODS = [*registry.METHODS, *registry.ALIASES["method"]]
SPELLING = {"token_normalize_func": lambda flag: flag.replace("-", "_")}


@click.command("selective-write", context_settings=SPELLING)
@click.option(
    "--model",
    default="QLeNet",
    show_default=True,
    type=click.Choice(list(MODELS)),
    help="network, by the release's name; Q: quantised",
)
@click.option(
    "--train_epoch",
    default=20,
    show_default=True,
    type=click.IntRange(0, LARGEST),
    help="epochs of training",
)
@click.option(
    "--noise_epoch",
    default=100,
    show_default=True,
    type=click.IntRange(2, MOST),
    help="programmed chips a mean",
)
@click.option(
    "--mask_p",
    default=0.1,
    show_default=True,
    type=Finite(0, 1),
    help="part of the weights protected by write-verify",
)
@click.option(
    "--method",
    default="SM",
    show_default=True,
    type=click.Choice(METHODS),
    metavar="NAME",
    help=f"how they are chosen; SM is SWIM. One of {', '.join(METHODS)}",
)
@click.option(
    "--dev_var",
    default=0.3,
    show_default=True,
    type=Finite(0, 100),
    help="standard deviation of a device without write-verify",
)
@click.option(
    "--write_var",
    default=0.03,
    show_default=True,
    type=Finite(0, 100),
    help="standard deviation of a device with write-verify",
)
@click.option(
    "--train_var",
    default=0.0,
    show_default=True,
    type=Finite(0, 100),
    help="standard deviation of devices in noise-aware training; 0: none",
)
@click.option(
    "--div",
    default=1,
    show_default=True,
    type=click.IntRange(1, MOST),
    help="divides the batch in which second derivatives are calculated",
)
@click.option(
    "--pretrained",
    default=False,
    show_default=True,
    type=bool,
    help="True: take MODEL_PATH/saved_B_HEADER.pt instead of training",
)
@click.option(
    "--model_path",
    type=click.Path(file_okay=False),
    help="folder of trained networks; one that is trained here is put there",
)
@click.option("--header", help="which network of MODEL_PATH  [default: the model's name]")
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(0, LARGEST),
    help="of everything that is drawn; the same seed prints the same numbers",
)
@click.option(
    "--dataset",
    type=click.Choice(list(registry.DATASETS)),
    help="other images than the release's  [default: the model's]",
)
@click.option(
    "--data_root",
    default="data",
    show_default=True,
    type=click.Path(file_okay=False),
    help="folder with, or for, the original data files",
)
@click.option("--download/--no_download", default=True, help="whether missing ones are fetched")
@click.option(
    "--accelerator",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "cpu", "cuda"]),
    help="where networks run",
)
@click.option(
    "--arithmetic_threads",
    default=1,
    show_default=True,
    type=click.IntRange(1, 1024),
    help="CPU threads",
)
def selective_write(
    model: str, train_epoch: int, noise_epoch: int, mask_p: float, method: str, dev_var: float,
    write_var: float, train_var: float, div: int, pretrained: bool, model_path: str | None,
    header: str | None, seed: int, dataset: str | None, data_root: str, download: bool,
    accelerator: str, arithmetic_threads: int,
) -> None:  # fmt: skip
    """The paper's experiment in one command, flags as in its first release.

    Trains a network, or takes a trained one, and prints its accuracy before programming, on chips
    with nothing and with everything verified, and on chips where the selected part is.
    """
    settings = ModelSettings.model_validate({"name": model})
    saved = _saved(model_path, header or model, pretrained)
    place = start(Compute(accelerator=accelerator, arithmetic_threads=arithmetic_threads))  # type: ignore[arg-type]
    data = _prepared(dataset or DATA_SETS[model], Path(data_root), download)
    if pretrained and saved:
        digests.require_intact(saved)
        network = import_weights.adopt(
            saved, settings, data, calibration_images=2000, report=click.echo
        )
    else:
        network = _trained(settings, recipe(model, train_epoch, train_var), data, seed, place)
        if saved:
            saved.parent.mkdir(parents=True, exist_ok=True)
            with files.atomic(saved) as temporary:
                torch.save(network.state_dict(), temporary)
            digests.write_beside(saved)
    device = Device(dev_var, M=8, K=1, verified_sigma=write_var, convention="release")
    outcomes = steps(
        network.to(place), data, fraction=mask_p, method=method, device=device,
        chips=noise_epoch, div=div, seed=seed, progress=Bars(),
    )  # fmt: skip
    for outcome in outcomes:
        click.echo(str(outcome))


def _saved(folder: str | None, header: str, pretrained: bool) -> Path | None:
    """Where the trained network is, or will be."""
    if folder is None:
        if pretrained:
            raise SettingError("--pretrained True needs --model_path, the folder of the network")
        return None
    path = Path(folder) / f"saved_B_{header}.pt"
    if pretrained and not path.is_file():
        there = sorted(p.name for p in Path(folder).glob("saved_B_*.pt")) or ["none"]
        raise DataError(
            f"{path}: no such file; --header names it, and {folder} has {', '.join(there)}"
        )
    return path


def _prepared(name: str, root: Path, download: bool) -> DataSet:
    """The data set, prepared once."""
    path = root / "prepared" / f"{name}.safetensors"
    if not path.is_file():
        click.echo(f"preparing {name} as {path}")
        preparing.prepare(name, path, data_root=str(root), download=download)
    return DataSet(path)


def _trained(
    model: ModelSettings,
    training: TrainingSettings,
    data: DataSet,
    seed: int,
    place: torch.device,
) -> torch.nn.Module:
    bars = Bars()
    bars("epochs", 0, training.epochs)
    network, _ = train(
        model, training, data, seed=seed, place=place,
        progress=lambda row: bars("epochs", row.epoch, training.epochs),
    )  # fmt: skip
    return network
