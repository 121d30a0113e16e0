"""Monte Carlo over programmed accelerators, in memory and with common random numbers."""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

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
        return _means(*self.answers(weights))

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


def _means(right: Tensor, losses: Tensor, parts: Tensor | None = None) -> tuple[float, float]:
    """Accuracy and mean loss of some images' answers, each weighted by its part if given."""
    if parts is None:
        return float(right.double().mean()), float(losses.double().mean())
    return float(parts @ right.double().cpu()), float(parts @ losses.double().cpu())


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

    Arguments and errors are those of :func:`swim.evaluate`, and ``images``: measure each chip on
    about so many, drawn afresh for each (:mod:`swim.sampling`), so that its accuracy is an
    unbiased estimate; the first :data:`swim.sampling.PILOT` chips are measured on all of them.
    Between two chips the model is as it was.
    """
    if images is not None and loss != "cross_entropy":
        raise SettingError(f"images: samples are drawn by classification errors; loss is {loss!r}")
    policy: Policy = VerifyMask(mask or {}) if mask is None or isinstance(mask, Mapping) else mask
    with left_alone(model), torch.no_grad():
        network = Network(model, batches, loss)

    def program(index: int) -> Programmed:
        return policy.program(Chip(network.targets, device, seed, index))

    pilot: dict[int, Tensor] = {}  # chip -> which images it got right
    sampling = None
    for index in itertools.count(first_chip):
        with left_alone(model), torch.no_grad():
            programmed = program(index)
            if images is None or images >= network.images or index < PILOT:
                right, losses = network.answers(programmed.weights)
                means = _means(right, losses)
                count = network.images
                if images is not None:
                    pilot[index] = right
            else:
                sampling = sampling or _plan(network, program, pilot, images)
                positions, parts = sampling.draw(seed, index)
                right, losses = network.answers(programmed.weights, torch.from_numpy(positions))
                means = _means(right, losses, torch.from_numpy(parts))
                count = sampling.images
            row: Row = (index, *means, programmed.nwc, count)
        yield row


def _plan(
    network: Network, program: Callable[[int], Programmed], pilot: dict[int, Tensor], images: int
) -> Sampling:
    """Strata from the answers of the pilot chips, and of the network before programming.

    A run that goes on from finished chips asks the pilot chips that it has not seen once more.
    """
    for index in set(range(PILOT)) - set(pilot):
        pilot[index] = network.answers(program(index).weights)[0]
    wrong = sum(1 - right for right in pilot.values())
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
