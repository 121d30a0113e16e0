"""SIGKILL at random moments: the documented commands then end with an undisturbed run's bytes."""

import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.workflow.conftest import TINY, Project, copy_of_the_pipeline

pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="finds processes in /proc")

EXPERIMENT = {
    **TINY,
    "training": {"epochs": 6, "quantised_epochs": 2},
    # Long enough that a second from a step's start never sees the end.
    "chips": 300,
}
CHIPS = "results/tiny/chips/release/sigma-0.3"
# Of each kind; more of them before a release.
KILLS = pytest.mark.parametrize("kills", [1, pytest.param(7, marks=pytest.mark.slow)])
FINISHED = re.compile(r"^Finished jobid: \d+ \(Rule: (\w+)\)$", re.MULTILINE)


def bytes_of(project):
    """Everything but logs, timings and the record of hardware."""
    found = project.results("*")
    return {n: b for n, b in found.items() if not re.search("/(logs|benchmarks)/", n)}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "project"
    project = Project(copy_of_the_pipeline(folder), {"tiny": EXPERIMENT})
    project.make("tiny")
    return project


@pytest.fixture
def project(tmp_path):
    return Project(copy_of_the_pipeline(tmp_path / "project"), {"tiny": EXPERIMENT})


@pytest.fixture
def done(undisturbed, tmp_path):
    """A copy of the undisturbed run, with Snakemake's records."""
    folder = tmp_path / "project"
    shutil.copytree(undisturbed.folder, folder, copy_function=shutil.copy2)
    return Project(folder, {"tiny": EXPERIMENT})


class Run:
    """Snakemake in the background; its processes are named by ``warm_python.py``."""

    def __init__(self, project, *targets, cores=2):
        project.write()
        self.project, self.log = project, project.folder / "run.log"
        environment = {**os.environ, "XDG_CACHE_HOME": str(project.folder / ".cache")}
        environment.pop("PYTHONPATH", None)
        with open(self.log, "wb") as log:
            command = [project.warm, "-m", "snakemake", "--cores", str(cores), *targets]
            self.process = subprocess.Popen(
                command, cwd=project.folder, env=environment, stdout=log, stderr=log
            )

    def job(self, step):
        """The process of a running step of SWIM, or that of Snakemake; None if there is none."""
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                name = (entry / "comm").read_text().strip()
                here = os.path.realpath(entry / "cwd") == str(self.project.folder)
            except OSError:
                continue
            if here and name == step:
                return int(entry.name)
        return None

    def wait_for_job(self, step):
        """Its process as soon as there is one; None if Snakemake ended without it."""
        while self.process.poll() is None:
            job = self.job(step)
            if job is not None:
                return job
            time.sleep(0.02)
        return None

    def end(self):
        self.process.wait()
        return self.log.read_text()


def check(project, undisturbed, finished, among=""):
    """Same bytes, and no job was finished more than once; of the paths that match ``among``."""
    expected = {n: b for n, b in bytes_of(undisturbed).items() if re.match(among, n)}
    found = bytes_of(project)
    assert set(found) == set(expected)
    assert [name for name in expected if found[name] != expected[name]] == []
    once = {"prepare": 1, "settings": 1, "train": 1, "sensitivity": 1, "select": 2, "evaluate": 2,
            "evaluate_none_verified": 1, "evaluate_all_verified": 1, "summarise": 1, "plot": 1,
            "cycles": 1, "plot_cycles": 1, "claims": 1, "explore": 1, "tables": 1,
            "plot_learning": 1, "tiny": 1}  # fmt: skip
    # Not "exactly once": Snakemake may die between a job's end and the line that says so.
    assert finished <= Counter(once)


def kill(process):
    """Whether there was still a process to kill."""
    if process is None:
        return False
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


