"""Where cycles go: every method's account adds up, layer by layer and slice by slice."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from swim.devices.bit_sliced import Device
from swim.errors import DataError, SettingError
from swim.evaluation import spending
from swim.programming.budgeted import Greedy, Offers
from swim.programming.cells import Cells
from swim.programming.chip import Chip
from swim.programming.lookup import of_name
from swim.programming.mask import VerifyMask, verify_all
from swim.reports import accuracy_tables
from swim.reports.plots import spending_figure
from swim.runtime import files
from swim.settings import registry

TARGETS = {
    "one": torch.randn(12, 20, generator=torch.Generator().manual_seed(0)),
    "two": torch.randn(6, 12, generator=torch.Generator().manual_seed(1)),
}
CURVATURE = {name: target.double().abs() + 0.1 for name, target in TARGETS.items()}
REDRAW = Device(M=4, K=1, sigma=0.2, write_verify="redraw", convention="release")


def greedy(name, budget):
    return of_name(name, budget, CURVATURE)


@pytest.mark.parametrize("name", registry.POLICIES)
@pytest.mark.parametrize("budget", [0.0, 0.05, 0.4])
def test_a_policys_account_adds_up_to_its_nwc(name, budget):
    chip = Chip(TARGETS, REDRAW, 3, 1)
    policy = greedy(name, budget)
    spent = policy.spent(chip)
    assert {layer: own.shape for layer, own in spent.items()} == {
        layer: (4, target.numel()) for layer, target in TARGETS.items()
    }
    verifying = sum(float(Cells(chip, layer).cycles.sum()) for layer in TARGETS)
    made = policy.program(chip)
    total = sum(float(own.sum()) for own in spent.values())
    assert total / verifying == pytest.approx(made.nwc)
    # Where nothing is spent, nothing changes.
    before = greedy(name, 0.0).program(chip)
    for layer, own in spent.items():
        still = (own.sum(0) == 0).view(TARGETS[layer].shape)
        torch.testing.assert_close(made.weights[layer][still], before.weights[layer][still])


def test_compensate_rewrites_the_slice_that_it_names():
    """After one step the weight's error is inside the tolerance of the slice that was rewritten."""
    chip = Chip(TARGETS, REDRAW, 3, 1)
    policy = greedy("compensate", 0.4)
    spent, made = policy.spent(chip), policy.program(chip)
    seen = set()
    for layer, own in spent.items():
        error = (made.weights[layer] - TARGETS[layer]).flatten().abs() / chip.scales[layer]
        for weight in ((own > 0).sum(0) == 1).nonzero().flatten().tolist():
            (place,) = (own[:, weight] > 0).nonzero().flatten().tolist()
            seen.add(place)
            assert error[weight] <= REDRAW.tolerance * REDRAW.significance[place] * 1.0001
    assert len(seen) > 1


@pytest.mark.parametrize("device", [REDRAW, Device(M=4, K=2, sigma=0.2)])
def test_a_masks_account_is_of_its_weights_alone(device):
    mask = {"one": torch.zeros(12, 20, dtype=torch.bool)}
    mask["one"][:3] = True
    chip = Chip(TARGETS, device, 3, 1)
    spent = VerifyMask(mask).spent(chip)
    everything = verify_all(TARGETS).spent(chip)
    assert not spent["two"].any()
    torch.testing.assert_close(spent["one"][:, :60], everything["one"][:, :60])
    assert not spent["one"][:, 60:].any()
    nwc = float(spent["one"].sum()) / sum(float(own.sum()) for own in everything.values())
    assert nwc == pytest.approx(VerifyMask(mask).program(chip).nwc)


def test_a_policy_without_an_account_says_so():
    class Rule:
        @staticmethod
        def offers(cells, curvature):
            none = torch.full((1, cells.shape[1]), -torch.inf, dtype=torch.float64)
            return Offers(none, torch.zeros_like(none), lambda _: cells.target)

    with pytest.raises(SettingError, match="does not count cycles by device"):
        Greedy(Rule, 0.1, CURVATURE).spent(Chip(TARGETS, REDRAW, 0, 0))


