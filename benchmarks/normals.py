"""Time of the normals that chips' errors are made of, and of programming a chip with them.

``python -m benchmarks.normals``: one thread, CPU time. First 11.2 million float32 normals, the
weights of a ResNet-18, into new memory, every way in turn. Then chips in the closed form, with a
tenth of the weights verified, in pairs: with ``SWIM_COMPILED=0``, and with machine code. A shared
processor disturbs both of a pair, so the result is the median of the pairs' ratios.
"""

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import record, subjects
from benchmarks.engine import DEVICE
from swim.programming.chip import Chip
from swim.programming.mask import VerifyMask
from swim.runtime.normals import standard_normals

COUNT = 11_200_000
REPEATS = 9
# network -> its name here, and chips in a run of a pair
NETWORKS = {"LeNet": ("lenet", 100), "ConvNet": ("convnet", 10), "ResNet-18": ("resnet18", 2)}
WAYS = ("0", "1")


def _ziggurat(bits: Callable[[], np.random.BitGenerator]) -> Callable[[], Any]:
    return lambda: np.random.Generator(bits()).standard_normal(COUNT, dtype=np.float32)


def _torch() -> Any:
    return torch.randn(COUNT, generator=torch.Generator().manual_seed(1))


def _box_muller(bits: Callable[[], np.random.BitGenerator], compiled: str) -> Callable[[], Any]:
    def run() -> Any:
        os.environ["SWIM_COMPILED"] = compiled
        return standard_normals(bits(), COUNT)

    return run


def _philox() -> np.random.BitGenerator:
    return np.random.Philox(key=1)


def _sfc64() -> np.random.BitGenerator:
    return np.random.SFC64(1)


NOTHING = "nothing: bits that numpy keeps, sums and products"
GENERATORS: dict[str, tuple[Callable[[], Any], str]] = {
    "numpy, Philox": (_ziggurat(_philox), "numpy's version"),
    "numpy, SFC64": (_ziggurat(_sfc64), "numpy's version"),
    "numpy, PCG64DXSM": (_ziggurat(lambda: np.random.PCG64DXSM(1)), "numpy's version"),
    "torch": (_torch, "torch's version, the processor"),
    "Box-Muller on Philox in machine code (chosen)": (_box_muller(_philox, "1"), NOTHING),
    "Box-Muller on Philox in numpy, with the same bits": (_box_muller(_philox, "0"), NOTHING),
    "Box-Muller on SFC64 in machine code": (_box_muller(_sfc64, "1"), NOTHING),
    "Box-Muller on SFC64 in numpy": (_box_muller(_sfc64, "0"), NOTHING),
}


def seconds(run: Callable[[], Any]) -> float:
    """CPU seconds of a call."""
    began = time.process_time()
    run()
    return time.process_time() - began


def generators() -> dict[str, dict[str, float]]:
    """CPU seconds of each generator."""
    times: dict[str, list[float]] = {way: [] for way in GENERATORS}
    for repeat in range(REPEATS + 1):
        for way, (run, _) in GENERATORS.items():
            taken = seconds(run)
            if repeat:  # the first round warms up
                times[way].append(taken)
    return {way: record.spread(found) for way, found in times.items()}


def _weights(name: str) -> dict[str, Tensor]:
    parameters = subjects.network(name, None).named_parameters()
    return {key: value.detach().clone() for key, value in parameters if value.dim() > 1}


def chips(name: str, together: int) -> dict[str, Any]:
    """Milliseconds of CPU time a chip, with machine code and without, and the pairs' ratios."""
    targets = _weights(name)
    generator = torch.Generator().manual_seed(1)
    mask = {key: torch.rand(t.shape, generator=generator) < 0.1 for key, t in targets.items()}

    def program() -> None:
        for index in range(together):
            VerifyMask(mask).program(Chip(targets, DEVICE, 0, index))

    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for repeat in range(REPEATS + 1):
        for way in WAYS:
            os.environ["SWIM_COMPILED"] = way
            taken = 1e3 * seconds(program) / together
            if repeat:
                times[way].append(taken)
    ratios = sorted(off / on for off, on in zip(times["0"], times["1"], strict=True))
    count = sum(target.numel() for target in targets.values())
    return {
        "weights": count,
        "milliseconds_a_chip": {way: record.spread(found) for way, found in times.items()},
        "nanoseconds_a_weight": round(1e6 * statistics.median(times["1"]) / count, 2),
        "ratio": {"median": statistics.median(ratios), "min": ratios[0], "max": ratios[-1]},
    }


def main() -> None:
    """Measure and write benchmarks/results/normals.json and .md."""
    torch.set_num_threads(1)
    rows = generators()
    lines = [
        "| generator of 11.2 million normals | CPU seconds (median, min–max) | values depend on |",
        "|---|---:|---|",
    ]
    for way, row in rows.items():
        spread = f"{row['median']:.3f} ({row['min']:.3f}–{row['max']:.3f})"
        lines.append(f"| {way} | {spread} | {GENERATORS[way][1]} |")
    programmed = {title: chips(*case) for title, case in NETWORKS.items()}
    lines += [
        "",
        "| chip, closed form | weights | ms a chip in numpy | in machine code | ns a weight "
        "| ratio of pairs, median (min–max) |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for title, chip in programmed.items():
        each, ratio = chip["milliseconds_a_chip"], chip["ratio"]
        lines.append(
            f"| {title} | {chip['weights']:,} | {each['0']['median']:.2f} | "
            f"{each['1']['median']:.2f} | {chip['nanoseconds_a_weight']:.1f} | "
            f"**{ratio['median']:.2f}** ({ratio['min']:.2f}–{ratio['max']:.2f}) |"
        )
    content = {"count": COUNT, "ways": rows, "chips": programmed}
    record.save("normals", "python -m benchmarks.normals", content, lines)


if __name__ == "__main__":
    main()
