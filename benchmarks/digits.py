"""Small networks trained on the embedded digits, with few enough weights for exact Hessians."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swim.curvature import losses
from swim.data.sources import mnist5k
from swim.networks import quantisation

CLASSES = 10
EPOCHS, QUANTISED_EPOCHS, BATCH = 15, 3, 50
# Of the 4,000 training images, which are in the order of their classes: 50 of each class.
EVERY = 8


class Residual(nn.Module):
    """A block of two convolutions and a skip around it, as ResNet's."""

    def __init__(self, channels: int):
        super().__init__()
        self.first, self.second = (_conv(channels, channels) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.second(torch.relu(self.first(x))))


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
    )


def _mlp() -> nn.Module:
    return nn.Sequential(
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(49, 20), nn.ReLU(), nn.Linear(20, 16), nn.ReLU(),
        nn.Linear(16, CLASSES),
    )  # fmt: skip


def _convolutions(activation: type[nn.Module], pool: type[nn.Module]) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), activation(), pool(2),
        nn.Conv2d(6, 10, 3, padding=1), activation(), pool(2),
        nn.Flatten(), nn.Linear(90, CLASSES),
    )  # fmt: skip


def _residual() -> nn.Module:
    return nn.Sequential(
        _conv(1, 8, 2), nn.ReLU(), Residual(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, CLASSES),
    )  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A network for (N, 1, 14, 14), its loss, and its bits if it is quantised."""

    build: Callable[[], nn.Module]
    loss: str = "cross_entropy"
    bits: int | None = None


CASES = {
    "MLP": Case(_mlp),
    "MLP, squared error": Case(_mlp, loss="mse"),
    "max-pool": Case(lambda: _convolutions(nn.ReLU, nn.MaxPool2d)),
    "max-pool, 4 bits": Case(lambda: _convolutions(nn.ReLU, nn.MaxPool2d), bits=4),
    "residual": Case(_residual),
    "GELU": Case(lambda: _convolutions(nn.GELU, nn.AvgPool2d)),
}


@functools.cache
def images() -> dict[str, Tensor]:
    """The digits at 14 x 14 pixels, normalised, by the names of :mod:`swim.data.sources`."""
    found = {}
    for name, array in mnist5k.load(None, False).items():  # type: ignore[arg-type]
        tensor = torch.from_numpy(array)
        if name.endswith("images"):
            tensor = (F.avg_pool2d(tensor.float() / 255, 2) - mnist5k.MEAN[0]) / mnist5k.STD[0]
        found[name] = tensor
    return found


def sample(case: Case) -> tuple[Tensor, Tensor]:
    """The 500 training images, in float64, and the targets of the loss."""
    data = images()
    x, y = data["train_images"][::EVERY].double(), data["train_labels"][::EVERY]
    return x, _targets(case, y)


def _targets(case: Case, labels: Tensor) -> Tensor:
    return F.one_hot(labels, CLASSES).double() if case.loss == "mse" else labels


def trained(case: Case, seed: int) -> tuple[nn.Module, float]:
    """The network in eval mode and float64, and its accuracy on the 1,000 test images."""
    torch.manual_seed(seed)
    model, data = case.build(), images()
    if case.bits is None:
        _epochs(case, model, EPOCHS)
    else:
        _epochs(case, model, EPOCHS - QUANTISED_EPOCHS)
        quantisation.quantise_activations(model, case.bits)
        quantisation.calibrate(model, [data["train_images"]])
        quantisation.quantise_weights(model, case.bits)
        _epochs(case, model, QUANTISED_EPOCHS)
        quantisation.deploy(model)
    model.eval()
    with torch.no_grad():
        right = model(data["test_images"]).argmax(1) == data["test_labels"]
    for module in model.modules():
        if not isinstance(module, quantisation.ActivationQuantiser):  # torch wants its scale as is
            for tensor in (*module.parameters(False), *module.buffers(False)):
                if tensor.is_floating_point():
                    tensor.data = tensor.data.double()
    return model, float(right.float().mean())


def _epochs(case: Case, model: nn.Module, count: int) -> None:
    """Train with Adam; the learning rate falls along a cosine."""
    data = images()
    x, y = data["train_images"], _targets(case, data["train_labels"])
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    steps = count * len(x) // BATCH
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    model.train()
    for _ in range(count):
        for index in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            (losses.total(case.loss, model(x[index]), y[index]) / len(index)).backward()
            optimizer.step()
            schedule.step()
