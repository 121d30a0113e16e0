"""Networks that compute their weights, through the commands: what they use is ranked."""

import json
import os
import warnings
from importlib import import_module

import numpy as np
import pandas as pd
import pytest
import torch

from swim.runtime import files
from tests.unit.conftest import forget_sources, run

CODE = '''
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, spectral_norm, weight_norm


class Levels(nn.Module):
    def forward(self, w):
        return w + ((w * 32).round() / 32 - w).detach()


class Equalised(nn.Linear):
    """A weight of unit variance, scaled in the forward pass."""

    def forward(self, x):
        return nn.functional.linear(x, self.weight * 0.1, self.bias)


def make(kind):
    first = Equalised(784, 12) if kind == "equalised" else nn.Linear(784, 12)
    first = {
        "plain": lambda own: own,
        "equalised": lambda own: own,
        "old weight norm": weight_norm,
        "weight norm": parametrizations.weight_norm,
        "spectral norm": parametrizations.spectral_norm,
        "old spectral norm": spectral_norm,
        "levels": lambda own: parametrize.register_parametrization(own, "weight", Levels()),
    }[kind](first)
    return nn.Sequential(nn.Flatten(), first, nn.ReLU(), nn.Linear(12, 10))
'''
KINDS = ["old weight norm", "weight norm", "spectral norm", "old spectral norm", "levels",
         "equalised"]  # fmt: skip


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    name = f"computed_{os.urandom(4).hex()}"
    (folder / f"{name}.py").write_text(CODE)
    before = os.getcwd()
    os.chdir(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        forget_sources()
        yield folder, name
        forget_sources()
    os.chdir(before)


def made(package, digits_path, kind, state):
    """Checkpoint, scores, masks, chips and single-weight losses of one network."""
    folder, name = package
    out = folder / kind.replace(" ", "_")
    out.mkdir()
    torch.save(state, out / "state.pt")
    network = ["--network", f"{name}:make"]
    settings = {"model": {"import": f"{name}:make", "arguments": {"kind": kind}}}
    said = run("adopt", "--checkpoint", out / "state.pt", "--data", digits_path, "--out",
               out / "model", "--settings", json.dumps(settings))  # fmt: skip
    assert "programmed: 9,528 weights of 2 tensors" in said
    model = ["--model", out / "model"]
    data = ["--data", digits_path]
    run("sensitivity", *model, *data, *network, "--out", out / "scores")
    for method in ("swim", "magnitude"):
        run("select", *model, "--sensitivity", out / "scores", "--method", method, "--fraction",
            "0.1", "--out", out / f"{method}.npz")  # fmt: skip
    run("evaluate", *model, *data, *network, "--mask", out / "magnitude.npz", "--sigma", "0.3",
        "--chips", 4, "--out", out / "chips.csv")  # fmt: skip
    run("perturb", *model, *data, *network, "--sigma", "0.3", "--weights", 8, "--images", 40,
        "--out", out / "changed.csv")  # fmt: skip
    return out


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_all_steps_use_the_effective_weights(package, digits, digits_path, kind):
    folder, name = package
    torch.manual_seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = import_module(name).make(kind).eval()
    state = network.state_dict()
    for key in state:  # the same function, with another v
        if key.endswith(("weight_v", "original1")) and "weight norm" in kind:
            state[key] = state[key] * 10
    network.load_state_dict(state)
    with torch.no_grad():
        bias = network[1].bias
        effective = (network[1](torch.eye(784)) - bias).T.contiguous()
        if kind == "levels":  # to the last bit: of its few levels, many tie
            effective = network[1].weight.clone()
    plain = {"1.weight": effective, "1.bias": bias, "3.weight": network[3].weight,
             "3.bias": network[3].bias}  # fmt: skip
    reference = folder / "plain"
    if reference.exists():
        for file in reference.iterdir():
            file.unlink()
        reference.rmdir()
    expected = made(package, digits_path, "plain", {n: t.detach() for n, t in plain.items()})
    found = made(package, digits_path, kind, state)
    for method in ("swim", "magnitude"):
        masks = [files.load_mask(out / f"{method}.npz")[0] for out in (expected, found)]
        assert list(masks[0]) == list(masks[1])
        different = sum(int((masks[0][n] != masks[1][n]).sum()) for n in masks[0])
        assert different <= 4, method  # of 953; ties that the last bits decide
    chips = [pd.read_csv(out / "chips.csv") for out in (expected, found)]
    assert np.abs(chips[0]["accuracy"] - chips[1]["accuracy"]).max() <= 0.011
    changed = [pd.read_csv(out / "changed.csv") for out in (expected, found)]
    assert (changed[0]["index"] == changed[1]["index"]).all()
    np.testing.assert_allclose(changed[0]["weight"], changed[1]["weight"], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(changed[0]["increase"], changed[1]["increase"], rtol=2e-3, atol=1e-9)
