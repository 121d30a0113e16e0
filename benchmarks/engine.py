"""Image-chips a second: this engine against a naive twin, and against the machine's limit.

``python -m benchmarks.engine --model results/lenet_mnist/model.safetensors --data
results/data/mnist.safetensors``. The naive twin does what the paper's first release does, one
chip after the other: noise drawn slice by slice on the CPU into a copy of the network, and one
more pass through a ``DataLoader`` that decodes every image again (or, second row, through batches
of 128 kept in memory). All are measured in turn, in one process, on one thread.
"""

import argparse
import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks import record
from swim import chips, network
from swim.data import DataSet
from swim.devices import Device

Batches = Iterable[tuple[Tensor, Tensor]]
DEVICE = Device(sigma=0.3, M=8, K=1, convention="release")
BATCH = 128


class Decoded(Dataset[tuple[Tensor, int]]):
    """Images as torchvision's data sets give them: turned into tensors each time."""

    def __init__(self, data: DataSet, count: int):
        images = data._tensors["test_images"][:count]
        self._images = [transforms.functional.to_pil_image(image) for image in images]
        self._labels = data.labels("test")[:count].tolist()
        steps = [transforms.ToTensor(), transforms.Normalize(data.mean, data.std)]
        self._transform = transforms.Compose(steps)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(self._images[index]), self._labels[index]


def naive_chip(model: nn.Module, batches: Batches) -> int:
    """How many images one chip classifies rightly, the simple way."""
    chip = copy.deepcopy(model)
    with torch.no_grad():
        for layer in chip.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                scale = layer.weight.abs().max()
                noise = torch.zeros_like(layer.weight)
                for significance in DEVICE.significance:
                    noise += significance * DEVICE.sigma * torch.randn_like(layer.weight)
                layer.weight += scale * noise
        return sum(int((chip(x).argmax(1) == y).sum()) for x, y in batches)


def matrix_product_rate(size: int = 1024, repeats: int = 10) -> float:
    """Floating-point operations a second of a float32 matrix product."""
    a = torch.randn(size, size)
    times = record.seconds(lambda: a @ a, repeats)
    return 2 * size**3 / min(times)


def operations(model: nn.Module, image: Tensor) -> int:
    """Multiplications and additions of one image's linear and convolutional layers."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(image)
    total: int = counter.get_total_flops()
    return total


def main() -> None:
    """Measure and write benchmarks/results/engine.json and .md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="checkpoint")
    parser.add_argument("--data", required=True, help="prepared data set")
    parser.add_argument("--images", type=int, default=10_000, help="test images")
    parser.add_argument("--repeats", type=int, default=7, help="chips of each kind")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    model, settings = network.load(chosen.model)
    data = DataSet(chosen.data)
    count = min(chosen.images, data.size("test"))
    loader = DataLoader(Decoded(data, count), batch_size=BATCH)
    in_memory = list(data.batches("test", BATCH, count))
    engine = chips.stream(model, data.batches("test", 500, count), device=DEVICE)
    ways: dict[str, Callable[[], Any]] = {
        "naive, data loader": lambda: naive_chip(model, loader),
        "naive, images in memory": lambda: naive_chip(model, in_memory),
        "swim": lambda: next(engine),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    rates = []
    for repeat in range(chosen.repeats + 1):
        rates.append(matrix_product_rate())
        for name, way in ways.items():
            (seconds,) = record.seconds(way, 1)
            if repeat:  # the first round warms up
                times[name].append(seconds)
    work = operations(model, data.inputs("test", slice(0, 1))) * count
    found = {name: record.spread(values) for name, values in times.items()}
    best = found["swim"]["median"]
    share = work / best / max(rates)
    table = ["| one chip, " + f"{count:,} images | seconds (median, min–max) | times as long |",
             "|---|---:|---:|"]  # fmt: skip
    for name, row in found.items():
        ratio = row["median"] / best
        table.append(
            f"| {name} | {row['median']:.3f} ({row['min']:.3f}–{row['max']:.3f}) | {ratio:.1f} |"
        )
    table += ["", f"The engine reaches {share:.0%} of the matrix-product rate of one thread "
              f"({max(rates) / 1e9:.0f} Gflop/s)."]  # fmt: skip
    content = {"network": settings["model"], "images": count, "chips": found,
               "operations_per_image": work // count, "matrix_product_rate": max(rates),
               "share_of_matrix_product_rate": share}  # fmt: skip
    command = "python -m benchmarks.engine --model MODEL --data DATA"
    record.save("engine", command, content, table)


if __name__ == "__main__":
    main()
