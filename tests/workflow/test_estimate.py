"""The jobs that an estimate counts are those that Snakemake would run, and a dry run names it."""

import re
from collections import Counter

import yaml

from swim.cli.planned_jobs import jobs
from swim.settings import load
from swim.settings.plan import Plan
from tests.workflow.conftest import TINY

EXPERIMENTS = {
    "tiny": dict(TINY),
    "many": {
        **TINY, "devices": ["release", "counted"], "sigmas": ["0.1", "0.3"],
        "methods": ["swim", "magnitude", "fisher", "swim_device", "reslice"],
        "budgets": ["0.05", "0.1"], "in_situ": {"budgets": ["0.5"]},
        "correlate": {"sigmas": ["0.1", "0.3"], "chips": 2, "methods": ["swim", "gradient"]},
    },
    "taken": {**TINY, "checkpoint": "results/tiny/model.safetensors", "dataset": "mnist"},
}  # fmt: skip


def counted(text):
    """Rule -> jobs, from the first of Snakemake's tables."""
    table = text.split("Job stats:")[1].split("total")[0]
    return Counter({rule: int(n) for rule, n in re.findall(r"^(\w+)\s+(\d+)$", table, re.M)})


def test_counted_jobs_are_those_of_snakemakes_dry_run(project):
    """Slow twin: the table of jobs of the pipeline itself."""
    project.experiments = EXPERIMENTS
    for targets in (["tiny"], ["taken", "many"]):
        said = project.make("-n", *targets, "--quiet", "rules")
        plan = Plan(load(yaml.safe_load((project.folder / "config.yaml").read_text())))
        planned = Counter(job.rule for job in jobs(plan, targets))
        # A target is a job of its own, which runs nothing.
        assert planned + Counter(targets) == counted(said)
        assert f"swim estimate {targets[0]}" in said
    assert not (project.folder / "results").exists()
