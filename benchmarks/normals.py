"""Time of the normals that chips' errors are made of, by generator.

``python -m benchmarks.normals``: 11.2 million float32 normals, the weights of a ResNet-18, into new
memory, one thread, every way in turn.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks import record
from swim.runtime.normals import standard_normals

COUNT = 11_200_000
REPEATS = 9


def _ziggurat(bits: Callable[[], np.random.BitGenerator]) -> Callable[[], Any]:
    return lambda: np.random.Generator(bits()).standard_normal(COUNT, dtype=np.float32)


def _torch() -> Any:
    return torch.randn(COUNT, generator=torch.Generator().manual_seed(1))


WAYS: dict[str, tuple[Callable[[], Any], str]] = {
    "numpy, Philox": (_ziggurat(lambda: np.random.Philox(key=1)), "numpy's version"),
    "numpy, SFC64": (_ziggurat(lambda: np.random.SFC64(1)), "numpy's version"),
    "numpy, PCG64DXSM": (_ziggurat(lambda: np.random.PCG64DXSM(1)), "numpy's version"),
    "torch": (_torch, "torch's version, the processor"),
    "Box-Muller on Philox (chosen)": (
        lambda: standard_normals(np.random.Philox(key=1), COUNT),
        "nothing: bits that numpy keeps, sums and products",
    ),
    "Box-Muller on SFC64": (
        lambda: standard_normals(np.random.SFC64(1), COUNT),
        "nothing: bits that numpy keeps, sums and products",
    ),
}


def main() -> None:
    """Measure and write benchmarks/results/normals.json and .md."""
    torch.set_num_threads(1)
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for repeat in range(REPEATS + 1):
        for way, (run, _) in WAYS.items():
            (seconds,) = record.seconds(run, 1)
            if repeat:  # the first round warms up
                times[way].append(seconds)
    rows = {way: record.spread(found) for way, found in times.items()}
    lines = [
        "| generator | seconds (median, min–max) | values depend on |",
        "|---|---:|---|",
        *(
            f"| {way} | {row['median']:.3f} ({row['min']:.3f}–{row['max']:.3f}) | {WAYS[way][1]} |"
            for way, row in rows.items()
        ),
    ]
    record.save("normals", "python -m benchmarks.normals", {"count": COUNT, "ways": rows}, lines)


if __name__ == "__main__":
    main()
