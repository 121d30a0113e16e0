"""A trained network and its data, made by the commands themselves; a web server."""

import pytest
from click.testing import CliRunner

from swim.cli import cli
from tests.unit.server import serving


def run(*arguments):
    """Call the command line in this process; what it printed."""
    result = CliRunner().invoke(cli, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


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


@pytest.fixture
def server(monkeypatch):
    """A web server on this machine, past any proxy; see :class:`tests.unit.server.Server`."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as started:
        yield started