@pytest.fixture
def table():
    methods = {"swim_device": greedy("swim_device", 0.1), "random": verify_all(TARGETS)}
    return spending.table(methods, TARGETS, device=REDRAW, seed=3, chips=2)


def test_the_table_is_the_mean_over_chips(table):
    assert list(table) == accuracy_tables.WHERE
    assert len(table) == 2 * 2 * 4
    policy = greedy("swim_device", 0.1)
    spent = [policy.spent(Chip(TARGETS, REDRAW, 3, index))["one"] for index in (0, 1)]
    rows = table[(table["method"] == "swim_device") & (table["layer"] == "one")]
    assert rows["slice"].tolist() == [0, 1, 2, 3]
    assert rows["devices"].unique() == [240]
    rewritten = torch.stack([(own > 0).double().mean(1) for own in spent]).mean(0)
    np.testing.assert_allclose(rows["rewritten"], rewritten)
    cycles = torch.stack([own.double().mean(1) for own in spent]).mean(0)
    np.testing.assert_allclose(rows["cycles"], cycles)


def test_the_figure_draws_the_table(table, tmp_path):
    figure = spending_figure.where_figure(table, "here")
    images = {image.get_gid(): image for axes in figure.axes for image in axes.images}
    assert {"random", "swim_device"} <= set(images)
    for method in ("random", "swim_device"):
        rows = table[table["method"] == method]
        drawn = np.asarray(images[method].get_array())
        expected = rows["rewritten"].to_numpy().reshape(2, 4)
        np.testing.assert_allclose(drawn, np.maximum(expected, 1e-4))
    path = tmp_path / "d" / "sigma-0.2" / "0.1.csv"
    files.write_table(path, table.to_csv(index=False))
    pd.testing.assert_frame_equal(accuracy_tables.read_where(path), table)
    one, other = (list(spending_figure.draw(path, tmp_path / name)) for name in "ab")
    assert [p.name for p in one] == [f"where-d-0.1-sigma-0.2.{x}" for x in ("png", "svg", "pdf")]
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in other]


def test_what_is_no_table_is_refused(tmp_path):
    files.write_table(tmp_path / "t.csv", "method\n1\n")
    with pytest.raises(DataError, match="lacks the columns layer"):
        accuracy_tables.read_where(tmp_path / "t.csv")
    with pytest.raises(DataError, match="cannot be read"):
        accuracy_tables.read_where(tmp_path / "none.csv")


def test_where_step_writes_the_table_from_files(tmp_path):
    """The step: a checkpoint, a mask and second derivatives in, the table out."""
    from swim.cli import cli

    arrays = {name: target.numpy() for name, target in TARGETS.items()}
    files.save_arrays(tmp_path / "model", arrays, {"programmed": list(TARGETS)})
    files.save_arrays(tmp_path / "second", {n: c.numpy() for n, c in CURVATURE.items()}, {})
    mask = {name: np.ones(target.shape, bool) for name, target in arrays.items()}
    files.save_mask(tmp_path / "mask.npz", mask, {"method": "random"})
    device = {"M": 4, "K": 1, "write_verify": "redraw", "convention": "release"}
    settings = {"device": device, "sigma": "0.2", "budget": "0.1", "seed": 3, "chips": 2}
    arguments = ["where", "--model", tmp_path / "model", "--out", tmp_path / "t.csv",
                 "--mask", tmp_path / "mask.npz", "--policy", "swim_device",
                 "--settings", json.dumps(settings)]  # fmt: skip
    arguments = [str(argument) for argument in arguments]
    with pytest.raises(SettingError, match="need --sensitivity"):
        cli.main(arguments, standalone_mode=False)
    cli.main([*arguments, "--sensitivity", str(tmp_path / "second")], standalone_mode=False)
    scores = {name: h * TARGETS[name].abs().max() ** 2 for name, h in CURVATURE.items()}
    swim_device = of_name("swim_device", 0.1, scores)
    methods = {"random": verify_all(TARGETS), "swim_device": swim_device}
    expected = spending.table(methods, TARGETS, device=REDRAW, seed=3, chips=2)
    pd.testing.assert_frame_equal(accuracy_tables.read_where(tmp_path / "t.csv"), expected)
