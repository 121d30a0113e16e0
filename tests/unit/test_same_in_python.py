"""The commands and Python agree: the same masks, the same chips, the same errors."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

import swim
from swim.curvature import second_derivative
from swim.data.dataset import DataSet
from swim.errors import SettingError
from swim.networks import checkpoint as networks
from swim.runtime import files
from swim.selection.scores.base import estimator_of
from swim.settings import registry
from tests.unit.conftest import run

FRACTIONS = ("0.003", "0.1", "0.9")  # the last among weights whose scores are zero
TABLE = "level,sigma\n0,0.05\n0.5,0.2\n1,0.1\n"


@pytest.fixture(scope="module")
def trained(digits_path):
    """A small quantised network, trained by the command, and its images."""
    folder = digits_path.parent
    run("train", "--data", digits_path, "--out", folder / "model", "--history",
        folder / "train.csv", "--training-epochs", 1, "--training-quantised-epochs", 1,
        "--training-calibration-images", 100, "--model-name", "mlp3", "--model-weight-bits", 4,
        "--model-activation-bits", 4)  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def network(trained):
    """The network of the checkpoint and its batches of training images, in Python."""
    model, _ = networks.load(trained / "model")
    return model, list(DataSet(trained / "squares").batches("train", 500))


@pytest.fixture(scope="module")
def estimated(trained, network):
    """A function of an estimator: the command's file, and what Python computes."""
    made = {}

    def of(estimator):
        if estimator not in made:
            path = trained / f"{estimator}.safetensors"
            run("sensitivity", "--model", trained / "model", "--data", trained / "squares",
                "--out", path, "--estimator", estimator, "--seed", 5)  # fmt: skip
            made[estimator] = path, second_derivative(*network, estimator=estimator, seed=5)
        return made[estimator]

    return of


@pytest.mark.parametrize("method", registry.METHODS)
def test_select_by_a_method_gives_the_commands_mask(trained, network, estimated, method):
    estimator = estimator_of(registry.find("selection method", method).NEEDS, "recursion")
    path, curvature = (None, None) if estimator is None else estimated(estimator)
    weights = swim.programmed_weights(*network)
    given = [] if path is None else ["--sensitivity", path]
    for fraction in FRACTIONS:
        out = trained / f"{method}-{fraction}.npz"
        run("select", "--model", trained / "model", *given, "--out", out, "--method", method,
            "--fraction", fraction, "--seed", 5)  # fmt: skip
        expected, _ = files.load_mask(out)
        mask = swim.select(
            method=method, fraction=fraction, weights=weights, curvature=curvature, seed=5
        )
        assert list(mask) == list(expected)
        for name, layer in expected.items():
            assert mask[name].dtype == torch.bool
            assert np.array_equal(mask[name].numpy(), layer), (name, fraction)


def test_the_four_lines_give_the_mask_of_method_swim(trained, network, estimated):
    path, _ = estimated("recursion")
    run("select", "--model", trained / "model", "--sensitivity", path, "--out",
        trained / "four.npz", "--fraction", "0.9")  # fmt: skip
    scores = swim.sensitivity(*network, estimator="recursion")
    mask = swim.select(scores, 0.9, tie_break=swim.programmed_weights(*network))
    for name, layer in files.load_mask(trained / "four.npz")[0].items():
        assert np.array_equal(mask[name].numpy(), layer)


DEVICES = {
    "counted": ({"M": 4, "K": 2, "write_verify": "redraw"}, {}),
    "read": ({"M": 4, "K": 2, "write_verify": "pulse", "read_noise": 0.02}, {}),
    "table": ({"M": 4, "K": 2, "write_verify": "redraw"}, {"table": "levels.csv"}),
    "named": ({"M": 4, "K": 2, "write_verify": "redraw"}, {"name": "rram4"}),
}


