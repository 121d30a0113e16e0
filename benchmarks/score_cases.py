"""The scores and the networks of :mod:`benchmarks.scores`: trained, with images and chips."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import swim
from benchmarks import resnet20
from swim.data.dataset import DataSet
from swim.data.sources import mnist5k
from swim.networks import checkpoint

Pair = tuple[Tensor, Tensor]
ALL = ("0.003", "0.01", "0.03", "0.1", "0.2", "0.3", "0.5", "0.7", "0.9")
FEW = ("0.01", "0.03", "0.1", "0.3", "0.5", "0.7")  # where a point takes minutes


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
        title: what it is, for the page.
        model: in eval mode.
        train: images and labels for sensitivities.
        test: those for accuracies.
        device: the memory device.
        fractions: of the weights that are verified.
        arithmetic: of the passes that measure accuracies.
    """

    title: str
    model: nn.Module
    train: Pair
    test: Pair
    device: swim.Device
    fractions: tuple[str, ...] = ALL
    arithmetic: str = "float32"


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
    arrays = mnist5k.load(None, False)  # type: ignore[arg-type]
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    mean, std = mnist5k.MEAN[0], mnist5k.STD[0]
    return {
        name: (tensor.float() / 255 - mean) / std if name.endswith("images") else tensor
        for name, tensor in tensors.items()
    }


def trained(title: str, build: Callable[[], nn.Module]) -> Case:
    """A network trained on the 4,000 digits: 20 epochs of Adam, one cycle to 3e-3."""
    torch.manual_seed(0)
    model, data, epochs = build(), digits(), 20
    x, y = data["train_images"], data["train_labels"]
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 3e-3, total_steps=epochs * -(-len(x) // 50)
    )
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(50):
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
            schedule.step()
    test = data["test_images"], data["test_labels"]
    return Case(title, model.eval(), (x, y), test, swim.Device(sigma=0.1, M=8, K=4))


def vit(_: argparse.Namespace) -> Case:
    """A small vision transformer."""
    return trained("ViT, two encoder layers, float, 5,000 digits, M = 8, K = 4, sigma 0.1", ViT)


def gru(_: argparse.Namespace) -> Case:
    """A recurrent network."""
    title = "gated recurrent network, float, 5,000 digits, M = 8, K = 4, sigma 0.1"
    return trained(title, Recurrent)


def resnet20_cifar10(chosen: argparse.Namespace) -> Case:
    """A ResNet-20 that others have trained."""
    data = np.load(chosen.cifar10)

    def images(part: str) -> Pair:
        x = torch.from_numpy(data[f"x_{part}"][:10_000]).permute(0, 3, 1, 2).float() / 255
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (resnet20.MEAN, resnet20.STD))
        return (x - mean) / std, torch.from_numpy(data[f"y_{part}"][:10_000].astype(np.int64))

    title = "ResNet-20, float, CIFAR-10, M = 8, K = 4, sigma 0.1"
    model, device = resnet20.load(chosen.resnet20), swim.Device(sigma=0.1, M=8, K=4)
    return Case(title, model, images("train"), images("test"), device, FEW)


def of_the_pipeline(
    title: str,
    sigma: float,
    experiment: str,
    fractions: tuple[str, ...] = ALL,
    arithmetic: str = "float32",
) -> Callable[[argparse.Namespace], Case]:
    """A network that the pipeline has trained, on the device of the paper's first release."""

    def case(chosen: argparse.Namespace) -> Case:
        folder: Path = chosen.results / experiment
        model, record = checkpoint.load(folder / "model.safetensors")
        data = DataSet(chosen.results / "data" / f"{record['dataset']}.safetensors")
        train, test = (next(iter(data.batches(part, 10_000))) for part in ("train", "test"))
        device = swim.Device(sigma=sigma, M=8, K=1, convention="release")
        return Case(title, model.eval(), train, test, device, fractions, arithmetic)

    return case


CASES: dict[str, Callable[[argparse.Namespace], Case]] = {
    "lenet": of_the_pipeline(
        "LeNet, 4-bit, MNIST, M = 8, K = 1 as released, sigma 0.3", 0.3, "lenet_mnist"
    ),
    "convnet": of_the_pipeline(
        "ConvNet, 6-bit, CIFAR-10, M = 8, K = 1 as released, sigma 0.2", 0.2, "convnet_cifar10", FEW
    ),
    "resnet18": of_the_pipeline(
        "ResNet-18, float, CIFAR-10, M = 8, K = 1 as released, sigma 0.2, accuracies in bfloat16",
        0.2,
        "resnet18_float",
        ("0.03", "0.1", "0.3"),
        "bfloat16",
    ),
    "resnet20": resnet20_cifar10,
    "vit": vit,
    "gru": gru,
}
