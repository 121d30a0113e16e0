"""What all benchmarks share: the machine they ran on, medians, and files of results."""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from swim.runtime import files, machine

CPU = torch.device("cpu")
RESULTS = Path(__file__).parent / "results"


def seconds(run: Callable[[], Any], repeats: int) -> list[float]:
    """Wall-clock seconds of each of ``repeats`` calls, until a GPU has finished their work."""
    times = []
    for _ in range(repeats):
        _finish()
        start = time.perf_counter()
        run()
        _finish()
        times.append(time.perf_counter() - start)
    return times


def _finish() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def spread(times: list[float]) -> dict[str, float]:
    """Median and extremes."""
    return {
        "median": round(statistics.median(times), 4),
        "min": round(min(times), 4),
        "max": round(max(times), 4),
        "runs": len(times),
    }


def save(
    name: str,
    command: str,
    content: dict[str, Any],
    table: list[str],
    place: torch.device = CPU,
) -> None:
    """Write ``results/{name}.json`` and ``.md``, each with the command and the hardware."""
    versions, hardware = machine.versions(), machine.hardware()
    on_gpu = ""
    if place.type == "cuda":
        hardware["gpu"] = machine.runs_on(place)
        on_gpu = f"one {hardware['gpu']} and "
    record = {"command": command, "versions": versions, "hardware": hardware, **content}
    files.write_json(RESULTS / f"{name}.json", record)
    head = (
        f"`{command}` on {on_gpu}{hardware['cores']} cores of {hardware['processor']}; "
        f"torch {versions['torch']}, Python {versions['python']}."
    )
    files.write_text(RESULTS / f"{name}.md", "\n".join([head, "", *table, ""]))
    print("\n".join(table), json.dumps({"written": str(RESULTS / f"{name}.json")}), sep="\n")
