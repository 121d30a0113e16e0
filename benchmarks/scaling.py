"""How cost grows with weights, chips, methods and jobs: fitted exponents, with a plot.

``python -m benchmarks.scaling``: one thread. An exponent of 1 is a proportional cost. A
smaller one includes a fixed cost: the start of Python, the overhead of a forward pass.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import swim
from benchmarks import record, subjects
from benchmarks.workflow import dry_run
from swim.curvature.estimate import second_derivative
from swim.runtime import markdown

Point = tuple[float, float]
DEVICE = swim.Device(sigma=0.1, M=8, K=1)


def _mlp(width: int) -> tuple[nn.Module, int]:
    torch.manual_seed(0)
    layers = nn.Linear(256, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
    model = nn.Sequential(*layers, nn.Linear(width, 10)).eval()
    return model, width * (256 + width + 10)


def _median(run: Callable[[], Any], repeats: int = 5) -> float:
    run()
    return record.spread(record.seconds(run, repeats))["median"]


def weights_sensitivity() -> list[Point]:
    """One pass of 256 samples, by number of weights."""
    batch = torch.randn(256, 256), torch.zeros(256, dtype=torch.long)
    sizes = [_mlp(width) for width in (64, 128, 256, 512, 1024, 2048)]
    return [(n, _median(lambda: second_derivative(m, [batch]))) for m, n in sizes]  # noqa: B023


def weights_chips() -> list[Point]:
    """One chip on 256 samples, by number of weights."""
    from swim.evaluation import monte_carlo

    batch = torch.randn(256, 256), torch.zeros(256, dtype=torch.long)
    points: list[Point] = []
    for width in (64, 128, 256, 512, 1024, 2048):
        model, count = _mlp(width)
        made = monte_carlo.stream(model, [batch], device=DEVICE)
        seconds = _median(lambda: [next(made) for _ in range(8)]) / 8  # noqa: B023
        points.append((count, seconds))
    return points


def chips_a_point() -> list[Point]:
    """LeNet on 500 images, by number of chips."""
    model, batch = subjects.network("lenet", 4), subjects.images("lenet", 500)

    def run(chips: int) -> Any:
        return swim.evaluate(model, [batch], device=DEVICE, chips=chips)

    return [(n, _median(lambda: run(n), 3)) for n in (8, 16, 32, 64, 128)]  # noqa: B023


def methods() -> list[Point]:
    """Masks at 20 fractions of a million weights, by number of methods."""
    scores = {"w": torch.rand(1000, 1000)}
    fractions = [f"{i / 20:.2f}".rstrip("0").rstrip(".") for i in range(1, 21)]

    def run(count: int) -> None:
        for _ in range(count):
            for fraction in fractions:
                swim.select(scores, fraction)

    return [(n, _median(lambda: run(n), 3)) for n in (1, 2, 4, 8)]  # noqa: B023


def jobs() -> list[Point]:
    """Snakemake's dry run, by number of jobs."""
    rows = [dry_run(experiments, 3) for experiments in (10, 30, 100, 300)]
    return [(row["jobs"], row["median"]) for row in rows]


CURVES: dict[str, tuple[str, Callable[[], list[Point]]]] = {
    "sensitivity": ("weights", weights_sensitivity),
    "one chip": ("weights", weights_chips),
    "one point": ("chips", chips_a_point),
    "masks": ("methods", methods),
    "dry run": ("jobs", jobs),
}


def exponent(points: list[Point]) -> float:
    """Slope of log seconds over log size, least squares."""
    sizes, seconds = np.log(np.array(points)).T
    return float(np.polyfit(sizes, seconds, 1)[0])


def plot(found: dict[str, dict[str, Any]], path: Path) -> None:
    """One panel per curve, both axes logarithmic, with a line of exponent 1 through the last."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import NullFormatter

    figure, axes = plt.subplots(1, len(found), figsize=(3 * len(found), 3), layout="constrained")
    for ax, (name, row) in zip(axes, found.items(), strict=True):
        x, y = np.array(row["points"]).T
        ax.loglog(x, y, "o-", label=f"measured, exponent {row['exponent']:.2f}")
        ax.loglog(x, y[-1] * x / x[-1], ":", color="grey", label="in proportion")
        ax.set(title=name, xlabel=row["of"], ylabel="seconds")
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.legend(fontsize="x-small")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure and write benchmarks/results/scaling.json, .md and .png."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(1)
    found: dict[str, dict[str, Any]] = {}
    for name, (of, run) in CURVES.items():
        points = run()
        found[name] = {"of": of, "points": points, "exponent": round(exponent(points), 2)}
        print(name, found[name], file=sys.stderr)
    plot(found, record.RESULTS / "scaling.png")
    rows: list[list[object]] = []
    for name, row in found.items():
        first, last = row["points"][0], row["points"][-1]
        seconds = f"{first[1]:.3g} to {last[1]:.3g}"
        rows.append([name, row["of"], f"{first[0]:,.0f}", f"{last[0]:,.0f}", seconds,
                     f"{row['exponent']:.2f}"])  # fmt: skip
    heads = ["cost", "grows with", "from", "to", "seconds", "exponent"]
    table = markdown.table(heads, rows, "llrrlr")
    table += ["", "![Time over size, both axes logarithmic](scaling.png)"]
    record.save("scaling", "python -m benchmarks.scaling", found, table)


if __name__ == "__main__":
    main()
