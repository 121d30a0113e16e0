"""Image-chips per second: this engine, a naive twin, aihwkit, and the machine's limit.

``python -m benchmarks.engine``: one thread, all ways in turn, in one process (aihwkit in its own).
``--accelerator cuda``: on a GPU, where ConvNet and ResNet-18 also have more images.
The naive twin does what the paper's first release does (facts of its source): one chip after the
other, noise drawn slice by slice (here where the weights are), layers that quantise their weight
and add the noise in every forward and quantise their input by the batch's own range, and one more
pass through a ``DataLoader`` that decodes every image again, in batches of 128; its second form
keeps the batches in memory. It lacks the release's second-derivative bookkeeping, so it is the
faster one.
"""

import argparse
import json
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks import record, subjects
from swim.cli.accelerator import start
from swim.devices.bit_sliced import Device
from swim.engine.evaluator import GROUP
from swim.evaluation import monte_carlo
from swim.runtime import markdown
from swim.settings import Compute

Batches = Iterable[tuple[Tensor, Tensor]]
DEVICE = Device(sigma=0.1, M=8, K=1, convention="release")
BATCH = 128
# name -> network, bits, images a chip
CASES: dict[str, tuple[str, int | None, int]] = {
    "LeNet, 4 bits": ("lenet", 4, 10_000),
    "LeNet": ("lenet", None, 10_000),
    "ConvNet": ("convnet", None, 500),
    "ResNet-18": ("resnet18", None, 200),
}
GPU_CASES: dict[str, tuple[str, int | None, int]] = {
    "LeNet, 4 bits": ("lenet", 4, 10_000),
    "LeNet": ("lenet", None, 10_000),
    "ConvNet, 6 bits": ("convnet", 6, 10_000),
    "ConvNet": ("convnet", None, 10_000),
    "ResNet-18, 6 bits": ("resnet18", 6, 10_000),
    "ResNet-18": ("resnet18", None, 10_000),
}


class Decoded(Dataset[tuple[Tensor, int]]):
    """Images as torchvision's data sets give them: turned into tensors each time."""

    def __init__(self, images: Tensor, labels: Tensor):
        shades = (images * 40 + 128).clamp(0, 255).to(torch.uint8)
        self._images = [transforms.functional.to_pil_image(image) for image in shades]
        self._labels = labels.tolist()
        mean = [0.5] * images.shape[1]
        self._transform = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize(mean, mean)]
        )

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(self._images[index]), self._labels[index]


class NaiveLayer(nn.Module):
    """A linear or convolutional layer around its weight, its noise and its quantisation."""

    def __init__(self, op: nn.Linear | nn.Conv2d, bits: int | None):
        super().__init__()
        self.op, self.bits = op, bits
        self.noise = torch.zeros_like(op.weight)

    def draw(self) -> None:
        """Fresh noise, slice by slice."""
        scale = self.op.weight.abs().max()
        self.noise = torch.zeros_like(self.op.weight)
        for significance in DEVICE.significance:
            self.noise += significance * DEVICE.sigma * scale * torch.randn_like(self.op.weight)

    def _quantised(self, x: Tensor) -> Tensor:
        if self.bits is None:
            return x
        scale = x.abs().max() / (2**self.bits - 1)
        result: Tensor = torch.round(x / scale) * scale
        return result

    def forward(self, x: Tensor) -> Tensor:
        x, weight = self._quantised(x), self._quantised(self.op.weight) + self.noise
        if isinstance(self.op, nn.Linear):
            return F.linear(x, weight, self.op.bias)
        op = self.op
        return F.conv2d(x, weight, op.bias, op.stride, op.padding, op.dilation, op.groups)


def naive(model: nn.Module, bits: int | None) -> nn.Module:
    """The model with such layers, in place."""
    for name, child in list(model.named_children()):
        if isinstance(child, nn.Linear | nn.Conv2d):
            setattr(model, name, NaiveLayer(child, bits))
        else:
            naive(child, bits)
    return model


def naive_chip(model: nn.Module, batches: Batches) -> int:
    """Number of images that one chip classifies correctly."""
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, NaiveLayer):
                layer.draw()
        place = next(model.parameters()).device
        moved = ((x.to(place), y.to(place)) for x, y in batches)
        return sum(int((model(x).argmax(1) == y).sum()) for x, y in moved)


