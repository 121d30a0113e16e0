"""The correlation study through Snakemake: what it makes, and what an edit runs again."""

import re

import pandas as pd

from tests.workflow.conftest import Project, copy_of_the_pipeline
from tests.workflow.test_reruns import ran

STUDY = {"weights": 12, "images": 100, "sigmas": ["0.1", "0.3"]}


# What the study makes of an experiment, beside its chips.
FILES = ("results/tiny/correlation.csv", "results/tiny/settings.json")


def made(project, *targets):
    """Jobs of the study, without the experiment's name."""
    text = project.make(*(targets or FILES), cores=1)
    return {(job[0], *job[2:]) for job in ran(text) if job[0] != "tiny"}


def planned(project):
    """Jobs that the whole experiment would run."""
    return made(project, "-n", "tiny")


def test_the_study_and_what_changes_it(tmp_path):
    project = Project(copy_of_the_pipeline(tmp_path / "a project"))
    own = project.experiments["tiny"]
    own |= {"correlate": STUDY, "training": {"epochs": 1, "quantised_epochs": 1}, "chips": 2,
            "test_images": 50}  # fmt: skip
    measured = {("perturb", "0.1"), ("perturb", "0.3")}
    assert made(project, "tiny") >= {*measured, ("correlate",)}

    results = project.folder / "results" / "tiny"
    table = pd.read_csv(results / "correlation.csv")
    assert set(table["method"]) == {"swim"}  # the other is random
    assert set(table["sigma"]) == {0.1, 0.3}
    assert len(table) == 2 * 6
    scores = pd.read_csv(results / "scores.csv")
    assert len(scores) == 2 * 12
    rows = pd.read_csv(results / "perturbation/release/sigma-0.1.csv")
    assert rows["layer"].value_counts().max() <= 3
    assert (results / "figures/correlation.png").stat().st_size > 10_000
    assert b"<svg" in (results / "figures/correlation.svg").read_bytes()
    text = (project.folder / "results/summary/tiny-correlation.md").read_text()
    assert text.startswith("### tiny: scores against measured loss, lenet-w4a4 on mnist5k")
    before = project.results("*.csv")

    assert planned(project) == set()
    figures = project.folder / "swim/reports/plots/scatter_figure.py"
    figures.write_text(figures.read_text().replace("alpha=0.75", "alpha=0.7"))
    assert planned(project) == {("correlate",)}
    # Another score is a file of its own and the table; nothing is measured again.
    own["correlate"] = {**STUDY, "methods": ["swim", "gradient", "magnitude"]}
    another = {("settings",), ("sensitivity", "gradient"), ("correlate",)}
    assert planned(project) == another
    own["correlate"] = {**own["correlate"], "weights": 20}
    assert planned(project) == {*another, *measured}
    assert made(project) == {*another, *measured}
    assert len(pd.read_csv(results / "scores.csv")) == 2 * 20
    chips = [name for name in before if "/chips/" in name]
    assert all(project.results()[name] == before[name] for name in chips)
    own["correlate"] = STUDY
    made(project)
    assert project.results("*.csv") == before
    # On top of programmed chips: files of their own beside the others.
    own["correlate"] = {**STUDY, "chips": 2, "sigmas": ["0.1"]}
    on_chips = {("settings",), ("perturb_on_chips", "0.1"), ("correlate",)}
    assert planned(project) == on_chips
    assert made(project) == on_chips
    table = pd.read_csv(results / "correlation.csv")
    assert list(table["around"].value_counts()[["ideal", "programmed"]]) == [6, 6]
    rows = pd.read_csv(results / "perturbation/release/programmed/sigma-0.1.csv")
    assert (rows["increase_error"] > 0).any()
    own.pop("correlate")
    assert planned(project) == {("settings",)}
    run = project.snakemake("-n", "results/tiny/correlation.csv")
    assert re.search("MissingRuleException", run.stdout + run.stderr)
