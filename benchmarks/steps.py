"""Where the time of an experiment goes, step by step.

``python -m benchmarks.steps`` copies the pipeline to an empty folder and runs ``quick`` on all
cores; ``--experiment lenet_mnist --config data_root=... `` another one. Times are Snakemake's own
records of its jobs; the rest is Snakemake itself, and cores without a job.
"""

import argparse
import collections
import json
import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.workflow import pipeline, snakemake
from swim.runtime import markdown

# What the experiment is about; the rest is overhead.
WORK = ("train", "sensitivity", "evaluate", "evaluate_none_verified", "evaluate_all_verified")


def jobs(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Start and end of every job that ran in a folder, by rule."""
    records = [json.loads(p.read_text()) for p in (folder / ".snakemake/metadata").iterdir()]
    # One record an output; a job has several.
    ran = {(r["rule"], r["shellcmd"]): (r["starttime"], r["endtime"]) for r in records}
    by_rule = collections.defaultdict(list)
    for (rule, _), times in sorted(ran.items()):
        by_rule[rule].append(times)
    return dict(by_rule)


def covered(times: Iterable[tuple[float, float]]) -> float:
    """Seconds in which at least one of some jobs ran."""
    total, until = 0.0, 0.0
    for start, end in sorted(times):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total


def main() -> None:
    """Measure and write benchmarks/results/steps-{experiment}.json and .md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiment", default="quick", help="target to run")
    parser.add_argument("--folder", type=Path, help="where to run and keep it (empty or new)")
    parser.add_argument("--config", nargs="*", default=[], help="settings, as Snakemake takes them")
    chosen = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        folder = chosen.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        pipeline(folder, None)
        start = time.perf_counter()
        config = ["--config", *chosen.config] if chosen.config else []
        snakemake(folder, "--cores", str(cores), chosen.experiment, *config)
        wall = time.perf_counter() - start
        ran = jobs(folder)
    found = {rule: [end - start for start, end in times] for rule, times in ran.items()}
    total = wall * cores
    rest = total - sum(sum(seconds) for seconds in found.values())
    work = sum(sum(found.get(rule, [])) for rule in WORK)
    rows: dict[str, Any] = {
        rule: {"jobs": len(seconds), "core_seconds": round(sum(seconds), 1)}
        for rule, seconds in sorted(found.items(), key=lambda item: -sum(item[1]))
    }
    rows["no job"] = {"jobs": 0, "core_seconds": round(rest, 1)}
    cells = [
        [rule, row["jobs"], f"{row['core_seconds']:.1f}", f"{row['core_seconds'] / total:.1%}"]
        for rule, row in rows.items()
    ]
    table = markdown.table(["step", "jobs", "core-seconds", "share"], cells, "lrrr")
    outside = 1 - work / total
    without = 1 - covered(times for rule in WORK for times in ran.get(rule, [])) / wall
    table += [
        "",
        f"`{chosen.experiment}` took {wall:.0f} s on {cores} cores. No training, sensitivity or "
        f"chips ran in {without:.1%} of that time, and {outside:.1%} of the core-seconds went "
        "elsewhere or idle: one core does while the network is trained on the other.",
    ]
    content = {"wall_seconds": round(wall, 1), "cores": cores, "steps": rows,
               "seconds_without_training_sensitivity_chips": round(without, 4),
               "outside_training_sensitivity_chips": round(outside, 4)}  # fmt: skip
    command = f"python -m benchmarks.steps --experiment {chosen.experiment}"
    record.save(f"steps-{chosen.experiment}", command, content, table)


if __name__ == "__main__":
    main()
