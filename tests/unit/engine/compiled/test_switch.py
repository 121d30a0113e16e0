"""``SWIM_COMPILED=0``: the same numbers but for rounding, and results that say so."""

import subprocess
import sys

import pytest
import torch

from swim.engine import compiled
from swim.engine.evaluator import GROUP, Network
from swim.errors import SettingError
from swim.networks.quantisation import calibrate, deploy, quantise_activations, quantise_weights
from swim.networks.zoo.convnet import ConvNet
from swim.networks.zoo.lenet import LeNet
from swim.networks.zoo.mlp import mlp3
from swim.runtime.files import read_record
from tests.unit.conftest import run

# name -> network, shape of an image, whether its passes are replayed. The README of
# swim/engine/compiled states the tolerances of the test that uses them.
NETWORKS = {
    "lenet": (LeNet, (1, 28, 28), True),
    "mlp3": (mlp3, (1, 28, 28), False),  # no convolution
    "convnet": (ConvNet, (3, 32, 32), False),  # too large for several chips at once
}
IMAGES = 100


def images(shape):
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(IMAGES, *shape, generator=generator)
    return [(inputs, torch.randint(0, 10, (IMAGES,), generator=generator))]


def quantised(model, batches):
    quantise_activations(model, 4)
    calibrate(model, [x for x, _ in batches])
    quantise_weights(model, 4)
    deploy(model)
    return model


def losses(model, batches):
    """Loss of each image on each of eight chips, and how many recordings were made."""
    network = Network(model, batches, "cross_entropy")
    generator = torch.Generator().manual_seed(2)
    chips = [
        {name: weight + 0.1 * weight.abs().max() * torch.randn(weight.shape, generator=generator)
         for name, weight in network.targets.items()}
        for _ in range(GROUP)
    ]  # fmt: skip
    groups = [chips[i : i + network.group] for i in range(0, GROUP, network.group)]
    with torch.no_grad():
        result = torch.cat([network.measure(group)[1] for group in groups])
    return result, sum(replay is not None for replay in network.passes.replays.values())


def both_ways(model, batches, monkeypatch):
    results = {}
    for value in ("0", "1"):
        monkeypatch.setenv("SWIM_COMPILED", value)
        results[value] = losses(model, batches)
    assert results["0"][1] == 0
    return results["0"][0], *results["1"]


@pytest.mark.parametrize("name", NETWORKS)
def test_losses_are_the_same_with_compiled_passes_off(name, monkeypatch):
    build, shape, replayed = NETWORKS[name]
    torch.manual_seed(0)
    off, on, replays = both_ways(build(shape[0], 10).eval(), images(shape), monkeypatch)
    assert replays == int(replayed)
    torch.testing.assert_close(on, off, rtol=1e-4, atol=1e-4)
    assert torch.equal(on, off) != replayed  # other sums, so other roundings


def test_losses_of_a_quantised_network_differ_in_rare_images(monkeypatch):
    """Rounding may tip a value between two levels to either of them."""
    torch.manual_seed(0)
    batches = images((1, 28, 28))
    off, on, replays = both_ways(quantised(LeNet().eval(), batches), batches, monkeypatch)
    assert replays == 1
    same = (on - off).abs() <= 1e-4 * (1 + off)
    assert same.double().mean() > 0.98
    torch.testing.assert_close(on, off, rtol=0.2, atol=0.2)


def test_a_network_keeps_the_setting_that_it_began_with(monkeypatch):
    monkeypatch.setenv("SWIM_COMPILED", "0")
    network = Network(LeNet().eval(), images((1, 28, 28)), "cross_entropy")
    monkeypatch.setenv("SWIM_COMPILED", "1")
    with torch.no_grad():
        network.measure([network.targets] * GROUP)
    assert not any(network.passes.replays.values())


@pytest.mark.parametrize("value", ["maybe", "", "2", "off", " 1"])
def test_another_value_is_an_error_that_names_the_two(value, monkeypatch):
    monkeypatch.setenv("SWIM_COMPILED", value)
    with pytest.raises(SettingError, match=r"SWIM_COMPILED must be 1 .* or 0 .*, not"):
        compiled.is_on()
    with pytest.raises(SettingError, match="SWIM_COMPILED"):
        Network(LeNet().eval(), images((1, 28, 28)), "cross_entropy")


def test_without_the_variable_compiled_passes_are_on(monkeypatch):
    monkeypatch.delenv("SWIM_COMPILED", raising=False)
    assert compiled.is_on()


@pytest.mark.long
def test_llvm_is_loaded_only_for_a_pass_that_is_compiled():
    code = (
        "import sys, torch; from torch import nn; from swim.engine.evaluator import Network\n"
        "Network(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), "
        "[(torch.randn(5, 1, 2, 2), torch.zeros(5, dtype=torch.long))], 'cross_entropy')\n"
        "assert 'llvmlite' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def evaluate(folder, out, *more):
    return run(
        "evaluate", "--model", folder / "model", "--data", folder / "data", "--verify", "none",
        "--chips", 3, "--test-images", 100, "--out", out, *more,
    )  # fmt: skip


@pytest.mark.long
def test_a_chips_file_says_that_compiled_passes_were_off(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SWIM_COMPILED", "0")
    assert "compiled passes are off (SWIM_COMPILED=0)" in evaluate(folder, tmp_path / "off.csv")
    assert read_record(tmp_path / "off.csv")["compiled"] is False
    monkeypatch.setenv("SWIM_COMPILED", "1")
    assert "compiled" not in evaluate(folder, tmp_path / "on.csv")
    assert "compiled" not in read_record(tmp_path / "on.csv")


@pytest.mark.long
def test_rows_with_and_without_compiled_passes_are_not_mixed(folder, tmp_path, monkeypatch):
    evaluate(folder, tmp_path / "x.csv")
    assert "going on after 3 chips" in evaluate(folder, tmp_path / "x.csv")
    monkeypatch.setenv("SWIM_COMPILED", "0")
    assert "going on" not in evaluate(folder, tmp_path / "x.csv")
