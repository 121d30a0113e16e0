"""Accuracy at a budget of write cycles by score, on networks of several kinds.

- ``python -m benchmarks.scores vit gru``: a small vision transformer and a recurrent network,
  trained here on the embedded digits.
- ``python -m benchmarks.scores resnet20 --checkpoint FILE --images FILE``: a ResNet-20 of others
  (:mod:`benchmarks.resnet20`) on CIFAR-10, from an ``.npz`` with ``x_train``, ``y_train``,
  ``x_test`` and ``y_test``.
- ``python -m benchmarks.scores lenet --checkpoint results/EXPERIMENT/model.safetensors --images
  results/data/DATASET.safetensors``: a network that the pipeline has trained.

Every score ranks the same weights, is verified at the same fractions on the same chips, and is
compared with ``swim`` chip by chip. Costs are in gradient passes in batches of the same size.
"""

import argparse
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import swim
from benchmarks import record, resnet20
from swim.curvature.estimate import second_derivative
from swim.curvature.gauss_newton_probe import TOGETHER
from swim.data.dataset import DataSet
from swim.data.sources import mnist5k
from swim.errors import SwimError
from swim.networks import checkpoint
from swim.runtime import markdown
from swim.selection.masks import mask_of, relative_magnitude
from swim.selection.scores.base import Inputs, Layers
from swim.settings import registry

FRACTIONS = ("0.003", "0.01", "0.03", "0.1", "0.2", "0.3", "0.5", "0.7")
WITHIN = (0.1, 0.5, 1.0)


@dataclass(frozen=True)
class Score:
    """A method, the estimator behind it, and the random vectors of the probe."""

    method: str
    estimator: str | None = None
    probe: str = "signs"


SCORES = {
    "swim": Score("swim", "recursion"),
    "swim_coherent": Score("swim_coherent", "recursion_coherent"),
    "gauss_newton_probe, signs": Score("gauss_newton_probe", "gauss_newton_probe"),
    "gauss_newton_probe, labels": Score("gauss_newton_probe", "gauss_newton_probe", "labels"),
    "fisher": Score("fisher", "empirical_fisher"),
    "monte_carlo_fisher": Score("monte_carlo_fisher", "monte_carlo_fisher"),
    "gauss_newton": Score("gauss_newton", "gauss_newton"),
    "gradient": Score("gradient", "gradient"),
    "saliency": Score("saliency", "recursion"),
    "magnitude": Score("magnitude"),
    "random": Score("random"),
}


@dataclass(frozen=True)
class Case:
    """A trained network with its images, and the chips that it is programmed to.

    Attributes:
        model: in eval mode.
        train: images and labels for sensitivities.
        test: those for accuracies.
        device: the memory device.
        curvature_noise: what a chip's errors are for second derivatives at programmed chips.
    """

    model: nn.Module
    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    device: swim.Device
    curvature_noise: float


class ViT(nn.Module):
    """16 patches of 7 x 7 pixels, two encoder layers of 32 features."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 32, 7, stride=7)
        self.positions = nn.Parameter(torch.randn(1, 16, 32) * 0.02)
        layer = nn.TransformerEncoderLayer(
            32, 4, 64, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        outputs: Tensor = self.head(self.norm(self.blocks(x)).mean(1))
        return outputs


class Recurrent(nn.Module):
    """A gated recurrent cell that reads a digit row by row, of linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.again = nn.Linear(28, 3 * 48), nn.Linear(48, 3 * 48)
        self.head = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(len(x), 48)
        for row in x.squeeze(1).unbind(1):
            (r, z, n), (own_r, own_z, own_n) = (
                part.chunk(3, 1) for part in (self.enter(row), self.again(state))
            )
            keep = torch.sigmoid(z + own_z)
            new = torch.tanh(n + torch.sigmoid(r + own_r) * own_n)
            state = keep * state + (1 - keep) * new
        outputs: Tensor = self.head(state)
        return outputs


def digits() -> dict[str, Tensor]:
    """The embedded digits, normalised."""
    found = {}
    for name, array in mnist5k.load(None, False).items():  # type: ignore[arg-type]
        tensor = torch.from_numpy(array)
        if name.endswith("images"):
            tensor = (tensor.float() / 255 - mnist5k.MEAN[0]) / mnist5k.STD[0]
        found[name] = tensor
    return found


