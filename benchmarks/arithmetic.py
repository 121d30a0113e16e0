"""bfloat16 against float32 on chips of a trained network: time, mean accuracy, predictions.

``python -m benchmarks.arithmetic results/resnet18_cifar10 ...`` takes experiments whose network
is trained. Each chip is programmed once (no weight verified) and measured on the same images both
ways, in turn, so that a shared processor disturbs both; the difference of accuracies is paired.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import record
from swim.cli.accelerator import start
from swim.data.dataset import DataSet
from swim.devices.bit_sliced import Device
from swim.engine.evaluator import Network
from swim.evaluation.stopping import half_width
from swim.networks import checkpoint
from swim.programming.chip import Chip
from swim.programming.mask import VerifyMask
from swim.runtime import machine, markdown
from swim.settings import Compute

WAYS = ("float32", "bfloat16")
SIGMAS = (0.1, 0.2)


def _predictions(network: Network, weights: dict[str, Tensor], images: int) -> Tensor:
    """The class of each image."""
    size = network.passes.way.images(1)
    chosen = network._chosen([torch.arange(images)], size)
    parts = network.passes.run([weights], chosen, lambda outputs, _: outputs[0].argmax(-1))
    return torch.cat(parts)


def measure(folder: Path, sigma: float, chips: int, images: int) -> dict[str, Any]:
    """One network at one sigma."""
    model, made = checkpoint.load(folder / "model.safetensors")
    data = DataSet(folder.parent / "data" / f"{made['dataset']}.safetensors")
    batches = list(data.batches("test", 500, images))
    labels = torch.cat([y for _, y in batches])
    device = Device(M=8, K=1, sigma=sigma, convention="release")
    with torch.no_grad():
        networks = {
            way: Network(model, batches, "cross_entropy", bfloat16=way == "bfloat16")
            for way in WAYS
        }
        targets = networks["float32"].targets
        seconds: dict[str, list[float]] = {way: [] for way in (*WAYS, "programming")}
        accuracy: dict[str, list[float]] = {way: [] for way in WAYS}
        clean = [_predictions(networks[way], targets, images) for way in WAYS]
        changed = []
        for index in range(chips):
            began = time.perf_counter()
            weights = VerifyMask({}).program(Chip(targets, device, 0, index)).weights
            seconds["programming"].append(time.perf_counter() - began)
            found = {}
            for way in WAYS if index % 2 else WAYS[::-1]:
                began = time.perf_counter()
                found[way] = _predictions(networks[way], weights, images)
                seconds[way].append(time.perf_counter() - began)
                accuracy[way].append(float((found[way] == labels).double().mean()))
            changed.append(float((found["float32"] != found["bfloat16"]).double().mean()))
    differences = [b - a for a, b in zip(*(accuracy[way] for way in WAYS), strict=True)]
    passes = [a / b for a, b in zip(*(seconds[way] for way in WAYS), strict=True)]
    whole = [
        (a + p) / (b + p)
        for a, b, p in zip(*(seconds[way] for way in (*WAYS, "programming")), strict=True)
    ]
    return {
        "network": folder.name, "sigma": sigma, "chips": chips, "images": images,
        "clean": [float((p == labels).double().mean()) for p in clean],
        "clean_changed": float((clean[0] != clean[1]).double().mean()),
        "accuracy": statistics.mean(accuracy["float32"]),
        "difference": statistics.mean(differences), "ci95": half_width(differences),
        "changed": statistics.mean(changed),
        "seconds": {way: statistics.median(values) for way, values in seconds.items()},
        "passes": {"median": statistics.median(passes), "min": min(passes), "max": max(passes)},
        "whole": {"median": statistics.median(whole), "min": min(whole), "max": max(whole)},
    }  # fmt: skip


def _spread(ratio: dict[str, float]) -> str:
    return f"{ratio['median']:.2f} ({ratio['min']:.2f}–{ratio['max']:.2f})"


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        row["network"], f"{row['sigma']:g}", f"{100 * row['accuracy']:.2f}",
        f"{100 * row['difference']:+.3f} ± {100 * row['ci95']:.3f}",
        f"{100 * row['changed']:.2f} %", f"{1e3 * row['seconds']['float32'] / row['images']:.2f}",
        f"{1e3 * row['seconds']['bfloat16'] / row['images']:.2f}", _spread(row["passes"]),
        f"{row['seconds']['programming']:.2f}", _spread(row["whole"]),
    ]  # fmt: skip


def main() -> None:
    """Measure and write benchmarks/results/arithmetic.json and .md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, help="results/EXPERIMENT, ...")
    parser.add_argument("--chips", type=int, default=20)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    place = start(Compute(accelerator="cpu", arithmetic_threads=chosen.threads))
    rows = []
    for folder in chosen.folders:
        for sigma in SIGMAS:
            rows.append(measure(folder, sigma, chosen.chips, chosen.images))
            print(json.dumps(rows[-1]), flush=True)
    head = [
        "network", "sigma", "accuracy, %", "bfloat16 − float32, points", "other predictions",
        "float32, ms an image", "bfloat16", "ratio of passes, median (min–max)",
        "programming, s", "ratio with programming",
    ]  # fmt: skip
    units = machine.bfloat16_units(place) or "no units for bfloat16"
    about = (
        f"{chosen.chips} chips, {chosen.images:,} test images each, {chosen.threads} "
        f"thread{'s' if chosen.threads > 1 else ''}, {units}; 95 % intervals."
    )
    table = [*markdown.table(head, [_cells(row) for row in rows], "lrrrrrrrrr"), "", about]
    names = " ".join(str(folder) for folder in chosen.folders)
    record.save("arithmetic", f"python -m benchmarks.arithmetic {names}", {"rows": rows}, table)
    print("\n".join(table))


if __name__ == "__main__":
    main()
