"""What Snakemake costs: a dry run as experiments are added, and a job through SLURM.

``python -m benchmarks.workflow`` measures the dry runs; ``--slurm`` also starts a SLURM of one
node (as root, see tests/workflow/cluster.py) and sends nearly empty jobs through it.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from benchmarks import record
from swim.runtime import markdown

ROOT = Path(__file__).parents[1]
PARTS = ("Snakefile", "config.yaml", "rules", "swim", "profiles", "envs")
SMALL = {
    "model": {"name": "lenet"},
    "dataset": "mnist5k",
    "training": {"epochs": 1, "quantised_epochs": 0},
    "devices": ["release"],
    "sigmas": ["0.3"],
    "fractions": ["0", "0.1", "1"],
    "methods": ["swim"],
    "chips": 2,
    "test_images": 20,
}


def pipeline(folder: Path, experiments: dict[str, Any] | None) -> Path:
    """A copy of the pipeline, with these experiments, or those shipped."""
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, folder / part)
    if experiments is not None:
        content = yaml.safe_load((ROOT / "config.yaml").read_text())
        text = yaml.safe_dump({**content, "experiments": experiments})
        (folder / "config.yaml").write_text(text)
    return folder


def snakemake(folder: Path, *arguments: str) -> str:
    """Run Snakemake in a folder; returns its output."""
    command = [sys.executable, "-m", "snakemake", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def jobs_in(text: str) -> int:
    """The total of Snakemake's job table."""
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("total "))


def dry_run(experiments: int | None, repeats: int) -> dict[str, Any]:
    """Time of ``snakemake -n`` for the shipped experiments, or for this number of small ones."""
    small = experiments and {f"e{i:04d}": {**SMALL, "seed": i} for i in range(experiments)}
    with tempfile.TemporaryDirectory() as folder:
        place = pipeline(Path(folder), small or None)
        jobs = jobs_in(snakemake(place, "-n", "all"))
        times = record.seconds(lambda: snakemake(place, "-n", "all"), repeats)
    return {"experiments": experiments or "shipped", "jobs": jobs, **record.spread(times)}


def slurm_overhead(jobs: int) -> dict[str, Any]:
    """Seconds per job of ``jobs`` evaluations of two chips, locally and through SLURM."""
    from tests.workflow.cluster import Cluster

    fractions = [f"0.{i:02d}".rstrip("0") for i in range(1, jobs + 1)]
    experiment = {**SMALL, "fractions": fractions}
    points = [f"results/e/chips/release/sigma-0.3/swim/{f}.csv" for f in fractions]
    masks = [f"results/e/masks/release/swim/{f}.npz" for f in fractions]
    slurm = ["--workflow-profile", "profiles/slurm",
             "--slurm-init-seconds-before-status-checks", "4"]  # fmt: skip
    cores = len(os.sched_getaffinity(0))
    result: dict[str, Any] = {"jobs": jobs, "cores": cores}
    with tempfile.TemporaryDirectory() as folder, Cluster():
        place = pipeline(Path(folder), {"e": experiment})
        snakemake(place, "--cores", str(cores), *masks)
        for name, options in (("local", ["--cores", str(cores)]), ("slurm", slurm)):
            shutil.rmtree(place / "results/e/chips", ignore_errors=True)
            (seconds,) = record.seconds(lambda o=options: snakemake(place, *o, *points), 1)  # type: ignore[misc]
            result[name] = round(seconds, 1)
    result["overhead_per_job"] = round((result["slurm"] - result["local"]) / jobs, 2)
    return result


def main() -> None:
    """Measure and write benchmarks/results/workflow.json and .md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slurm", action="store_true", help="also through SLURM, as root")
    parser.add_argument("--jobs", type=int, default=20, help="jobs to send through it")
    chosen = parser.parse_args()
    rows = [dry_run(None, 5), dry_run(100, 5), dry_run(1000, 3)]
    cells = [
        [f"{row['experiments']} experiments", row["jobs"],
         f"{row['median']} ({row['min']}–{row['max']})"]
        for row in rows
    ]  # fmt: skip
    heads = ["`snakemake -n` of", "jobs", "seconds (median, min–max)"]
    table = markdown.table(heads, cells, "lrr")
    content: dict[str, Any] = {"dry_runs": rows}
    if chosen.slurm:
        content["slurm"] = cost = slurm_overhead(chosen.jobs)
        table += [
            "",
            f"{cost['jobs']} evaluations of 2 chips on {cost['cores']} cores: {cost['local']} s "
            f"locally, {cost['slurm']} s through SLURM, "
            f"{cost['overhead_per_job']} s more per job.",
        ]
    record.save("workflow", "python -m benchmarks.workflow --slurm", content, table)


if __name__ == "__main__":
    main()