def trained(build: Callable[[], nn.Module], epochs: int) -> Case:
    """A network trained on the 4,000 digits: Adam, one cycle to 3e-3."""
    torch.manual_seed(0)
    model, data = build(), digits()
    x, y = data["train_images"], data["train_labels"]
    steps = epochs * -(-len(x) // 50)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(50):
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
            schedule.step()
    test = data["test_images"], data["test_labels"]
    device = swim.Device(sigma=0.15, M=4, K=4)
    return Case(model.eval(), (x, y), test, device, device.weight_std(False))


def _resnet20(chosen: argparse.Namespace) -> Case:
    data = np.load(chosen.images)

    def images(part: str, count: int) -> tuple[Tensor, Tensor]:
        x = torch.from_numpy(data[f"x_{part}"][:count]).permute(0, 3, 1, 2).float() / 255
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (resnet20.MEAN, resnet20.STD))
        return (x - mean) / std, torch.from_numpy(data[f"y_{part}"][:count].astype(np.int64))

    model = resnet20.load(chosen.checkpoint)
    device = swim.Device(sigma=0.1, M=8, K=4)
    return Case(
        model, images("train", 4000), images("test", 10_000), device, device.weight_std(False)
    )


def _pipeline(chosen: argparse.Namespace) -> Case:
    model, _ = checkpoint.load(chosen.checkpoint)
    data = DataSet(chosen.images)
    train, test = (next(iter(data.batches(part, 10**6))) for part in ("train", "test"))
    device = swim.Device(sigma=0.3, M=4, K=4)
    return Case(model.eval(), train, test, device, device.weight_std(False))


CASES: dict[str, Callable[[argparse.Namespace], Case]] = {
    "lenet": _pipeline,
    "resnet20": _resnet20,
    "vit": lambda _: trained(ViT, 20),
    "gru": lambda _: trained(Recurrent, 20),
}


def batches(pair: tuple[Tensor, Tensor], size: int) -> list[tuple[Tensor, Tensor]]:
    """Images and labels, some at once."""
    return list(zip(pair[0].split(size), pair[1].split(size), strict=True))


def gradient_pass(case: Case) -> None:
    """What costs are counted in."""
    for x, y in batches(case.train, TOGETHER):
        case.model.zero_grad()
        F.cross_entropy(case.model(x), y, reduction="sum").backward()
    case.model.zero_grad()


def scored(case: Case, score: Score, noise: float, names: Sequence[str]) -> Layers:
    """A method's scores."""
    weights = {name: case.model.get_parameter(name).detach().numpy() for name in names}
    raw = None
    if score.estimator:
        found = second_derivative(
            case.model, batches(case.train, TOGETHER), estimator=score.estimator,
            probe=score.probe, noise=noise,
        )  # fmt: skip
        raw = {name: found[name].numpy() for name in names}
    result: Layers = registry.find("method", score.method).score(Inputs(weights, raw, 0))
    return result


def accuracies(case: Case, masks: dict[str, Any], chips: int, images: int) -> dict[str, np.ndarray]:
    """Point -> accuracy of each chip in percent."""
    test = batches((case.test[0][:images], case.test[1][:images]), 500)
    return {
        point: 100
        * swim.evaluate(case.model, test, mask, device=case.device, chips=chips).accuracy.numpy()
        for point, mask in masks.items()
    }


def crossing(curve: Sequence[float], full: float, within: float) -> str:
    """The smallest measured fraction from which on a curve stays within some points of the end."""
    good = [full - value <= within for value in curve]
    for i, fraction in enumerate(FRACTIONS):
        if all(good[i:]):
            return fraction
    return f"> {FRACTIONS[-1]}"


