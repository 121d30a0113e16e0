"""Monte Carlo over programmed accelerators, in memory and with common random numbers."""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from swim import stats
from swim.devices import Device
from swim.errors import DataError, SettingError, UnsupportedOperationError
from swim.kernels import FastKernels
from swim.policies import Chip, Policy, Programmed, VerifyMask
from swim.sampling import PILOT, Sampling, plan
from swim.tracing import (
    WEIGHTED,
    Call,
    buffers_of,
    device_of,
    first,
    left_alone,
    parameters_of,
    trace,
    weight_argument,
    weights_of,
    with_weight,
)

COLUMNS = ("chip", "accuracy", "loss", "nwc", "images")
Row = tuple[int, float, float, float, int]


@dataclass(frozen=True)
class Result:
    """One entry a chip.

    Attributes:
        accuracy: part of the images classified rightly, in [0, 1]: float64 (chips,).
        loss: mean loss over the images: float64 (chips,).
        cycles: normalised write cycles of each chip: float64 (chips,).
    """

    accuracy: Tensor
    loss: Tensor
    cycles: Tensor

    @property
    def _summary(self) -> stats.Summary:
        return stats.summarise(self.accuracy.numpy())

    @property
    def mean(self) -> float:
        """Mean accuracy over chips."""
        return self._summary.mean

    @property
    def std(self) -> float:
        """Standard deviation of the accuracy over chips."""
        return self._summary.std

    @property
    def ci95(self) -> float:
        """Half-width of the mean accuracy's 95 % interval."""
        return self._summary.ci95

    @property
    def p05(self) -> float:
        """Fifth percentile of the accuracy over chips."""
        return self._summary.p05

    @property
    def nwc(self) -> float:
        """Mean normalised write cycles."""
        return float(self.cycles.mean())


class _ProgrammedCalls(TorchFunctionMode):
    """Hands programmed weights to the calls whose weight is computed, by order of calls."""

    def __init__(self, calls: list[Call], weights: Mapping[str, Tensor]):
        super().__init__()
        self._calls = iter(calls)
        self._weights = weights

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in WEIGHTED:
            call = next(self._calls, None)
            if call is None or call.weight.shape != weight_argument(args, kwargs).shape:
                raise UnsupportedOperationError(
                    "the model runs other layers from batch to batch; "
                    "its weights cannot be told apart"
                )
            if call.name is not None and not call.direct:
                args, kwargs = with_weight(args, kwargs, self._weights[call.name])
        return func(*args, **kwargs)


