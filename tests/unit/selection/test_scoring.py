"""Scores of the user's own through the commands `select` and `correlate`."""

import json

import numpy as np
import pandas as pd
import pytest

from swim.errors import SettingError
from swim.runtime import code_digest, files
from tests.unit.conftest import forget_sources, run

CODE = """
import numpy as np

def gain(inputs, exponent=2):
    return {name: h * inputs.weights[name] ** exponent for name, h in inputs.curvature.items()}

def chance(inputs):
    return {name: np.random.random(w.shape) for name, w in inputs.weights.items()}

def short(inputs):
    return {name: w[:1] for name, w in inputs.weights.items()}

if True:
    aliased = gain
try:
    class Inside: ...
except ValueError:
    pass
left, (right, *others) = 1, (2, 3)
with open(__file__) as handle:
    inner = [hidden for hidden in "ab"]
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = f"scores_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(CODE)
    forget_sources()
    yield name
    forget_sources()


def select(folder, out, *arguments):
    given = ["--model", folder / "model", "--sensitivity", folder / "second", "--fraction", "0.2"]
    run("select", *given, "--out", out, *arguments)
    return files.load_mask(out)


def score(module, function="gain", **more):
    return json.dumps({"import": f"{module}:{function}", "needs": "curvature", **more})


def test_select_by_a_custom_score_is_select_by_its_formula(folder, module, tmp_path):
    mask, made = select(folder, tmp_path / "a", "--method", "mine", "--score", score(module))
    expected, known = select(folder, tmp_path / "b", "--method", "saliency")
    assert all(np.array_equal(mask[name], layer) for name, layer in expected.items())
    assert made["method"] == "mine"
    assert made["score"] == {"import": f"{module}:gain", "arguments": {}, "needs": "curvature"}
    assert "score" not in known
    other = score(module, arguments={"exponent": 0})
    mask, _ = select(folder, tmp_path / "c", "--method", "mine", "--score", other)
    expected, _ = select(folder, tmp_path / "d", "--method", "second")
    assert all(np.array_equal(mask[name], layer) for name, layer in expected.items())


@pytest.mark.parametrize(
    ("function", "more", "text"),
    [
        ("chance", {}, r":chance gives other scores of .* when asked again; let it draw"),
        ("short", {}, r":short: scores of .* have the shape \(1, .*its weights"),
        ("gain", {"arguments": {"exponen": 1}}, r":gain\(exponen=1\) raised TypeError"),
        ("gain", {"needs": "weights"}, r":gain\(\) raised AttributeError"),
        ("none", {}, r"scores_\w+ has no 'none'; .*known: "),
        ("gain", {"needs": "gradient"}, "by the estimator 'recursion', but method 'mine' needs"),
    ],
)
def test_what_is_wrong_with_a_custom_score_is_said(folder, module, tmp_path, function, more, text):
    with pytest.raises((SettingError, files.DataError), match=text):
        select(folder, tmp_path / "a", "--method", "mine", "--score",
               score(module, function, **more))  # fmt: skip
    assert not (tmp_path / "a").exists()


def test_a_custom_score_does_not_take_a_known_name(folder, module, tmp_path):
    with pytest.raises(SettingError, match=r"'swim' is a known method; give `score` another name"):
        select(folder, tmp_path / "a", "--method", "swim", "--score", score(module))
    with pytest.raises(SettingError, match="unknown selection method 'mine'"):
        select(folder, tmp_path / "a", "--method", "mine")


def test_correlate_takes_custom_scores_beside_known_ones(folder, module, tmp_path):
    measured = tmp_path / "four/sigma-0.1.csv"
    run("perturb", "--model", folder / "model", "--data", folder / "data", "--out", measured,
        "--weights", 20, "--images", 50)  # fmt: skip
    job = json.dumps({"custom": {"mine": json.loads(score(module))}})
    run("correlate", measured, "--model", folder / "model", "--sensitivity", folder / "second",
        "--method", "saliency", "--method", "mine", "--experiment", "e", "--label", "l",
        "--dataset", "d", "--out", tmp_path / "c.csv", "--scores", tmp_path / "s.csv",
        "--settings", job)  # fmt: skip
    scores = pd.read_csv(tmp_path / "s.csv")
    assert np.array_equal(scores["mine"], scores["saliency"])


@pytest.mark.parametrize("name", ["gain", "aliased", "Inside", "left", "right", "others", "np"])
def test_names_that_a_module_defines_are_found_without_running_it(module, name):
    code_digest.require("selection method", f"{module}:{name}")


@pytest.mark.parametrize("name", ["gian", "exponent", "hidden"])
def test_names_that_a_module_does_not_define_are_refused(module, name):
    with pytest.raises(SettingError, match=rf"{module}\.py defines no '{name}'; .*known: .*gain"):
        code_digest.require("selection method", f"{module}:{name}")
