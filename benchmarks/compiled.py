"""What compiled passes gain, by network: CPU seconds per chip with them and without, in pairs.

``python -m benchmarks.compiled``: one thread, one process, the two ways in turn
(``SWIM_COMPILED=0`` and ``1``). A shared processor disturbs both runs of a pair, so the result
is the median of the pairs' ratios.
"""

import argparse
import os
import statistics
import time
from collections.abc import Iterator
from typing import Any

from benchmarks import record, subjects
from benchmarks.engine import DEVICE
from swim.cli.accelerator import start
from swim.engine.evaluator import GROUP
from swim.evaluation import monte_carlo
from swim.runtime import markdown
from swim.settings import Compute

# name -> network, bits, images a chip, chips at once
CASES: dict[str, tuple[str, int | None, int, int]] = {
    "LeNet, 4 bits": ("lenet", 4, 5_000, GROUP),
    "LeNet": ("lenet", None, 5_000, GROUP),
    "ConvNet": ("convnet", None, 200, 1),
    "ResNet-18": ("resnet18", None, 50, 1),
}
WAYS = ("0", "1")


def _chips(name: str, bits: int | None, images: int) -> Iterator[Any]:
    model, (x, y) = subjects.network(name, bits), subjects.images(name, images)
    batches = list(zip(x.split(500), y.split(500), strict=True))
    return monte_carlo.stream(model, batches, device=DEVICE)


def measure(case: tuple[str, int | None, int, int], pairs: int) -> dict[str, Any]:
    """CPU seconds a chip of each way, the first group's beside, and the pairs' ratios."""
    name, bits, images, together = case
    chips: dict[str, Iterator[Any]] = {}
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    first: dict[str, float] = {}
    for way in WAYS:
        os.environ["SWIM_COMPILED"] = way
        began = time.process_time()
        chips[way] = _chips(name, bits, images)
        next(chips[way])  # which traces, tries and compiles
        first[way] = round(time.process_time() - began, 2)
        for _ in range(together - 1):
            next(chips[way])
    for _ in range(pairs):
        for way in WAYS:
            began = time.process_time()
            for _ in range(together):
                next(chips[way])
            seconds[way].append((time.process_time() - began) / together)
    ratios = sorted(off / on for off, on in zip(seconds["0"], seconds["1"], strict=True))
    return {
        "images": images,
        "first_chip_seconds": first,
        "seconds_a_chip": {way: statistics.median(values) for way, values in seconds.items()},
        "ratio": {"median": statistics.median(ratios), "min": ratios[0], "max": ratios[-1]},
    }


def main() -> None:
    """Measure and write benchmarks/results/compiled.json and .md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=9, help="pairs of each network")
    chosen = parser.parse_args()
    place = start(Compute(accelerator="cpu"))
    content: dict[str, Any] = {}
    cells: list[list[str]] = []
    for name, case in CASES.items():
        row = content[name] = measure(case, chosen.pairs)
        s, r, first = row["seconds_a_chip"], row["ratio"], row["first_chip_seconds"]
        ratio = f"{r['median']:.2f} ({r['min']:.2f}–{r['max']:.2f})"
        cells.append([f"{name}, {row['images']:,}", f"{s['0']:.3f}", f"{s['1']:.3f}", ratio,
                      f"{first['0']:.1f}", f"{first['1']:.1f}"])  # fmt: skip
        print(cells[-1], flush=True)
    heads = ["network, images per chip", "CPU seconds per chip without", "with",
             "without / with, median (min–max)", "first chip without", "with"]  # fmt: skip
    table = markdown.table(heads, cells, "lrrrrr")
    record.save("compiled", "python -m benchmarks.compiled", content, table, place)


if __name__ == "__main__":
    main()