class Network:
    """A model with its test images in memory, ready to run with other weights.

    The model itself is never written to: direct weights are handed to its forward by
    ``torch.func.functional_call``, computed ones (quantised in the forward) at the call that
    uses them, so that noise is added after quantisation.
    """

    def __init__(self, model: nn.Module, batches: Iterable[tuple[Any, Any]], loss: str):
        place = device_of(model)
        (inputs, _), stream = first(batches)
        self._model, self._loss = model, loss
        self._calls = trace(model, inputs[:1].to(place))
        self._batches = [(x.to(place), y.to(place)) for x, y in stream]
        self._state = {**parameters_of(model, requires_grad=False), **buffers_of(model)}
        self._direct: dict[str, list[str]] = {}
        for call in self._calls:
            if call.direct and call.name and call.parameter:
                self._direct.setdefault(call.name, []).append(call.parameter)
        self.targets = weights_of(self._calls)
        self.images = sum(len(y) for _, y in self._batches)
        self._together: tuple[Tensor, Tensor] | None = None

    def answers(
        self, weights: Mapping[str, Tensor], positions: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Each image, or each at ``positions``: classified rightly (1, 0, or NaN), and its loss."""
        state = dict(self._state)
        for name, parameters in self._direct.items():
            state.update(dict.fromkeys(parameters, _laid_out(weights[name])))
        found = [
            each_loss(self._loss, self._forward(state, weights, inputs), labels)
            for inputs, labels in self._chosen(positions)
        ]
        right, loss = (torch.cat(part) for part in zip(*found, strict=True))
        return right, loss

    def _chosen(self, positions: Tensor | None) -> Iterable[tuple[Tensor, Tensor]]:
        if positions is None:
            return self._batches
        if self._together is None:
            inputs, labels = (torch.cat(part) for part in zip(*self._batches, strict=True))
            self._together = inputs, labels
        inputs, labels = self._together
        size = len(self._batches[0][1])
        return [(inputs[part], labels[part]) for part in positions.to(labels.device).split(size)]

    def run(self, weights: Mapping[str, Tensor]) -> tuple[float, float]:
        """Accuracy and mean loss over all images with these weights."""
        right, loss = self.answers(weights)
        return float(right.double().mean()), float(loss.double().mean())

    def _forward(
        self, state: dict[str, Tensor], weights: Mapping[str, Tensor], inputs: Tensor
    ) -> Tensor:
        with contextlib.ExitStack() as modes:
            modes.enter_context(FastKernels())
            if not all(call.direct for call in self._calls if call.name):
                modes.enter_context(_ProgrammedCalls(self._calls, weights))
            outputs = torch.func.functional_call(self._model, state, (inputs,))
        if not isinstance(outputs, Tensor):
            raise DataError(f"the model must return one tensor, not {type(outputs).__name__}")
        return outputs


def each_loss(loss: str, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Whether each sample is classified rightly (1, 0, or NaN), and its loss.

    Raises:
        SettingError: the loss is unknown.
    """
    if loss == "mse":
        error = (outputs - labels).square().flatten(1).sum(1)
        return torch.full_like(error, float("nan")), error
    if loss != "cross_entropy":
        raise SettingError(f"unknown loss {loss!r}; known: cross_entropy, mse")
    right = (outputs.argmax(1) == labels).to(outputs.dtype)
    return right, F.cross_entropy(outputs, labels, reduction="none")


def _laid_out(weight: Tensor) -> Tensor:
    """The weight in the memory format that makes convolution and pooling fastest."""
    if weight.dim() == 4:
        return weight.contiguous(memory_format=torch.channels_last)
    return weight


def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[Any, Any]],
    mask: Mapping[str, Tensor] | Policy | None = None,
    *,
    device: Device,
    chips: int = 100,
    seed: int = 0,
    first_chip: int = 0,
    loss: str = "cross_entropy",
    progress: Callable[[int], None] | None = None,
) -> Result:
    """Accuracy of a model whose weights are programmed into memory devices, chip by chip.

    Chip r has the same draws whatever the mask, sigma or number of chips, so results of two
    masks are compared in pairs.

    Args:
        model: any ``nn.Module`` of linear and convolutional layers; left exactly as it was.
            Biases and batch-norm parameters stay exact (digital).
        batches: (inputs, labels) pairs; kept in memory for all chips.
        mask: which weights to write-verify (name -> bool tensor), or a programming policy;
            None verifies nothing.
        device: the memory device.
        chips: how many accelerators to program.
        seed: of all draws.
        first_chip: number of the first chip, to extend an earlier result.
        loss: ``cross_entropy`` or ``mse``, which has no accuracy (NaN).
        progress: called with the number of chips done.

    Raises:
        SettingError: fewer than one chip, or an unknown loss.
        DataError: ``batches`` or the mask do not fit the model.
        UnsupportedOperationError: a weight cannot be programmed, such as attention's.
    """
    if chips < 1:
        raise SettingError(f"chips must be at least 1, not {chips}")
    rows = []
    made = stream(model, batches, mask, device=device, seed=seed, first_chip=first_chip, loss=loss)
    for _, *row, _ in itertools.islice(made, chips):
        rows.append(row)
        if progress is not None:
            progress(len(rows))
    return Result(*torch.tensor(rows, dtype=torch.float64).T)


def stream(
    model: nn.Module,
    batches: Iterable[tuple[Any, Any]],
    mask: Mapping[str, Tensor] | Policy | None = None,
    *,
    device: Device,
    seed: int = 0,
    first_chip: int = 0,
    images: int | None = None,
    loss: str = "cross_entropy",
) -> Iterator[Row]:
    """Chip after chip without end, each as the entries of :data:`COLUMNS`.

    Arguments and errors are those of :func:`evaluate`, and ``images``: measure each chip on about
    so many, drawn afresh for each (:mod:`swim.sampling`), so that its accuracy is an unbiased
    estimate; the first :data:`swim.sampling.PILOT` chips are measured on all of them. Between two
    chips the model is as it was.
    """
    policy: Policy = VerifyMask(mask or {}) if mask is None or isinstance(mask, Mapping) else mask
    with left_alone(model), torch.no_grad():
        network = Network(model, batches, loss)

    def program(index: int) -> Programmed:
        return policy.program(Chip(network.targets, device, seed, index))

    sampling = None
    for index in itertools.count(first_chip):
        with left_alone(model), torch.no_grad():
            programmed = program(index)
            row: Row
            if images is None or images >= network.images or index < PILOT:
                row = (index, *network.run(programmed.weights), programmed.nwc, network.images)
            else:
                sampling = sampling or _plan(network, program, images)
                positions, parts = map(torch.from_numpy, sampling.draw(seed, index))
                right, losses = network.answers(programmed.weights, positions)
                accuracy, mean = (float(parts @ part.double().cpu()) for part in (right, losses))
                row = (index, accuracy, mean, programmed.nwc, sampling.images)
        yield row


def _plan(network: Network, program: Callable[[int], Programmed], images: int) -> Sampling:
    """Strata from the answers of the pilot chips, and of the network before programming."""
    wrong = sum(1 - network.answers(program(index).weights)[0] for index in range(PILOT))
    assert isinstance(wrong, Tensor)
    _, losses = network.answers(network.targets)
    return plan(wrong.cpu().numpy(), losses.cpu().numpy(), images)


def clean(
    model: nn.Module, batches: Iterable[tuple[Any, Any]], *, loss: str = "cross_entropy"
) -> tuple[float, float]:
    """Accuracy and mean loss with every weight exactly as it is."""
    with left_alone(model), torch.no_grad():
        network = Network(model, batches, loss)
        return network.run(network.targets)