@KILLS
def test_a_killed_training_is_started_again_by_the_same_command(project, undisturbed, kills):
    """The checkpoint has an undisturbed run's bytes, and all that follows is made from it alone."""
    chance = random.Random("train")
    finished, log = Counter(), project.folder / "results/tiny/logs/train.log"
    model = "results/tiny/model.safetensors"
    for _ in range(kills):
        run = Run(project, model)
        job = run.wait_for_job("train")
        assert job is not None, run.end()
        epochs = chance.randrange(EXPERIMENT["training"]["epochs"])
        while run.job("train") and log.read_text().count("epoch ") < epochs:
            time.sleep(0.02)
        # Without an epoch yet, any moment from the step's start on.
        time.sleep(chance.uniform(0, 0.3 if epochs else 1))
        assert kill(job), run.end()
        text = run.end()
        assert "Error in rule train" in text
        assert not (project.folder / model).exists()
        finished += Counter(FINISHED.findall(text))
    finished += Counter(FINISHED.findall(project.make(model)))
    check(project, undisturbed, finished, "results/data/|results/tiny/[.]?(model|train)[.]")


@KILLS
def test_a_killed_evaluation_is_started_again_by_the_same_command(done, undisturbed, kills):
    """Everything but the chips and their table is there from an undisturbed run."""
    chance = random.Random("evaluate")
    finished, killed, table = Counter(), 0, "results/tiny/accuracy.csv"
    shutil.rmtree(done.folder / CHIPS)
    (done.folder / table).unlink()
    while killed < kills:
        # One core: the killed job is the only one, and the first to run again.
        run = Run(done, table, cores=1)
        while True:
            job = run.wait_for_job("evaluate")
            assert job is not None, f"ended after {killed} kills:\n{run.end()}"
            time.sleep(chance.uniform(0, 1))
            if kill(job):
                killed += 1
                break
        finished += Counter(FINISHED.findall(run.end()))
    finished += Counter(FINISHED.findall(done.make(table)))
    assert sum(count for rule, count in finished.items() if rule.startswith("evaluate")) == 4
    check(done, undisturbed, finished)


def test_a_killed_sensitivity_pass_goes_on_beside_what_snakemake_removes(done):
    """Its state is saved after every batch here, in place of every half minute."""
    project = done
    project.experiments["tiny"] = {**EXPERIMENT, "batch_size": 10}
    step = project.folder / "swim/cli/sensitivity.py"
    step.write_text(step.read_text().replace("SECONDS = 30.0", "SECONDS = 0.0"))
    target = "results/tiny/sensitivity/recursion.safetensors"
    out, log = (
        project.folder / target,
        project.folder / "results/tiny/logs/sensitivity-recursion.log",
    )
    state = out.with_name(".recursion.unfinished.pt")
    run = Run(project, target)
    job = run.wait_for_job("sensitivity")
    while run.process.poll() is None and not state.exists():
        time.sleep(0.01)
    assert kill(job), run.end()
    assert "Error in rule sensitivity" in run.end()
    assert (out.exists(), state.exists()) == (False, True)
    project.make(target)
    assert re.search(r"going on after [0-9,]+0 images of an earlier run", log.read_text())
    assert not state.exists()
    resumed = out.read_bytes()
    out.unlink()
    project.make(target)
    assert "going on" not in log.read_text()
    assert out.read_bytes() == resumed


@KILLS
def test_after_the_death_of_snakemake_unlock_and_the_same_command(project, undisturbed, kills):
    chance = random.Random("snakemake")
    finished, done = Counter(), 0
    while done < kills:
        run = Run(project, "tiny")
        # From the start to well into the later jobs; its own jobs live on for a while.
        time.sleep(chance.uniform(0, 8))
        if kill(run.wait_for_job("snakemake")):
            done += 1
            finished += Counter(FINISHED.findall(run.end()))
            project.make("--unlock")
        else:  # a fast machine was done before all kills: it starts from nothing again
            check(project, undisturbed, finished + Counter(FINISHED.findall(run.end())))
            shutil.rmtree(project.folder / "results")
            finished = Counter()
    finished += Counter(FINISHED.findall(project.make("tiny")))
    check(project, undisturbed, finished)
