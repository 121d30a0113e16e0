"""What an interval of the mean costs: every image on every chip, samples of 200, or a chosen size.

``python -m benchmarks.precision --model results/lenet_mnist/model.safetensors --data
results/data/mnist.safetensors`` measures chips with no write-verify at three sigmas in each way.
The time to a given half-width goes with the square of the half-width, so "time times half-width
squared" compares ways at equal precision; its ratios are the gains.
"""

import argparse
import itertools
import time
from typing import Any

import numpy as np
import torch

from benchmarks import record
from swim.data.dataset import DataSet
from swim.devices.bit_sliced import Device
from swim.evaluation import monte_carlo, stopping
from swim.networks import checkpoint
from swim.runtime import markdown


def measure(
    model: Any, network: Any, sigma: float, images: monte_carlo.Images | None, chips: int
) -> dict[str, Any]:
    """Some chips in one way: their mean with its interval, and their CPU time.

    With a sample, the pilot and the pass before programming are in the time. On all images, the
    time does not depend on the number of chips.
    """
    device = Device(sigma=sigma, M=8, K=1, convention="release")
    start = time.process_time()
    made = monte_carlo.rows_of(model, network, device=device, images=images)
    rows = list(itertools.islice(made, chips))
    seconds = time.process_time() - start
    accuracies = np.array([row[1] for row in rows])
    half = stopping.half_width(accuracies)
    return {
        "sigma": sigma,
        "images": "all" if images is None else images,
        "images_per_chip": rows[-1][5],
        "chips": chips,
        "mean": float(accuracies.mean()),
        "half_width": half,
        "seconds": round(seconds, 1),
        "seconds_at_a_tenth_of_a_point": seconds * (half / 0.001) ** 2,
    }


def lines(points: list[dict[str, Any]]) -> list[str]:
    """The table: a way a row, gains over samples of 200."""
    cells = []
    for point in points:
        usual = next(p for p in points if (p["sigma"], p["images"]) == (point["sigma"], 200))
        gain = usual["seconds_at_a_tenth_of_a_point"] / point["seconds_at_a_tenth_of_a_point"]
        way = point["images"] if point["images"] != "auto" else f"auto: {point['images_per_chip']}"
        cells.append(
            [point["sigma"], way, point["chips"],
             f"{100 * point['mean']:.2f} ± {100 * point['half_width']:.2f}",
             f"{point['seconds']:.0f}", f"{gain:.2g}"]
        )  # fmt: skip
    heads = ["sigma", "images a chip", "chips", "mean accuracy (%)", "CPU seconds", "gain"]
    return [
        *markdown.table(heads, cells, "llrrrr"),
        "",
        "Gain: CPU time at the same half-width, samples of 200 over this way. No write-verify.",
    ]


def main() -> None:
    """Measure and store, among the results as ``precision-`` and the network's name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="checkpoint")
    parser.add_argument("--data", required=True, help="prepared data set")
    parser.add_argument("--chips", type=int, default=300, help="with a sample of images")
    parser.add_argument("--full", type=int, default=300, help="chips on all images; 0: none")
    parser.add_argument("--arithmetic", default="float32", choices=("float32", "bfloat16"))
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    model, settings = checkpoint.load(chosen.model)
    batches = list(DataSet(chosen.data).batches("test", 500))
    network = monte_carlo.prepare(model, batches, arithmetic=chosen.arithmetic)
    ways: dict[monte_carlo.Images | None, int] = {200: chosen.chips, "auto": chosen.chips}
    if chosen.full:
        ways[None] = chosen.full
    measure(model, network, 0.1, None, network.group)  # what is recorded once is then recorded
    points = []
    for sigma, (images, chips) in itertools.product((0.1, 0.2, 0.3), ways.items()):
        points.append(measure(model, network, sigma, images, chips))
        print(points[-1], flush=True)
    name = settings["model"]["name"]
    command = (
        f"python -m benchmarks.precision --model {chosen.model} --data {chosen.data} "
        f"--chips {chosen.chips} --full {chosen.full} --arithmetic {chosen.arithmetic}"
    )
    content = {"network": settings["model"], "dataset": settings["dataset"], "points": points}
    record.save(f"precision-{name}", command, content, lines(points))


if __name__ == "__main__":
    main()
