"""``swim estimate`` against a run: core-seconds by step, and wall time.

``python -m benchmarks.estimate`` measures parts, then runs ``quick`` in an empty folder on all
cores, and compares; ``--experiment NAME --config FILE`` another experiment of other settings.
"""

import argparse
import collections
import os
import shutil
import tempfile
import time
from pathlib import Path

from benchmarks import record
from benchmarks.steps import jobs
from benchmarks.workflow import pipeline, snakemake
from swim.cli.estimate import configuration, times_of
from swim.cli.planned_jobs import STEPS
from swim.cli.run_estimate import RunEstimate, text_of
from swim.reports import run_cost
from swim.runtime import markdown


def main() -> None:
    """Measure and write benchmarks/results/estimate-{experiment}.json and .md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiment", default="quick", help="to run")
    parser.add_argument("--config", default="config.yaml", help="settings that have it")
    chosen = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    run = RunEstimate(configuration([chosen.config]), [chosen.experiment])
    times = times_of(run, measure=True)
    costs = run.costs(lambda name, part: times[name][text_of(part)])
    with tempfile.TemporaryDirectory() as name:
        folder = pipeline(Path(name), None)
        shutil.copy(chosen.config, folder / "config.yaml")
        began = time.perf_counter()
        snakemake(folder, "--cores", str(cores), chosen.experiment)
        wall = time.perf_counter() - began
        ran = jobs(folder)
    steps = {cost.job.rule: (cost.job.step, cost.job.threads) for cost in costs}
    actual: dict[str, float] = collections.defaultdict(float)
    for rule, spans in ran.items():
        step, threads = steps[rule]
        actual[step] += sum(end - start for start, end in spans) * threads
    rows, content = [], {}
    for step in STEPS:
        expected = 3600 * run_cost.core_hours([cost for cost in costs if cost.job.step == step])
        rows.append([step, f"{expected:.0f}", f"{actual[step]:.0f}",
                     f"{expected / max(actual[step], 1e-9):.2f}"])  # fmt: skip
        content[step] = {"estimated": expected, "run": actual[step]}
    expected = run_cost.wall_seconds(costs, cores)
    rows.append(["wall time", f"{expected:.0f}", f"{wall:.0f}", f"{expected / wall:.2f}"])
    content["wall"] = {"estimated": expected, "run": wall}
    heads = ["step, core-seconds", "estimated", "run", "estimated over run"]
    table = markdown.table(heads, rows, "lrrr")
    table += ["", f"`{chosen.experiment}` on {cores} cores; wall time without Snakemake's own in "
              "the estimate."]  # fmt: skip
    command = f"python -m benchmarks.estimate --experiment {chosen.experiment}"
    record.save(f"estimate-{chosen.experiment}", command, {"steps": content}, table)


if __name__ == "__main__":
    main()
