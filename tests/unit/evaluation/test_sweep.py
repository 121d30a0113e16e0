"""swim.sweep: the numbers of single calls of swim.evaluate, as the table and figure of reports."""

import io

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import swim
from swim.curvature import estimate, second_derivative
from swim.errors import SettingError
from swim.reports import accuracy_tables
from swim.reports.plots.accuracy_figure import accuracy_figure
from swim.runtime import files

FRACTIONS = (0, 0.1, "0.3", 1)
SIGMAS = (0.2, "0.4")
DEVICE = swim.Device(sigma=0.1, M=4, K=2, write_verify="redraw")


def gain(inputs):
    return {name: h * inputs.weights[name] ** 2 for name, h in inputs.curvature.items()}


def weighted(batches, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(80, 16, generator=generator)
    return [(part, part[:, :4].argmax(1)) for part in x.split(batches)]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 20), nn.ReLU(), nn.Linear(20, 4))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(80):
        for x, y in weighted(40, 1):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    return model.eval()


TEST, TRAIN = weighted(50, 2), weighted(40, 1)


@pytest.fixture(scope="module")
def scores(network):
    return swim.sensitivity(network, TRAIN, estimator="gauss_newton")


@pytest.fixture(scope="module")
def methods(scores):
    return {"swim": "swim", "random": "random", "mine": gain, "exact": scores,
            "swim_device": "swim_device", "reslice": "reslice"}  # fmt: skip


@pytest.fixture(scope="module")
def swept(network, methods):
    return swim.sweep(network, TEST, training=TRAIN, device=DEVICE, methods=methods,
                      fractions=FRACTIONS, sigmas=SIGMAS, chips=5, seed=3)  # fmt: skip


def chosen(network, method, fraction, scores):
    """A mask or policy as single calls make it."""
    weights = swim.programmed_weights(network, TEST)
    raw = second_derivative(network, TRAIN, estimator="recursion", seed=3)
    if method in ("swim", "mine"):
        function = gain if method == "mine" else method
        return {"mask": swim.select(method=function, fraction=fraction, weights=weights,
                                    curvature=raw, seed=3)}  # fmt: skip
    if method == "random":
        return {"mask": swim.select(method=method, fraction=fraction, weights=weights, seed=3)}
    if method == "exact":
        return {"mask": swim.select(scores, fraction, tie_break=network)}
    own = swim.sensitivity(network, TRAIN, estimator="recursion", seed=3)
    return {"policy": swim.policy(method, float(fraction), own)}


@pytest.mark.long
def test_every_point_has_the_numbers_of_a_single_call(network, swept, scores):
    points = [point for point in swept.points if point.method not in ("none", "all")]
    assert {point.method for point in points} == {
        "swim", "random", "mine", "exact", "swim_device", "reslice"
    }  # fmt: skip
    for point in points:
        device = swim.Device(sigma=float(point.sigma), M=4, K=2, write_verify="redraw")
        single = swim.evaluate(
            network, TEST, device=device, chips=5, seed=3,
            **chosen(network, point.method, point.fraction, scores),
        )  # fmt: skip
        found = swept.points[point]
        for name in ("accuracy", "loss", "nwc_per_chip", "reads"):
            assert torch.equal(getattr(found, name), getattr(single, name)), (point, name)
        assert found.setup == single.setup
        assert found.by == single.by


def test_ends_are_no_and_full_write_verify_once_per_sigma(network, swept):
    device = swim.Device(sigma=0.2, M=4, K=2, write_verify="redraw")
    plain = swim.evaluate(network, TEST, device=device, chips=5, seed=3)
    full = swim.select(swim.sensitivity(network, TRAIN), 1)
    verified = swim.evaluate(network, TEST, full, device=device, chips=5, seed=3)
    assert torch.equal(swept.at("none", 0, 0.2).loss, plain.loss)
    assert torch.equal(swept.at("all", 1, "0.2").loss, verified.loss)
    assert swept.at("swim", 1, 0.2) is swept.at("all", 1, 0.2)
    assert swept.at("swim", "0.0", 0.2) is swept.at("none", 0, 0.2)
    # reslice changes chips without cycles, and does not end in full write-verify
    assert swept.at("reslice", 0, 0.2) is not swept.at("none", 0, 0.2)
    assert swept.at("reslice", 1, 0.2) is not swept.at("all", 1, 0.2)
    ends = [point for point in swept.points if point.method in ("none", "all")]
    assert len(ends) == 2 * len(SIGMAS)


def test_differences_of_points_of_one_sigma_are_paired(swept):
    assert (swept.at("swim", 0.1, 0.4) - swept.at("random", 0.1, 0.4)).ci95 > 0
    with pytest.raises(SettingError, match=r"device\.sigma is 0\.2 and 0\.4"):
        swept.at("swim", 0.1, 0.2) - swept.at("swim", 0.1, 0.4)


def test_frame_is_the_table_of_reports(swept, tmp_path):
    table = swept.to_frame(experiment="mine", dataset="digits", device="counted")
    assert list(table) == accuracy_tables.COLUMNS
    files.write_table(tmp_path / "accuracy.csv", table.to_csv(index=False, lineterminator="\n"), {})
    read = accuracy_tables.read_accuracy(tmp_path / "accuracy.csv")
    pd.testing.assert_frame_equal(read, table, check_dtype=False)
    row = table[(table["method"] == "swim") & (table["sigma"] == "0.4")].iloc[-1]
    point = swept.at("swim", 0.3, 0.4)
    assert (row["fraction"], row["chips"]) == ("0.3", 5)
    assert (row["mean"], row["ci95"], row["nwc"]) == (point.mean, point.ci95, point.nwc)
    clean = table[table["method"] == "clean"]
    assert list(clean["mean"]) == [swept.clean] * 2
    assert set(table["model"]) == {"Sequential"}
    assert len(table) == len(swept.points) + 2