@pytest.mark.parametrize(
    ("policy", "kind"),
    [("swim_device", "counted"), ("marginal", "read"), ("reslice_pair", "table"),
     ("uswim", "named")],
)  # fmt: skip
def test_a_policy_by_its_name_programs_the_commands_chips(
    trained, network, estimated, policy, kind
):
    settings, variation = DEVICES[kind]
    (trained / "levels.csv").write_text(TABLE)
    made = {}
    if variation:
        path = {key: str(trained / v) if key == "table" else v for key, v in variation.items()}
        settings = {**settings, "variation": path}
        made = {"variation": swim.table(path["table"]) if kind == "table" else
                swim.variation(path["name"])}  # fmt: skip
    plain = {key: value for key, value in settings.items() if key != "variation"}
    job = {"device": settings, "sigma": "0.5", "policy": policy, "budget": "0.05", "chips": 3,
           "test_images": 60, "seed": 5}  # fmt: skip
    out = trained / f"{policy}-{kind}.csv"
    run("program", "--model", trained / "model", "--data", trained / "squares", "--sensitivity",
        estimated("recursion")[0], "--out", out, "--settings", json.dumps(job))  # fmt: skip
    batches = list(DataSet(trained / "squares").batches("test", 500, 60))
    chosen = swim.policy(policy, 0.05, swim.sensitivity(*network, estimator="recursion"))
    device = swim.Device(0.5, **plain, **made)
    result = swim.evaluate(network[0], batches, policy=chosen, device=device, chips=3, seed=5)
    table = pd.read_csv(out)
    for column, values in {"accuracy": result.accuracy, "loss": result.loss,
                           "nwc": result.nwc_per_chip, "reads": result.reads}.items():  # fmt: skip
        assert np.array_equal(table[column].to_numpy(), values.numpy()), column


# --- what is refused ----------------------------------------------------------------------------

WEIGHTS = {"a": torch.tensor([[1.0, -2.0], [0.5, 0.0]]), "b": torch.tensor([3.0, 1.0])}
CURVATURE = {name: weight.double() ** 2 for name, weight in WEIGHTS.items()}


def tagged(**says):
    from swim.curvature.spread import Estimate

    made = Estimate(CURVATURE)
    for name, value in says.items():
        setattr(made, name, value)
    return made


SAID = [
    ({"method": "swm"}, r"unknown selection method 'swm'; did you mean 'swim'\?"),
    ({"method": "marginal"}, r"'marginal', which is a policy.*swim\.policy"),
    ({"method": 3}, "method must be a name or a function, not 3"),
    ({"weights": None}, r"needs weights=.*swim\.programmed_weights\(model, batches\)"),
    ({"curvature": None}, r"'swim' needs curvature=.*estimator=\.\.\.\), by any estimator"),
    ({"method": "fisher", "curvature": None}, r"second_derivative.*estimator='empirical_fisher'"),
    ({"method": "fisher", "curvature": tagged(estimator="recursion")},
     "needs the estimator 'empirical_fisher', but curvature was made by 'recursion'"),
    ({"curvature": tagged(scaled=True)}, r"already times max\|W_layer\|\^2; give raw"),
    ({"curvature": {"a": CURVATURE["a"]}}, "curvature has nothing for 'b'"),
    ({"curvature": {**CURVATURE, "c": torch.ones(1)}}, "curvature has c, which weights"),
    ({"curvature": {**CURVATURE, "b": torch.ones(3)}}, r"'b' has the shape \(3,\)"),
    ({"curvature": {**CURVATURE, "b": torch.tensor([1, torch.inf])}}, "'b' has values that are"),
    ({"scores": CURVATURE}, "give scores .* or a method, not both"),
    ({"tie_break": WEIGHTS}, "give scores .* or a method, not both"),
    ({"fraction": None}, "fraction None is not a number"),
    ({"seed": -1}, "seed must be at least 0"),
    ({"method": None}, "scores must be a mapping"),
    ({"method": None, "scores": CURVATURE}, "weights and curvature are for a method"),
    ({"method": "nowhere:score"}, "there is no module 'nowhere'"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "text"), SAID, ids=lambda value: str(value)[:30])