def study(name: str, chosen: argparse.Namespace) -> dict[str, Any]:
    """Every score of one network, at ideal weights and at programmed chips."""
    case = CASES[name](chosen)
    x, y = case.train
    case = replace(case, train=(x[: chosen.train], y[: chosen.train]))
    names = list(
        second_derivative(case.model, batches(case.train, TOGETHER)[:1], estimator="gradient")
    )
    ties = relative_magnitude({n: case.model.get_parameter(n).detach().numpy() for n in names})
    ends = accuracies(case, {"none": None}, chosen.chips, chosen.test)
    ones = {n: torch.ones_like(case.model.get_parameter(n), dtype=torch.bool) for n in names}
    ends |= accuracies(case, {"all": ones}, chosen.chips, chosen.test)
    base = statistics.median(record.seconds(lambda: gradient_pass(case), 3))
    rows: dict[str, Any] = {}
    for label, score in SCORES.items():
        for noise in (0.0, case.curvature_noise) if score.estimator else (0.0,):
            key = label if not noise else f"{label}, at chips"
            try:
                (seconds,) = record.seconds(lambda: rows.update(
                    {key: scored(case, score, noise, names)}), 1)  # noqa: B023  # fmt: skip
            except SwimError as error:
                rows[key] = {"fails": str(error)}
                continue
            masks = {
                f: {n: torch.from_numpy(m) for n, m in mask_of(rows[key], f, ties).items()}
                for f in FRACTIONS
            }
            found = accuracies(case, masks, chosen.chips, chosen.test)
            cost = seconds / base if score.estimator else 0.0
            rows[key] = {"passes": round(cost, 2), "accuracy": found}
            print(f"{name}, {key}: done", flush=True)
    return summary(rows, ends)


def summary(rows: dict[str, Any], ends: dict[str, np.ndarray]) -> dict[str, Any]:
    """Means, paired differences to ``swim`` with 95 % intervals, and crossings."""
    base = rows["swim"]["accuracy"]
    full = float(ends["all"].mean())
    for row in rows.values():
        if "fails" in row:
            continue
        curve = [float(row["accuracy"][f].mean()) for f in FRACTIONS]
        paired = [row["accuracy"][f] - base[f] for f in FRACTIONS]
        row["difference"] = [
            [round(float(d.mean()), 2), round(float(1.96 * d.std(ddof=1) / len(d) ** 0.5), 2)]
            for d in paired
        ]
        row["accuracy"] = [round(value, 2) for value in curve]
        row["within"] = {str(w): crossing(curve, full, w) for w in WITHIN}
    return {
        "none": round(float(ends["none"].mean()), 2),
        "all": round(full, 2),
        "scores": rows,
    }


def table_of(name: str, content: dict[str, Any]) -> list[str]:
    """Accuracy by fraction, difference to ``swim``, and crossings."""
    cells: list[list[object]] = []
    for score, row in content["scores"].items():
        if "fails" in row:
            cells.append([score, "cannot", *[""] * (len(FRACTIONS) + len(WITHIN))])
            continue
        points = [
            f"{value:.1f}" + (f" ({d:+.1f} ± {h:.1f})" if score != "swim" else "")
            for value, (d, h) in zip(row["accuracy"], row["difference"], strict=True)
        ]
        cells.append([score, f"{row['passes']:.2f}", *points, *row["within"].values()])
    heads = ["score", "gradient passes", *(f"NWC {f}" for f in FRACTIONS),
             *(f"within {w} points" for w in WITHIN)]  # fmt: skip
    head = f"**{name}**: no write-verify {content['none']} %, full write-verify {content['all']} %."
    return [head, "", *markdown.table(heads, cells, "l" + "r" * (len(heads) - 1)), ""]


def main() -> None:
    """Measure, and write a table and its numbers for each network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="+", choices=CASES)
    parser.add_argument("--checkpoint", type=Path, help="of lenet or resnet20")
    parser.add_argument("--images", type=Path, help="its images")
    parser.add_argument("--chips", type=int, default=100)
    parser.add_argument("--train", type=int, default=4000, help="images of the sensitivities")
    parser.add_argument("--test", type=int, default=1000, help="images of each chip's accuracy")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    for name in chosen.networks:
        content = study(name, chosen)
        setup = {"chips": chosen.chips, "train": chosen.train, "test": chosen.test, "seed": 0}
        command = f"python -m benchmarks.scores {name} --chips {chosen.chips} --train " + (
            f"{chosen.train} --test {chosen.test}"
        )
        record.save(f"scores-{name}", command, {**setup, **content}, table_of(name, content))


if __name__ == "__main__":
    main()
