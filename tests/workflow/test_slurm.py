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


def new_jobs(cluster, before):
    """Comment -> record of the jobs that are not in ``before``."""
    known = {job["JobId"] for job in before}
    return {job["Comment"]: job for job in cluster.jobs() if job["JobId"] not in known}


def test_the_same_bytes_as_a_local_run(cluster, tmp_path):
    there = Project(copy_of_the_pipeline(tmp_path / "there"), {"tiny": EXPERIMENT}, cold=True)
    here = Project(copy_of_the_pipeline(tmp_path / "here"), {"tiny": EXPERIMENT})
    before = cluster.jobs()
    there.make(*SLURM, "tiny", cores=None)
    jobs = new_jobs(cluster, before)
    assert {comment: job["JobState"] for comment, job in jobs.items()} == SUBMITTED
    assert {job["NumCPUs"] for job in jobs.values()} == {"1"}
    assert jobs["rule_train_wildcards_tiny"]["TimeLimit"] == "04:00:00"
    here.make("tiny")
    ours = here.results()
    assert len(ours) >= 6
    assert there.results() == ours


def test_a_failed_job_is_reported_with_its_log(cluster, tmp_path):
    """A GPU is scheduled (/dev/null plays one), and the job finds that it is none."""
    experiment = {**EXPERIMENT, "accelerator": "cuda"}
    project = Project(copy_of_the_pipeline(tmp_path / "project"), {"tiny": experiment}, cold=True)
    before = cluster.jobs()
    run = project.snakemake(*SLURM, "--retries", "0", "tiny", cores=None)
    assert run.returncode != 0
    text = run.stdout + run.stderr
    assert "this process sees no GPU" in text
    assert "rule train" in text
    jobs = new_jobs(cluster, before)
    assert {comment: job["JobState"] for comment, job in jobs.items()} == {
        "rule_train_wildcards_tiny": "FAILED"
    }
    (job,) = jobs.values()
    assert "gpu" in job["TresPerJob"]