def test_what_select_refuses(changes, text):
    call = {"method": "swim", "fraction": 0.5, "weights": WEIGHTS, "curvature": CURVATURE}
    with pytest.raises(SettingError, match=text):
        swim.select(**{**call, **changes})


def test_select_takes_curvature_in_any_order_of_layers():
    given = {"method": "swim", "fraction": 0.5, "weights": WEIGHTS}
    one = swim.select(**given, curvature=CURVATURE)
    other = swim.select(**given, curvature=dict(reversed(CURVATURE.items())))
    assert list(one) == list(other) == ["a", "b"]
    assert all(torch.equal(one[name], other[name]) for name in one)


def by_square(inputs):
    return {name: weight**2 for name, weight in inputs.weights.items()}


def test_a_function_of_ones_own_is_a_method():
    mask = swim.select(method=by_square, fraction=0.5, weights=WEIGHTS)
    same = swim.select(method="magnitude", fraction=0.5, weights=WEIGHTS)
    assert all(torch.equal(mask[name], same[name]) for name in same)


def in_place(inputs):
    inputs.weights["a"][0, 0] = 0
    return inputs.weights


def noisy(inputs):
    return {name: np.random.default_rng().random(w.shape) for name, w in inputs.weights.items()}


FUNCTIONS = [
    (in_place, r"in_place\(\) raised ValueError.*read-only"),
    (noisy, "noisy gives other scores of 'a' when asked again"),
    (lambda inputs: 3, "gave int; it must give a mapping"),
    (lambda inputs: {"a": inputs.weights["a"]}, "gave no scores of b"),
    (lambda inputs: {**inputs.weights, "c": 1}, "gave scores of c, which no device holds"),
    (lambda inputs: {**inputs.weights, "b": np.ones(3)}, r"'b' have the shape \(3,\), its weights"),
    (lambda inputs: {**inputs.weights, "b": ["x", "y"]}, "'b' are <U1, not numbers"),
    (lambda inputs: {**inputs.weights, "b": [1, np.nan]}, "1 of 2 scores of 'b' are not finite"),
    (lambda inputs: inputs.missing, "raised AttributeError"),
]


@pytest.mark.parametrize(("function", "text"), FUNCTIONS, ids=[text for _, text in FUNCTIONS])
def test_what_a_function_of_ones_own_must_not_do(function, text):
    with pytest.raises(SettingError, match=text):
        swim.select(method=function, fraction=0.5, weights=WEIGHTS)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("margnal", 0.1, CURVATURE), r"unknown policy 'margnal'; did you mean 'marginal'\?"),
        (("swim", 0.1, CURVATURE), r"'swim', which is a selection method.*swim\.select"),
        (("marginal", -0.1, CURVATURE), "budget must be at least 0, not -0.1"),
        (("marginal", 0.1, None), "scores must be a mapping"),
        (("marginal", 0.1, tagged(estimator="recursion")), "scores are raw second derivatives"),
        (("uswim", 0.1, {"a": torch.tensor([torch.nan])}), "'a' have values that are not finite"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_policy_refuses(arguments, text):
    with pytest.raises(SettingError, match=text):
        swim.policy(*arguments)


def test_a_policy_without_single_cycles_is_refused_as_by_the_command(trained, network, estimated):
    scores = swim.sensitivity(*network, estimator="recursion")
    with pytest.raises(SettingError) as python:
        swim.evaluate(*network, policy=swim.policy("read_first", 0.1, scores),
                      device=swim.Device(0.1), chips=1)  # fmt: skip
    with pytest.raises(SettingError) as command:
        run("program", "--model", trained / "model", "--data", trained / "squares",
            "--sensitivity", estimated("recursion")[0], "--out", trained / "no.csv", "--policy",
            "read_first", "--sigma", "0.1")  # fmt: skip
    assert str(python.value) == str(command.value)
