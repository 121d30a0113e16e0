"""Data of a few hundred images; a trained network made by the commands; a web server."""

import numpy as np
import pytest
from click.testing import CliRunner

from swim.cli import cli
from swim.data.dataset import DataSet
from swim.runtime import code_digest, files
from tests.unit.server import serving


def run(*arguments):
    """Call the command line in this process; what it printed."""
    result = CliRunner().invoke(cli, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def forget_sources():
    """Let digests see files that have changed since they were read in this process."""
    for value in vars(code_digest).values():
        if hasattr(value, "cache_clear"):
            value.cache_clear()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Everything up to the second derivatives: data, model, train.csv and second."""
    folder = tmp_path_factory.mktemp("steps")
    run("prepare", "--dataset", "mnist5k", "--out", folder / "data")
    run("train", "--data", folder / "data", "--out", folder / "model", "--history",
        folder / "train.csv", "--training-epochs", 1, "--training-quantised-epochs", 0,
        "--model-weight-bits", 4)  # fmt: skip
    run("sensitivity", "--model", folder / "model", "--data", folder / "data", "--out",
        folder / "second")  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def digits(digits_path):
    """400 digits to train, 100 to test: a bright square whose place is the class."""
    return DataSet(digits_path)


@pytest.fixture(scope="module")
def digits_path(tmp_path_factory):
    """Their file."""
    generator = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 400), ("test", 100)):
        labels = np.arange(count) % 10
        images = generator.integers(0, 60, (count, 1, 28, 28), dtype=np.uint8)
        for image, label in zip(images[:, 0], labels, strict=True):
            image[label * 2 + 2 : label * 2 + 8, 4:24] = 250
        arrays |= {f"{split}_images": images, f"{split}_labels": labels}
    path = tmp_path_factory.mktemp("data") / "squares"
    settings = {
        "dataset": "squares",
        "classes": 10,
        "mean": [0.1],
        "std": [0.3],
        "augmentation": "none",
    }
    files.save_arrays(path, arrays, settings)
    return path


@pytest.fixture
def server(monkeypatch):
    """A web server on this machine, past any proxy; see :class:`tests.unit.server.Server`."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as started:
        yield started
