"""The pipeline through a real SLURM: the same bytes, and failures that explain themselves."""

import os

import pytest

from tests.workflow.cluster import Cluster, why_not
from tests.workflow.conftest import TINY, Project, copy_of_the_pipeline

EXPERIMENT = {**TINY, "training": {"epochs": 1, "quantised_epochs": 0}, "methods": ["swim"]}
SLURM = [
    "--workflow-profile", "profiles/slurm", "--slurm-init-seconds-before-status-checks", "4",
    "--latency-wait", "10",
]  # fmt: skip
SUBMITTED = {
    "rule_train_wildcards_tiny": "COMPLETED",
    "rule_sensitivity_wildcards_tiny_recursion": "COMPLETED",
    "rule_evaluate_wildcards_tiny_release_0.3_swim_0.1": "COMPLETED",
    "rule_evaluate_none_verified_wildcards_tiny_release_0.3": "COMPLETED",
    "rule_evaluate_all_verified_wildcards_tiny_release_0.3": "COMPLETED",
}


@pytest.fixture(scope="module")
def cluster():
    reason = why_not()
    if reason:
        text = f"SLURM cannot be started here: {reason}"
        if os.environ.get("SWIM_REQUIRE_SLURM") == "1":
            pytest.fail(f"{text}, and SWIM_REQUIRE_SLURM=1 asks for it")
        pytest.skip(text)
    with Cluster() as running:
        yield running


TARGETS = "results/tiny/accuracy.csv", "results/gpu/model.safetensors"


@pytest.fixture(scope="module")
def through_slurm(cluster, tmp_path_factory):
    """A run of two experiments, its project, and SLURM's records of its jobs by their comments.

    The second asks for a GPU. One is scheduled (/dev/null plays it); the job finds that it is none.
    """
    folder = tmp_path_factory.mktemp("slurm") / "project"
    experiments = {"tiny": EXPERIMENT, "gpu": {**EXPERIMENT, "accelerator": "cuda"}}
    project = Project(copy_of_the_pipeline(folder), experiments, cold=True)
    known = {job["JobId"] for job in cluster.jobs()}
    run = project.snakemake(*SLURM, "--retries", "0", *TARGETS, cores=None)
    jobs = {job["Comment"]: job for job in cluster.jobs() if job["JobId"] not in known}
    return project, run, jobs


def test_the_same_bytes_as_a_local_run(through_slurm, tmp_path):
    there, run, jobs = through_slurm
    states = {comment: job["JobState"] for comment, job in jobs.items() if "_gpu" not in comment}
    assert states == SUBMITTED, run.stdout + run.stderr
    assert {job["NumCPUs"] for job in jobs.values()} == {"1"}
    assert jobs["rule_train_wildcards_tiny"]["TimeLimit"] == "04:00:00"
    here = Project(copy_of_the_pipeline(tmp_path / "here"), {"tiny": EXPERIMENT})
    here.make(TARGETS[0])
    ours = here.results()
    assert len(ours) >= 6
    assert there.results() == ours


def test_a_failed_job_is_reported_with_its_log(through_slurm):
    _, run, jobs = through_slurm
    assert run.returncode != 0
    text = run.stdout + run.stderr
    assert "this process sees no GPU" in text
    assert "rule train" in text
    (job,) = [job for comment, job in jobs.items() if "_gpu" in comment]
    assert (job["Comment"], job["JobState"]) == ("rule_train_wildcards_gpu", "FAILED")
    assert "gpu" in job["TresPerJob"]
