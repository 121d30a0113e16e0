"""Optimisation of a network on a prepared data set; nothing else.

A quantised network is trained in float first; for its last epochs it has quantised weights and
activations, whose ranges are calibrated on training images at that point. The last epoch is
the result; the test images are never looked at. What a step draws is keyed by its number, so a
run that goes on from a saved state gives the bytes of one that was never stopped.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swim.data.augmentation import AUGMENTATIONS
from swim.data.dataset import DataSet
from swim.errors import DataError
from swim.networks import checkpoint, memory_format, quantisation
from swim.networks.layouts import SafeLayouts
from swim.networks.weight_noise import WeightNoise
from swim.runtime import rng
from swim.runtime.unfinished import Unfinished
from swim.settings import ModelSettings, TrainingSettings


@dataclass(frozen=True)
class Epoch:
    """One row of train.csv; loss and accuracy are over the epoch's own training batches."""

    epoch: int
    quantised: bool
    learning_rate: float
    loss: float
    accuracy: float


class _Optimisation:
    """A network on its way, between two steps."""

    def __init__(
        self,
        model: nn.Module,
        model_settings: ModelSettings,
        settings: TrainingSettings,
        data: DataSet,
        seed: int,
        place: torch.device,
    ):
        # SafeLayouts keeps channels last from convolutions that it would crash.
        self._format = memory_format.fastest(place)
        self.model = model.to(place, memory_format=self._format)  # type: ignore[call-overload]
        self._model_settings, self._settings = model_settings, settings
        self._data, self._seed, self._place = data, seed, place
        quantised_epochs = settings.quantised_epochs if model_settings.quantised else 0
        self._switch = settings.epochs - quantised_epochs
        self._steps = math.ceil(data.size("train") / settings.batch_size)
        self._augment = AUGMENTATIONS[data.augmentation if settings.augment else "none"]
        self._optimizer = self._new_optimizer()
        self.history: list[Epoch] = []
        self._quantised = False
        self._step = 0  # within the epoch
        self._restart_sums()

    def _new_optimizer(self) -> torch.optim.Optimizer:
        settings = self._settings
        weights: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for parameter in self.model.parameters():
            # Norms and biases have one dimension; a penalty only slows their fit.
            (weights if parameter.dim() > 1 else others).append(parameter)
        groups = [
            {"params": weights, "weight_decay": settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        if settings.optimizer == "sgd":
            return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=0.9, nesterov=True)
        return torch.optim.Adam(groups, lr=settings.learning_rate)

    def state(self) -> dict[str, Any]:
        """All that :meth:`restore` needs, in types that ``torch.load(weights_only=True)`` reads."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "history": [asdict(row) for row in self.history],
            "quantised": self._quantised,
            "within": (self._step, float(self._loss), int(self._right)),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state of the same settings and data."""
        if state["quantised"]:
            quantisation.quantise(self.model, self._model_settings)
            self._quantised = True
        self.model.to(self._place).load_state_dict(state["model"])
        self._optimizer = self._new_optimizer()
        self._optimizer.load_state_dict(state["optimizer"])
        self.history = [Epoch(**row) for row in state["history"]]
        self._step, *sums = state["within"]
        self._restart_sums(*sums)

    def _restart_sums(self, loss: float = 0.0, right: int = 0) -> None:
        """Over the epoch's images so far; where the network is, since a GPU need not be awaited."""
        self._loss = torch.tensor(loss, dtype=torch.float64, device=self._place)
        self._right = torch.tensor(right, device=self._place)

    def epoch(self, after_step: Callable[[], None]) -> Epoch:
        """Do the rest of an epoch; ``after_step`` is called where the state may be saved."""
        number = len(self.history)
        if number == self._switch:
            self.start_quantisation()
        self.model.train()
        count = self._data.size("train")
        order = torch.randperm(count, generator=self._generator("shuffle", number))
        while self._step < self._steps:
            size = self._settings.batch_size
            self._one_step(number, order[self._step * size : (self._step + 1) * size])
            self._step += 1
            after_step()
        loss = float(self._loss)
        if not math.isfinite(loss):
            raise DataError(
                f"the training loss became {loss} in epoch {number + 1}; lower "
                f"training.learning_rate (now {self._settings.learning_rate})"
            )
        rate = self._rate(number, self._steps - 1)
        row = Epoch(number + 1, self._quantised, rate, loss / count, int(self._right) / count)
        self.history.append(row)
        self._step = 0
        self._restart_sums()
        return row

    def _one_step(self, epoch: int, index: Tensor) -> None:
        # Dropout draws from torch's own stream.
        torch.manual_seed(self._key("step", epoch, self._step))
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate(epoch, self._step)
        images = self._data.inputs("train", index)
        images = self._augment(images, self._generator("augmentation", epoch, self._step))
        noise = self._settings.weight_noise, self._key("noise", epoch, self._step)
        images = self._sent(images).contiguous(memory_format=self._format)
        targets = self._sent(self._data.labels("train")[index])
        watched = WeightNoise(*noise, self.model, self._model_settings.digital)
        with SafeLayouts(), self._arithmetic(), watched:
            outputs = self.model(images).float()
        smoothing = self._settings.label_smoothing
        loss = F.cross_entropy(outputs, targets, label_smoothing=smoothing)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        self._loss += loss.detach().double() * len(index)
        self._right += (outputs.argmax(1) == targets).sum()

    def _arithmetic(self) -> torch.autocast:
        """While active, products are computed in the number format of the settings."""
        enabled = self._settings.arithmetic == "bfloat16"
        return torch.autocast(self._place.type, torch.bfloat16, enabled=enabled)

    def _sent(self, tensor: Tensor) -> Tensor:
        """A batch where the network is; a GPU goes on computing while the next one is made."""
        if self._place.type != "cuda":
            return tensor.to(self._place)
        return tensor.pin_memory().to(self._place, non_blocking=True)

    def _rate(self, epoch: int, step: int) -> float:
        """Learning rate: up along a line in the first epochs, then down along a cosine."""
        settings = self._settings
        done, warm = epoch + step / self._steps, settings.warmup_epochs
        if done < warm:
            return settings.learning_rate * (done + 1 / self._steps) / (warm + 1 / self._steps)
        part = (done - warm) / (settings.epochs - warm)
        return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * part))

    def start_quantisation(self) -> None:
        """Turn the float network into a quantised one, with ranges from training images."""
        if self._quantised or not self._model_settings.quantised:
            return
        images = self._settings.calibration_images
        inputs = quantisation.calibration_inputs(self._data, images, self._place)
        quantisation.quantise(self.model, self._model_settings, inputs)
        self.model.to(self._place)
        self._quantised = True
        self._optimizer = self._new_optimizer()

    def _key(self, *purpose: str | int) -> int:
        return rng.key(self._seed, *purpose) % 2**63

    def _generator(self, *purpose: str | int) -> torch.Generator:
        return torch.Generator().manual_seed(self._key(*purpose))


