"""How many image-chips a given interval costs: every image on every chip, or fresh samples.

``python -m benchmarks.precision --model results/lenet_mnist/model.safetensors --data
results/data/mnist.safetensors`` measures, at sigmas 0.1 and 0.2 with no write-verify, the
spread over 300 chips on the whole test set, which gives the half-width of 3,000 such chips; then
it adds chips on sampled images until their half-width is the same.
"""

import argparse
import itertools
import math
import time
from typing import Any

import numpy as np
import torch
from scipy.stats import t

from benchmarks import record
from swim.data.dataset import DataSet
from swim.devices.bit_sliced import Device
from swim.evaluation import monte_carlo, stopping
from swim.networks import checkpoint
from swim.runtime import markdown

REFERENCE = 3000  # chips, about the paper's number


def measure(model: Any, batches: Any, sigma: float, images: int, full: int) -> dict[str, Any]:
    """Image-chips for the half-width of 3,000 full chips, and the time of both ways."""
    device = Device(sigma=sigma, M=8, K=1, convention="release")
    total = sum(len(labels) for _, labels in batches)
    start = time.perf_counter()
    made = monte_carlo.stream(model, batches, device=device)
    exact = np.array([row[1] for row in itertools.islice(made, full)])
    seconds_full = (time.perf_counter() - start) / full
    target = float(t.ppf(0.975, REFERENCE - 1)) * exact.std(ddof=1) / math.sqrt(REFERENCE)
    rows: list[Any] = []
    start = time.perf_counter()
    for row in monte_carlo.stream(model, batches, device=device, images=images):
        rows.append(row)
        done = len(rows) >= 500 and len(rows) % stopping.BLOCK == 0
        if done and stopping.half_width([r[1] for r in rows]) <= target:
            break
    seconds = time.perf_counter() - start
    # Strata also take one pass of the network before programming.
    cost = sum(row[5] for row in rows) + total
    return {
        "sigma": sigma,
        "images_per_chip": images,
        "full_chips": full,
        "full_mean": float(exact.mean()),
        "full_half_width": stopping.half_width(exact),
        "target_half_width": target,
        "sampled_chips": len(rows),
        "sampled_mean": float(np.mean([r[1] for r in rows])),
        "sampled_half_width": stopping.half_width([r[1] for r in rows]),
        "image_chips": cost,
        "share_of_image_chips": cost / (REFERENCE * total),
        "seconds": round(seconds, 1),
        "seconds_for_3000_full_chips": round(seconds_full * REFERENCE, 1),
    }


def main() -> None:
    """Measure and write benchmarks/results/precision.json and .md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="checkpoint")
    parser.add_argument("--data", required=True, help="prepared data set")
    parser.add_argument("--images", type=int, default=200, help="images per chip")
    parser.add_argument("--full", type=int, default=300, help="chips on all images")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    model, settings = checkpoint.load(chosen.model)
    batches = list(DataSet(chosen.data).batches("test", 500))
    rows = [measure(model, batches, s, chosen.images, chosen.full) for s in (0.1, 0.2)]
    heads = ["sigma", "half-width of 3,000 full chips (points)", "sampled chips × images",
             "share of the image-chips", "seconds", "3,000 full chips, seconds"]  # fmt: skip
    cells = [
        [r["sigma"], f"{100 * r['target_half_width']:.4f}",
         f"{r['sampled_chips']} × {r['images_per_chip']}", f"{r['share_of_image_chips']:.1%}",
         f"{r['seconds']:.0f}", f"{r['seconds_for_3000_full_chips']:.0f}"]
        for r in rows
    ]  # fmt: skip
    table = markdown.table(heads, cells, "lrrrrr")
    table += ["", f"The interval and the time of 3,000 full chips are computed from {chosen.full}."]
    command = "python -m benchmarks.precision --model MODEL --data DATA"
    content = {"network": settings["model"], "dataset": settings["dataset"], "points": rows}
    record.save("precision", command, content, table)


if __name__ == "__main__":
    main()
