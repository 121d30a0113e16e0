"""Optimisation of a network on a prepared data set; nothing else.

A quantised network is trained in float first; for its last epochs it has quantised weights and
activations, whose ranges are calibrated on training images at that point. The last epoch is
the result; the test images are never looked at.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from swim import network, streams
from swim.augmentation import AUGMENTATIONS
from swim.data import DataSet
from swim.errors import DataError
from swim.models import quantisation
from swim.spec import ModelSettings, TrainingSettings


@dataclass(frozen=True)
class Epoch:
    """One row of train.csv; loss and accuracy are over the epoch's own training batches."""

    epoch: int
    quantised: bool
    learning_rate: float
    loss: float
    accuracy: float


def _seed(seed: int, *purpose: str | int) -> torch.Generator:
    return torch.Generator().manual_seed(streams.key(seed, *purpose) % 2**63)


def _optimizer(model: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, weight_decay=decay)
    return torch.optim.Adam(model.parameters(), lr=rate, weight_decay=decay)


def _start_quantisation(
    model: nn.Module, settings: ModelSettings, data: DataSet, images: int, place: torch.device
) -> None:
    """Turn the float network into a quantised one, with ranges from training images."""
    if settings.activation_bits:
        quantisation.quantise_activations(model, settings.activation_bits)
        model.to(place).eval()
        quantisation.calibrate(model, (x.to(place) for x, _ in data.batches("train", 500, images)))
    if settings.weight_bits:
        quantisation.quantise_weights(model, settings.weight_bits)
        model.to(place)


def train(
    model_settings: ModelSettings,
    settings: TrainingSettings,
    data: DataSet,
    *,
    seed: int,
    place: torch.device,
    progress: Callable[[Epoch], None] | None = None,
) -> tuple[nn.Module, list[Epoch]]:
    """Train a network.

    Returns:
        The network in eval mode, with weights as they are to be programmed (on their grid if
        quantised), and one row an epoch.

    Raises:
        DataError: the loss stopped being a number.
    """
    model = network.initial(model_settings, data, seed).to(place)
    quantised = bool(model_settings.weight_bits or model_settings.activation_bits)
    switch = settings.epochs - settings.quantised_epochs if quantised else settings.epochs
    history: list[Epoch] = []
    optimizer = _optimizer(model, settings)
    for epoch in range(settings.epochs):
        if epoch == switch:
            _start_quantisation(model, model_settings, data, settings.calibration_images, place)
            optimizer = _optimizer(model, settings)
        row = _epoch(model, optimizer, settings, data, epoch, epoch >= switch, seed, place)
        history.append(row)
        if progress is not None:
            progress(row)
    if quantised and switch == settings.epochs:
        _start_quantisation(model, model_settings, data, settings.calibration_images, place)
    quantisation.deploy(model)
    return model.eval(), history


def _epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    settings: TrainingSettings,
    data: DataSet,
    epoch: int,
    quantised: bool,
    seed: int,
    place: torch.device,
) -> Epoch:
    model.train()
    count = data.size("train")
    order = torch.randperm(count, generator=_seed(seed, "shuffle", epoch))
    labels = data.labels("train")
    augment = AUGMENTATIONS[data.augmentation if settings.augment else "none"]
    generator = _seed(seed, "augmentation", epoch)
    steps = math.ceil(count / settings.batch_size)
    total, right, rate = 0.0, 0, settings.learning_rate
    for step in range(steps):
        rate = settings.learning_rate * _cosine(epoch * steps + step, settings.epochs * steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        index = order[step * settings.batch_size : (step + 1) * settings.batch_size]
        targets = labels[index].to(place)
        outputs = model(augment(data.inputs("train", index), generator).to(place))
        loss = F.cross_entropy(outputs, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(index)
        right += int((outputs.argmax(1) == targets).sum())
    if not math.isfinite(total):
        raise DataError(
            f"the training loss became {total} in epoch {epoch + 1}; lower training.learning_rate "
            f"(now {settings.learning_rate})"
        )
    return Epoch(epoch + 1, quantised, rate, total / count, right / count)


def _cosine(step: int, steps: int) -> float:
    return 0.5 * (1 + math.cos(math.pi * step / steps))