def train(
    model_settings: ModelSettings,
    settings: TrainingSettings,
    data: DataSet,
    *,
    seed: int,
    place: torch.device,
    progress: Callable[[Epoch], None] | None = None,
    unfinished: Unfinished | None = None,
) -> tuple[nn.Module, list[Epoch]]:
    """Train a network.

    Args:
        model_settings: the network and its quantisation.
        settings: of the optimisation.
        data: a prepared data set; its training images.
        seed: of initial weights, order, augmentation, dropout and noise.
        place: where to compute.
        progress: called with each finished epoch's row, those of an earlier run included.
        unfinished: where the state is kept, and taken up again if one is there.

    Returns:
        The network in eval mode, with weights as they are to be programmed (on their grid if
        quantised), and one row an epoch.

    Raises:
        DataError: the loss stopped being a number, or images do not fit the network.
    """
    model = checkpoint.initial(model_settings, data, seed)
    run = _Optimisation(model, model_settings, settings, data, seed, place)
    state = unfinished.read() if unfinished else None
    if state is not None:
        run.restore(state)

    def save() -> None:
        if unfinished is not None and unfinished.due():
            unfinished.write(run.state())

    report = progress or (lambda row: None)
    for row in run.history:
        report(row)
    devices = [place] if place.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        while len(run.history) < settings.epochs:
            report(run.epoch(save))
    run.start_quantisation()
    quantisation.deploy(run.model)
    trained = run.model.to(memory_format=torch.contiguous_format)
    return trained.eval(), run.history
