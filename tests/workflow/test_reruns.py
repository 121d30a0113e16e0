"""Each edit runs exactly the jobs that it must: nothing more, nothing less."""

import os
import shutil
import subprocess

import pytest

from tests.workflow.conftest import TINY, Project, copy_of_the_pipeline
from tests.workflow.messages import jobs

SMALL = {
    **TINY,
    "model": {"name": "lenet"},
    "training": {"epochs": 1, "quantised_epochs": 0},
    "test_images": 50,
    "chips": 2,
}


def experiments():
    return {"a": dict(SMALL), "b": {**SMALL, "seed": 1}}


def ran(text):
    """(rule, sorted wildcard values but the device) of every job in Snakemake's output."""
    found = []
    for rule, wildcards in jobs(text):
        wildcards.pop("device", None)
        if rule not in ("a", "b", "all"):
            found.append((rule, *wildcards.values()))
    assert len(found) == len(set(found)), "a job ran twice"
    return set(found)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A pipeline whose two experiments are done."""
    folder = tmp_path_factory.mktemp("base") / "project"
    project = Project(copy_of_the_pipeline(folder), experiments())
    project.make("a", "b")
    return folder


@pytest.fixture
def project(finished, tmp_path):
    folder = tmp_path / "project"
    shutil.copytree(finished, folder, copy_function=shutil.copy2, symlinks=True)
    return Project(folder, experiments())


def outcome(name):
    steps = ("summarise", "cycles", "claims", "explore", "tables")
    return {(step, name) for step in steps} | figures(name)


def figures(name, sigma="0.3"):
    return {("plot", name, sigma), ("plot_cycles", name, sigma)}


def points(name, *pairs, sigma="0.3"):
    """Masks and evaluations of (method, fraction) pairs."""
    return {("select", name, *pair) for pair in pairs} | evaluations(name, *pairs, sigma=sigma)


def evaluations(name, *pairs, sigma="0.3"):
    return {("evaluate", name, sigma, *pair) for pair in pairs}


def ends(name, sigma="0.3"):
    return {(f"evaluate_{end}_verified", name, sigma) for end in ("none", "all")}


BOTH = (("swim", "0.1"), ("random", "0.1"))


def everything(name):
    trained = {("train", name), ("plot_learning", name), ("sensitivity", name, "recursion")}
    return trained | points(name, *BOTH) | ends(name) | outcome(name)


def setting(**changes):
    def edit(project):
        project.experiments["a"] |= changes

    return edit


def code(file, old, new):
    def edit(project):
        path = project.folder / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return edit


def touch(project):
    for path in (project.folder / "swim").rglob("*.py"):
        os.utime(path)


def remove_a_chips_file(project):
    (project.folder / "results/b/chips/release/sigma-0.3/swim/0.1.csv").unlink()


EDITS = {
    "nothing": (lambda project: None, set()),
    "files touched": (touch, set()),
    "another fraction": (
        setting(fractions=["0", "0.1", "0.2", "1"]),
        {("settings", "a")} | points("a", ("swim", "0.2"), ("random", "0.2")) | outcome("a"),
    ),
    "another method": (
        setting(methods=["swim", "random", "magnitude"]),
        {("settings", "a")} | points("a", ("magnitude", "0.1")) | outcome("a"),
    ),
    "a method with an estimator of its own, and draws for those that draw": (
        setting(methods=["swim", "random", "fisher"], estimator_samples=3),
        {("settings", "a"), ("sensitivity", "a", "empirical_fisher")}
        | points("a", ("fisher", "0.1")) | outcome("a"),
    ),
    "second derivatives on fewer images": (
        setting(sensitivity_images=500),
        {("settings", "a"), ("sensitivity", "a", "recursion")}
        | points("a", ("swim", "0.1")) | outcome("a"),
    ),
    "another sigma": (
        setting(sigmas=["0.3", "0.1"]),
        {("settings", "a")} | figures("a", "0.1")
        | evaluations("a", *BOTH, sigma="0.1") | ends("a", "0.1") | outcome("a"),
    ),
    "more training": (
        setting(training={"epochs": 2, "quantised_epochs": 0}),
        {("settings", "a")} | everything("a"),
    ),
    "more chips": (
        setting(chips=3),
        {("settings", "a")} | evaluations("a", *BOTH) | ends("a") | outcome("a"),
    ),
    "a precision for other experiments": (
        lambda project: project.experiments.update(c={**SMALL, "chips": 100, "precision": 0.5}),
        set(),
    ),
    "where it runs": (setting(accelerator="cpu"), {("settings", "a")}),
    "plotting code": (
        code("swim/reports/plots/accuracy_figure.py", "_FEW = 6", "_FEW = 7"),
        {job for name in "ab" for job in figures(name) | {("plot_learning", name)}},
    ),
    "how near is near enough": (
        setting(within=["0.2"]),
        {("settings", "a"), ("cycles", "a"), ("claims", "a"), ("explore", "a"),
         ("tables", "a"), ("plot_cycles", "a", "0.3")},
    ),
    "code of cycles to accuracy": (
        code("swim/reports/cycles_to_accuracy.py", "RESAMPLES = 2000", "RESAMPLES = 1000"),
        {(step, name) for step in ("cycles", "claims", "explore", "tables") for name in "ab"}
        | {job for name in "ab" for job in figures(name) | {("plot_learning", name)}},
    ),
    "code of verdicts": (
        code("swim/reports/claims.py", "FEWEST = 10", "FEWEST = 12"),
        {("claims", "a"), ("claims", "b")},
    ),
    "the explorer's page": (
        code("swim/reports/explorer/page.css", "cursor: ns-resize", "cursor: row-resize"),
        {("explore", "a"), ("explore", "b")},
    ),
    "sensitivity code": (
        code("swim/curvature/control.py", "progress(self._batches)", "progress(self._batches + 0)"),
        {job for name in "ab" for job in {("sensitivity", name, "recursion")}
         | points(name, ("swim", "0.1")) | outcome(name)},
    ),
    "one method's code": (
        code("swim/selection/scores/random.py", "sum(sizes)", "int(sum(sizes))"),
        {job for name in "ab" for job in points(name, ("random", "0.1")) | outcome(name)},
    ),
    "a comment in the training code": (
        code("swim/networks/training.py", "model.train()", "model.train()  # dropout on"), set(),
    ),
    "the method's registry": (
        code("swim/settings/registry.py", '"random": "swim.selection',
             '"chance": "swim.selection.scores.random", "random": "swim.selection'), set(),
    ),
    "a rule's message": (code("rules/train.smk", "train the network", "learn"), set()),
    "a default that experiments set": (
        code("swim/settings/sections.py", "quantised_epochs: int = Field(\n        5",
             "quantised_epochs: int = Field(\n        4"), set(),
    ),
    "a lost result": (
        remove_a_chips_file, evaluations("b", ("swim", "0.1")) | outcome("b"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_runs_exactly_its_jobs(project, name):
    edit, expected = EDITS[name]
    edit(project)
    if "registry" in name or "default" in name:
        # What a developer does after such an edit.
        command = [project.warm, "-m", "swim", "schema", "--out"]
        schema = "rules/schemas/config.schema.json"
        subprocess.run([*command, schema], cwd=project.folder, check=True)
    assert ran(project.make("-n", "a", "b")) == expected


# One of settings, one of code and one of files; of each the jobs are those above.
TOGETHER = ("another fraction", "one method's code", "a lost result")


def test_after_the_jobs_of_edits_nothing_is_left_to_do(project):
    for name in TOGETHER:
        EDITS[name][0](project)
    expected = set().union(*(EDITS[name][1] for name in TOGETHER))
    assert ran(project.make("a", "b")) == expected
    assert ran(project.make("-n", "a", "b")) == set()


def test_everything_runs_once_at_first(tmp_path):
    project = Project(copy_of_the_pipeline(tmp_path / "p"), experiments())
    expected = everything("a") | everything("b") | {("prepare", "mnist5k")}
    assert ran(project.make("-n", "a", "b")) == expected | {("settings", "a"), ("settings", "b")}


def test_the_same_bytes_on_one_core_and_on_two(finished, tmp_path):
    """Every result but the record of hardware, the logs and the timings.

    The processes of one of the two runs start as a user's do, the other's are forks of a server.
    """
    again = Project(copy_of_the_pipeline(tmp_path / "again"), experiments(), cold=True)
    again.make("b", cores=1)
    one, two = Project(finished).results("*"), again.results("*")
    one = {name: content for name, content in one.items()
           if not name.startswith(("results/a/", "results/summary/a"))}  # fmt: skip
    assert set(one) == set(two)
    compared = [name for name in one if "/logs/" not in name and "/benchmarks/" not in name]
    assert sum(name.endswith(".csv") for name in compared) >= 7
    for name in compared:
        assert one[name] == two[name], name