def test_figure_is_that_of_reports(swept):
    figure = swept.plot(0.4, log=True)
    expected = accuracy_figure(swept.to_frame(), "0.4", log=True)
    pictures = [io.BytesIO(), io.BytesIO()]
    for picture, one in zip(pictures, (figure, expected), strict=True):
        one.savefig(picture, format="png", dpi=50)
    assert pictures[0].getvalue() == pictures[1].getvalue()
    with pytest.raises(SettingError, match=r"one of 0\.2, 0\.4, not None"):
        swept.plot()
    with pytest.raises(SettingError, match=r"one of 0\.2, 0\.4, not 0\.3"):
        swept.plot(0.3)


def test_repr_names_points_methods_and_sigmas(swept):
    assert repr(swept).startswith(
        f"Sweep({len(swept.points)} points of 5 chips: swim, random, mine, exact, swim_device, "
        "reslice; sigma 0.2, 0.4; before programming "
    )
    assert "σ = 0.4, swim, 0.3" in swept._repr_html_()


def test_second_derivatives_are_computed_once_per_estimator(network, monkeypatch):
    seen = []

    def counted(*arguments, estimator, **rest):
        seen.append(estimator)
        return second_derivative(*arguments, estimator=estimator, **rest)

    monkeypatch.setattr("swim.evaluation.swept_policies.second_derivative", counted)
    swim.sweep(network, iter(TEST), device=swim.Device(sigma=0.1), chips=2, sigmas=[0.1, 0.2],
               methods=["swim", "second", "fisher", "magnitude", "swim_device"],
               fractions=[0.1, 0.5])  # fmt: skip
    assert seen == ["recursion", "empirical_fisher"]
    assert estimate.second_derivative is second_derivative


def test_masks_of_a_method_are_nested(network, monkeypatch):
    from swim.evaluation import swept_policies as module

    made = []

    def kept(scores, part, *rest):
        made.append(mask := original(scores, part, *rest))
        return mask

    original = module.masked
    monkeypatch.setattr(module, "masked", kept)
    swim.sweep(network, TEST, device=swim.Device(sigma=0.1), chips=1, methods=["random"],
               fractions=[0.5, 0.1, 0.3], sigmas=[0.1, 0.2])  # fmt: skip
    large, small, middle = made  # one of each fraction, whatever the number of sigmas
    for name in large:
        assert bool((small[name] <= middle[name]).all())
        assert bool((middle[name] <= large[name]).all())


def test_progress_is_told_of_every_chip(network):
    seen = []
    swim.sweep(network, TEST, device=swim.Device(sigma=0.1), methods=["random"], fractions=[0.1],
               chips=3, progress=lambda done, total: seen.append((done, total)))  # fmt: skip
    assert seen == [(n, 9) for n in range(1, 10)]


def test_sigma_is_the_devices_own_unless_given(network):
    found = swim.sweep(network, TEST, device=swim.Device(sigma=0.25), methods=["random"],
                       fractions=[0.5], chips=2)  # fmt: skip
    assert found.sigmas == ["0.25"]
    assert found.at("random", 0.5).setup.device.sigma == 0.25
    assert np.isfinite(found.clean)
    assert found.plot() is not None


WRONG = [
    ({"methods": []}, "methods is empty"),
    ({"methods": "swim"}, "names or a mapping"),
    ({"methods": ["swim", "swim"]}, "'swim' is taken"),
    ({"methods": {"all": "swim"}}, "'all' is taken"),
    ({"methods": ["swmi"]}, "swmi"),
    ({"methods": {"other": "marginal"}}, "a policy keeps its name"),
    ({"methods": {"marginal": "swim"}}, "a policy keeps its name"),
    ({"methods": {"mine": 3}}, "must be a name, a function or scores, not 3"),
    ({"fractions": [0.1, "0.10"]}, r"fractions has 0\.1, 0\.1; give numbers, each once"),
    ({"fractions": []}, "fractions is empty"),
    ({"fractions": [1.5]}, "between 0 and 1"),
    ({"fractions": ["a"]}, "fractions: 'a' is not a number"),
    ({"sigmas": [-0.1]}, "sigmas: -0.1 must be a finite number of at least 0"),
    ({"device": "cuda"}, r"a swim\.Device, not 'cuda'"),
    ({"chips": 0}, "chips must be at least 1"),
    ({"methods": ["random", "marginal"]}, "which the closed form does not simulate"),
]


@pytest.mark.parametrize(("changed", "said"), WRONG, ids=[said for _, said in WRONG])
def test_wrong_arguments_are_refused_before_any_chip(network, changed, said):
    given = {"device": swim.Device(sigma=0.1), "chips": 1, "progress": pytest.fail, **changed}
    with pytest.raises(SettingError, match=said):
        swim.sweep(network, TEST, **given)


def test_points_that_were_not_measured_are_named(swept):
    with pytest.raises(SettingError, match=r"no method 'fisher' was swept; those are swim, "):
        swept.at("fisher", 0.1, 0.2)
    with pytest.raises(SettingError, match=r"not measured at 0\.7; it was at 0\.1, 0\.3"):
        swept.at("swim", 0.7, 0.2)