def aihwkit_seconds(python: str, model: nn.Module, x: Tensor, repeats: int) -> list[float]:
    """Seconds per chip, from the interpreter that has aihwkit."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "subject.pt"
        torch.save({"model": model, "images": x}, path)
        std = DEVICE.weight_std(False)
        command = [python, "-m", "benchmarks.aihwkit_chip", str(path), str(std), str(repeats)]
        run = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds: list[float] = json.loads(run.stdout.splitlines()[-1])
    return seconds


def measure(
    subject: tuple[str, int | None, int], repeats: int, aihwkit: str | None, place: torch.device
) -> dict[str, Any]:
    """Seconds per chip of each way, and the fraction of the matrix-product rate."""
    name, bits, count = subject
    model, (x, y) = subjects.network(name, bits).to(place), subjects.images(name, count)
    work = subjects.operations(model, x[:1].to(place))
    twin = naive(subjects.network(name).to(place), bits)
    loader = DataLoader(Decoded(x, y), batch_size=BATCH)
    x, y = x.to(place), y.to(place)
    in_memory = list(zip(x.split(BATCH), y.split(BATCH), strict=True))
    batches = list(zip(x.split(500), y.split(500), strict=True))
    engine = monte_carlo.stream(model, batches, device=DEVICE)
    together = GROUP if name == "lenet" else 1  # a group is computed whole, then handed out
    ways: dict[str, Callable[[], Any]] = {
        "naive, data loader": lambda: naive_chip(twin, loader),
        "naive, images in memory": lambda: naive_chip(twin, in_memory),
        "swim": lambda: [next(engine) for _ in range(together)],
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    rates = []
    for repeat in range(repeats + 1):
        rates.append(subjects.matrix_product_rate(place))
        for way, run in ways.items():
            (seconds,) = record.seconds(run, 1)
            if repeat:  # the first round warms up
                times[way].append(seconds / (together if way == "swim" else 1))
    if aihwkit and bits is None:
        times["aihwkit"] = aihwkit_seconds(aihwkit, subjects.network(name), x, repeats)
    found = {way: record.spread(values) for way, values in times.items()}
    share = work * count / found["swim"]["median"] / max(rates)
    return {
        "images": count,
        "operations_per_image": work,
        "chips": found,
        "matrix_product_rate": max(rates),
        "share_of_matrix_product_rate": round(share, 3),
    }


def main() -> None:
    """Measure and write benchmarks/results/engine.json and .md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="chips of each kind")
    parser.add_argument("--aihwkit", help="Python interpreter of an environment with aihwkit")
    parser.add_argument("--accelerator", choices=("cpu", "cuda"), default="cpu")
    chosen = parser.parse_args()
    place = start(Compute(accelerator=chosen.accelerator))
    on_gpu = place.type == "cuda"
    cases = GPU_CASES if on_gpu else CASES
    content: dict[str, Any] = {}
    cells: list[list[object]] = []
    for case, subject in cases.items():
        row = content[case] = measure(subject, chosen.repeats, chosen.aihwkit, place)
        best = row["chips"]["swim"]["median"]
        for way, t in row["chips"].items():
            cells.append(
                [f"{case}, {row['images']:,}", way,
                 f"{t['median']:.3f} ({t['min']:.3f}–{t['max']:.3f})",
                 f"{t['median'] / best:.1f}", f"{row['images'] / t['median']:,.0f}"]
            )  # fmt: skip
    heads = ["network, images per chip", "way", "seconds per chip (median, min–max)",
             "times as long", "image-chips per second"]  # fmt: skip
    table = markdown.table(heads, cells, "llrrr")
    limit = "on the GPU" if on_gpu else "on one thread"
    table += ["", "The engine's useful operations a second (linear and convolutional layers), as a "
              f"fraction of the rate of torch's matrix product {limit}:", ""]  # fmt: skip
    for case, row in content.items():
        table.append(
            f"- {case}: {row['share_of_matrix_product_rate']:.0%} of the rate of a float32 matrix "
            f"product ({row['matrix_product_rate'] / 1e9:.0f} Gflop/s, torch's own, {limit})."
        )
    command = "python -m benchmarks.engine" + (" --accelerator cuda" if on_gpu else "")
    record.save("engine-gpu" if on_gpu else "engine", command, content, table, place)


if __name__ == "__main__":
    main()
