"""Scores of the user's own in the pipeline: from a module beside their settings to the figures."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from swim.runtime.files import load_mask
from tests.workflow.conftest import TINY
from tests.workflow.messages import jobs

# One ranks as `saliency` does, one as `magnitude` does, by a helper beside it.
SCORES = """
import numpy as np
from helper import power

def gain(inputs, exponent=2):
    return {name: h * inputs.weights[name] ** exponent for name, h in inputs.curvature.items()}

def size(inputs):
    return {name: np.abs(weight) ** power for name, weight in inputs.weights.items()}

constant = 3
"""
METHODS = [
    "saliency",
    "magnitude",
    {"name": "mine", "import": "my_scores:gain", "needs": "curvature"},
    {"name": "size", "import": "my_scores:size"},
]
EXPERIMENT = {
    **TINY,
    "training": {"epochs": 1, "quantised_epochs": 1},
    "methods": METHODS,
    "fractions": ["0", "0.1", "0.3", "1"],
    "estimator": "gauss_newton_probe",
    "curvature_noise": 0.05,
    "correlate": {"weights": 30, "images": 100, "sigmas": ["0.3"]},
    "chips": 2,
    "test_images": 50,
}


@pytest.fixture
def own(project, tmp_path):
    """Settings and modules in a folder of the user's, outside of the checkout."""
    folder = tmp_path / "my study"
    folder.mkdir()
    (folder / "my_scores.py").write_text(SCORES)
    (folder / "helper.py").write_text("power = 1\n")
    project.experiments = {}

    def write(**changes):
        content = {"experiments": {"study": {**EXPERIMENT, **changes}}}
        (folder / "study.yaml").write_text(yaml.safe_dump(content))

    write()
    project.study = folder
    project.change = write
    project.options = ("--snakefile", project.folder / "Snakefile", "--configfile", "study.yaml")
    return project


def make(own, *arguments):
    return own.make("study", *own.options, *arguments, cwd=own.study)


def ran(text):
    """(rule, method) of every job that has one, else the rule alone."""
    return {
        (rule, wildcards["method"]) if "method" in wildcards else (rule,)
        for rule, wildcards in jobs(text)
    }


def refuses(own, *parts):
    run = own.snakemake("study", *own.options, "--dry-run", cwd=own.study)
    text = run.stdout + run.stderr
    assert run.returncode != 0, text
    assert "Traceback" not in text
    for part in parts:
        assert part in text, text


def test_custom_scores_from_a_users_folder_to_the_figures(own):
    first = ran(make(own))
    assert {("select", name) for name in ("mine", "size")} <= first
    results = own.study / "results/study"
    for mine, known in (("mine", "saliency"), ("size", "magnitude")):
        for fraction in ("0.1", "0.3"):
            masks = [results / f"masks/release/{name}/{fraction}.npz" for name in (mine, known)]
            (one, made), (other, _) = map(load_mask, masks)
            assert made["method"] == mine
            assert all(np.array_equal(one[name], other[name]) for name in other)
            chips = "chips/release/sigma-0.3"
            rows = [(results / f"{chips}/{name}/{fraction}.csv").read_bytes()
                    for name in (mine, known)]  # fmt: skip
            assert rows[0] == rows[1]
    names = {"saliency", "magnitude", "mine", "size"}
    for file in ("accuracy.csv", "cycles_to_accuracy.csv", "correlation.csv"):
        assert names <= set(pd.read_csv(results / file)["method"]), file
    assert names <= set(pd.read_csv(results / "scores.csv"))
    assert "mine" in (own.study / "results/summary/study.md").read_text()
    for figure in ("accuracy-sigma-0.3", "cycles-sigma-0.3"):
        svg = (results / f"figures/{figure}.svg").read_text()
        assert 'id="mine"' in svg, figure
    stored = json.loads((results / "settings.json").read_text())
    assert METHODS[2].items() <= stored["methods"][2].items()
    assert "Nothing to be done" in make(own)

    # An edit runs that method's masks again, and what follows; a comment nothing.
    text = SCORES.replace("exponent=2", "exponent=1")
    (own.study / "my_scores.py").write_text(f"# mine\n{SCORES}")
    assert "Nothing to be done" in make(own)
    (own.study / "my_scores.py").write_text(text)
    again = ran(make(own, "--dry-run"))
    assert {("select", "mine"), ("evaluate", "mine"), ("correlate",)} <= again
    assert not {("select", "saliency"), ("train",), ("sensitivity",), ("perturb",)} & again
    (own.study / "my_scores.py").write_text(SCORES)
    own.change(methods=[*METHODS[:2], {**METHODS[2], "arguments": {"exponent": 3}}, METHODS[3]])
    again = ran(make(own, "--dry-run"))
    assert ("select", "mine") in again
    assert not {("select", "size"), ("select", "saliency"), ("train",)} & again
    own.change()
    (own.study / "helper.py").write_text("power = 2\n")
    assert {("select", "mine"), ("select", "size")} <= ran(make(own, "--dry-run"))


FAULTS = [
    ({"import": "nowhere:gain"}, ["methods.2", "there is no module 'nowhere'", "my study"]),
    ({"import": "my_scores:gian"}, ["my_scores.py defines no 'gian'; did you mean 'gain'?"]),
    ({"import": "my_scores:constant"}, ["my_scores:constant is no function of inputs, but 3"]),
    ({"import": "broken:score"}, ["importing broken raised", "No module named 'missing_module'"]),
    ({"import": "quits:score"}, ["importing it ended Python"]),
    ({"name": "random"}, ["methods.2.name: 'random' is taken"]),
    ({"name": "marginal"}, ["methods.2.name: 'marginal' is taken"]),
    ({"name": "a/b"}, ["methods.2.name: 'a/b' is no name"]),
    ({"needs": "curvatures"}, ["methods.2.needs", "did you mean 'curvature'?"]),
]


@pytest.mark.parametrize(("changes", "parts"), FAULTS, ids=lambda value: str(value)[:40])
def test_a_faulty_custom_score_ends_before_any_work(own, changes, parts):
    (own.study / "broken.py").write_text("import missing_module\n\ndef score(inputs): ...\n")
    (own.study / "quits.py").write_text("import sys\n\nsys.exit(0)\nscore = len\n")
    own.change(methods=[*METHODS[:2], {**METHODS[2], **changes}])
    refuses(own, *parts)
    assert not (own.study / "results").exists()


def test_a_module_beside_settings_that_lie_elsewhere_is_explained(own, tmp_path):
    other = tmp_path / "elsewhere"
    other.mkdir()
    own.options = (*own.options[:3], own.study / "study.yaml")
    run = own.snakemake("study", *own.options, "--dry-run", cwd=other)
    text = run.stdout + run.stderr
    assert "there is no module 'my_scores'" in text
    assert "my study) is not searched: run snakemake there, or put it into PYTHONPATH" in text
