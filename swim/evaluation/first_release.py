"""The experiment of the paper's first release: train, program, select, program again.

It does what ``selective_write.py`` did, by the steps of this package, and yields the numbers that
the script printed in the order in which they become known.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from swim.curvature.estimate import second_derivative
from swim.data.dataset import DataSet
from swim.devices.bit_sliced import Device
from swim.evaluation.api import evaluate
from swim.evaluation.monte_carlo import clean
from swim.networks.isolation import device_of, few, left_alone
from swim.networks.weights.tracing import trace
from swim.selection import masks
from swim.selection.scores.base import Inputs, estimator_of
from swim.settings import TrainingSettings, registry

# The release's training data of each network, and which networks it trains by SGD.
DATA_SETS = {
    **dict.fromkeys(("MLP3", "MLP4", "LeNet", "QLeNet"), "mnist"),
    **dict.fromkeys(("CIFAR", "QCIFAR", "Res18", "QRes18", "QDENSE"), "cifar10"),
    **dict.fromkeys(("TIN", "QTIN", "QVGG"), "tinyimagenet"),
}
_SGD = ("Res18", "QRes18", "TIN", "QTIN", "QVGG", "QDENSE")


def recipe(model: str, epochs: int, train_var: float) -> TrainingSettings:
    """The release's optimisation of a network: Adam, or SGD for the deep ones.

    ``train_var`` is the sigma of the devices that noise-aware training imitates.
    """
    noise = Device(train_var, M=8, K=1, convention="release").weight_std(False)
    common: dict[str, Any] = {
        "epochs": epochs,
        "quantised_epochs": min(5, epochs),
        "weight_noise": noise,
    }
    if model in _SGD:
        common |= {"optimizer": "sgd", "learning_rate": 0.01, "weight_decay": 5e-4}
    return TrainingSettings(**common)


@dataclass(frozen=True)
class Outcome:
    """One printed line.

    Attributes:
        name: what was measured.
        value: accuracy, or fraction of the weights, in [0, 1].
        std: standard deviation over chips; None for a number without chips.
        chips: number of chips; None for a number without chips.
    """

    name: str
    value: float
    std: float | None = None
    chips: int | None = None

    def __str__(self) -> str:
        line = f"{self.name + ':':<46} {self.value:.4f}"
        return line if self.std is None else f"{line}, std {self.std:.4f} over {self.chips} chips"


def selective_write(
    model: nn.Module,
    data: DataSet,
    *,
    fraction: float,
    method: str,
    device: Device,
    chips: int,
    div: int,
    seed: int,
    batch_size: int = 500,
    progress: Callable[[str, int, int], None] = lambda step, done, total: None,
) -> Iterator[Outcome]:
    """Measure one trained network before and after selective write-verify.

    Args:
        model: the network, in eval mode.
        data: a prepared data set; training images for the sensitivity, test images for accuracy.
        fraction: fraction of the weights to verify.
        method: selection method.
        device: with its sigma before and after write-verify.
        chips: number of programmed chips per mean.
        div: divides the batch of 128 images in which second derivatives are calculated.
        seed: seed of all random draws.
        batch_size: test images per batch.
        progress: called with a step's name, the number of finished items, and their total.
    """
    batches = list(data.batches("test", batch_size))
    yield Outcome("clean accuracy", clean(model, batches)[0])

    def program(name: str, mask: Mapping[str, Tensor]) -> Outcome:
        result = evaluate(
            model, batches, mask, device=device, chips=chips, seed=seed,
            progress=lambda done: progress("chips", done, chips),
        )  # fmt: skip
        return Outcome(name, result.mean, result.std, chips)

    yield program(f"nothing verified, sigma {device.sigma:g}", {})
    mask = _mask(model, data, fraction, method, div, seed, progress)
    every = {name: torch.ones_like(part) for name, part in mask.items()}
    yield program(f"everything verified, sigma {device.verified_sigma:g}", every)
    chosen = sum(int(part.sum()) for part in mask.values())
    yield Outcome("share of weights verified", chosen / sum(m.numel() for m in mask.values()))
    yield program(f"after selection by {method}", mask)


def _mask(
    model: nn.Module,
    data: DataSet,
    fraction: float,
    method: str,
    div: int,
    seed: int,
    progress: Callable[[str, int, int], None],
) -> dict[str, Tensor]:
    place = device_of(model)
    with left_alone(model):
        images = data.inputs("train", slice(0, 64)).to(place)
        held = trace(model, few(images), images).weights
    weights = {name: weight.cpu().numpy() for name, weight in held.items()}
    found = registry.find("selection method", method)
    curvature, estimator = None, estimator_of(found.NEEDS, "recursion")
    if estimator is not None:
        size = max(1, 128 // div)
        total = -(-data.size("train") // size)
        raw = second_derivative(
            model,
            data.batches("train", size),
            estimator=estimator,
            seed=seed,
            progress=lambda done: progress("batches of the sensitivity pass", done, total),
        )
        curvature = {name: value.cpu().numpy() for name, value in raw.items()}
    scores = found.score(Inputs(weights, curvature, seed))
    chosen = masks.mask_of(scores, fraction, masks.relative_magnitude(weights))
    return {name: torch.from_numpy(np.ascontiguousarray(part)) for name, part in chosen.items()}
