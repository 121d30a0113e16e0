"""The first release's command line."""

import re

import pytest
import torch
from click.testing import CliRunner

from swim import settings
from swim.cli import cli
from swim.cli.selective_write import METHODS
from swim.data.dataset import DataSet
from swim.devices.bit_sliced import Device
from swim.errors import DataError, SettingError
from swim.evaluation.first_release import DATA_SETS, recipe, selective_write
from swim.networks.zoo.lenet import LeNet
from swim.settings import registry
from tests.unit.networks.test_import_weights import release

NAMES = [
    "clean accuracy", "nothing verified, sigma 0.3", "everything verified, sigma 0.03",
    "share of weights verified", "after selection by SM",
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("release")


def call(place, *flags):
    base = ["selective-write", "--dataset", "mnist5k", "--data_root", str(place / "data"),
            "--model_path", str(place / "models"), "--noise_epoch", "8"]  # fmt: skip
    result = CliRunner().invoke(cli, [*base, *map(str, flags)])
    return result.output, result.exception


def numbers(text):
    return dict(re.findall(r"^(.+?): +(\d\.\d{4})", text, re.MULTILINE))


@pytest.fixture(scope="module")
def trained(place):
    text, error = call(place, "--model", "QLeNet", "--train_epoch", 2, "--seed", 3)
    assert error is None
    return text


@pytest.mark.long
def test_it_prints_what_the_release_printed(trained):
    found = numbers(trained)
    assert list(found) == NAMES
    assert found["share of weights verified"] == "0.1000"
    clean, none, every, _, chosen = (float(value) for value in found.values())
    assert clean > 0.6
    assert none < chosen <= every + 0.02
    assert trained.count("over 8 chips") == 3


@pytest.mark.long
def test_the_same_seed_prints_the_same_numbers_and_the_saved_network_is_taken(place, trained):
    again, _ = call(place, "--model", "QLeNet", "--train_epoch", 2, "--seed", 3)
    assert numbers(again) == numbers(trained)
    # Spelt with hyphens, as the other commands' flags are.
    taken = ["--model", "QLeNet", "--pretrained", "True", "--mask-p", "0.1"]
    text, _ = call(place, *taken, "--seed", 3)
    assert numbers(text) == numbers(trained)
    other, _ = call(place, *taken, "--seed", 4)
    assert numbers(other) != numbers(trained)


def test_a_file_of_the_release_by_its_header(place):
    torch.manual_seed(0)
    folder = place / "models"
    folder.mkdir(exist_ok=True)
    torch.save(release(LeNet().state_dict()), folder / "saved_B_7.pt")
    flags = ["--pretrained", "True", "--header", 7, "--method", "random", "--mask_p", "1"]
    text, _ = call(place, "--model", "LeNet", *flags, "--dev_var", 0.2, "--write_var", 0)
    found = numbers(text)
    assert "hardly better than chance" in text
    assert found["share of weights verified"] == "1.0000"
    assert found["everything verified, sigma 0"] == found["clean accuracy"]
    assert found["after selection by random"] == found["clean accuracy"]


@pytest.mark.parametrize(
    ("flags", "kind", "text"),
    [
        (["--pretrained", "True", "--header", "none"], DataError, r"saved_B_none.pt: no such file"),
        (["--method", "swin"], SystemExit, "'swin' is not one of"),
        (["--mask_p", "1.5"], SystemExit, "0<=x<=1"),
        (["--model", "Lenet5"], SystemExit, "is not one of 'MLP3'"),
    ],
)
def test_wrong_flags_are_refused_with_what_is_allowed(place, flags, kind, text):
    output, error = call(place, *flags)
    assert isinstance(error, kind)
    assert re.search(text, output + str(error))


def test_pretrained_without_a_folder():
    result = CliRunner().invoke(cli, ["selective-write", "--pretrained", "True"])
    assert isinstance(result.exception, SettingError)
    assert "--model_path" in str(result.exception)


def test_every_model_has_data_and_every_method_a_score():
    assert set(DATA_SETS) == set(registry.ALIASES["network"])
    assert {"SM", "random", "magnitude"} <= set(METHODS)
    for name in registry.ALIASES["network"]:
        assert recipe(name, 20, 0.0).epochs == 20
        settings.ModelSettings.model_validate({"name": name})


def test_training_noise_is_that_of_the_devices():
    assert recipe("LeNet", 1, 0.3).weight_noise == pytest.approx(0.3 * 0.5773, rel=1e-3)
    assert recipe("Res18", 9, 0.0).optimizer == "sgd"


def test_div_splits_the_batch_and_changes_no_score(digits):
    torch.manual_seed(0)
    model = LeNet().eval()
    fixed = {"fraction": 0.3, "method": "SM", "device": Device(0.3, M=8, K=1)}
    lines = [
        list(map(str, selective_write(model, digits, **fixed, chips=2, div=div, seed=0)))
        for div in (1, 4)
    ]
    assert lines[0] == lines[1]
    assert isinstance(digits, DataSet)
