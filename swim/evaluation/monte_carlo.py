"""Monte Carlo over programmed chips, in memory and with common random numbers."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from swim.data.labels import NotFiniteError
from swim.devices.bit_sliced import Device
from swim.devices.equal_variance import at_equal_variance
from swim.engine.bfloat16 import in_bfloat16
from swim.engine.evaluator import Network
from swim.errors import SettingError
from swim.evaluation.stratified import PILOT, Sampling, pilot_sampling, plan
from swim.networks.isolation import left_alone
from swim.networks.weights.inventory import Inventory
from swim.programming.chip import Chip, Policy, Programmed
from swim.programming.mask import VerifyMask

COLUMNS = ("chip", "accuracy", "loss", "nwc", "reads", "images")
Row = tuple[int, float, float, float, float, int]
Images = int | Literal["auto"]
# Nanoseconds on one core, as the engine takes them on ResNet-18: a weight that is programmed in the
# closed form (3.5 to 4.2: benchmarks/results/normals.md) or cycle by cycle, an operation of a pass.
# Constants, since the number of images, and so the result, must not depend on the machine; twice
# or half of their ratio costs 6 % more time.
_CLOSED_FORM, _COUNTED, _OPERATION, _IN_BFLOAT16 = 4.0, 1500.0, 0.01, 0.25


def stream(
    model: nn.Module,
    batches: Iterable[tuple[Any, Any]],
    policy: Policy | None = None,
    *,
    device: Device,
    seed: int = 0,
    first_chip: int = 0,
    images: Images | None = None,
    loss: str = "cross_entropy",
    digital: Iterable[str] = (),
    inputs: str | Sequence[str] | None = None,
    arithmetic: str = "float32",
    report: Callable[[Inventory], None] | None = None,
) -> Iterator[Row]:
    """Chip after chip without end. Between two chips the model is as it was.

    Args:
        model: as the other arguments not named here, as in :func:`swim.evaluate`.
        batches: (inputs, labels) pairs.
        policy: the programming policy; None verifies no weight.
        device: the memory device.
        seed: seed of all random draws.
        first_chip: number of the first chip.
        images: measure each chip on about so many images, sampled afresh for each chip
            (:mod:`.stratified`), so that its accuracy is an unbiased estimate. The first
            :data:`.stratified.PILOT` chips are measured on some 500. ``auto``: on as many as make
            the mean precise at least cost, by those chips.
        loss: ``cross_entropy`` or ``mse``.
        digital: names or patterns of weights that no device holds.
        inputs: key or keys of what the model takes.
        arithmetic: ``float32`` or ``bfloat16`` (:mod:`swim.engine.bfloat16`).
        report: called with what is programmed, before the first chip.

    Yields:
        A row per chip, with the entries of :data:`COLUMNS`.

    Raises:
        SettingError: ``images`` is given with a loss that has no classification errors; else as
            :func:`swim.evaluate`, also DataError and UnsupportedOperationError.
    """
    if images is not None and loss != "cross_entropy":
        raise SettingError(
            "images asks for a sample of images per chip, which needs classification errors; with "
            f"loss {loss!r} leave images out"
        )
    network = prepare(
        model, batches, loss=loss, digital=digital, inputs=inputs, arithmetic=arithmetic
    )
    if report is not None:
        report(network.inventory)
    settings: dict[str, Any] = {"device": device, "seed": seed, "first_chip": first_chip}
    yield from rows_of(model, network, policy, images=images, **settings)


def prepare(
    model: nn.Module,
    batches: Iterable[tuple[Any, Any]],
    *,
    loss: str = "cross_entropy",
    digital: Iterable[str] = (),
    inputs: str | Sequence[str] | None = None,
    arithmetic: str = "float32",
) -> Network:
    """A model with its test images in memory, for any number of calls of :func:`rows_of`.

    Args and errors are those of :func:`stream`.
    """
    with left_alone(model), torch.no_grad():
        return Network(model, batches, loss, inputs, digital, in_bfloat16(arithmetic))


def rows_of(
    model: nn.Module,
    network: Network,
    policy: Policy | None = None,
    *,
    device: Device,
    seed: int = 0,
    first_chip: int = 0,
    images: Images | None = None,
) -> Iterator[Row]:
    """:func:`stream` of a model that is prepared: ``network`` is :func:`prepare`'s of it."""
    device = at_equal_variance(device, network.targets)
    chips = _Chips(network, policy or VerifyMask({}), device, seed, images)
    # Groups begin at fixed chips, so that a chip's neighbours, and its bytes, are always the same.
    for start in itertools.count(first_chip - first_chip % network.group, network.group):
        with left_alone(model), torch.no_grad():
            rows = chips.rows(range(start, start + network.group))
        for row in rows[max(first_chip - start, 0) :]:
            if isinstance(row, NotFiniteError):
                raise row
            yield row


class _Chips:
    """Programs and measures the chips of one network, policy and device, a group at once."""

    def __init__(
        self, network: Network, policy: Policy, device: Device, seed: int, images: Images | None
    ):
        self._network, self._policy, self._device = network, policy, device
        self._seed = seed
        every = images is None or (images != "auto" and images >= network.images)
        self._images = None if every else images
        self._wrong: dict[int, np.ndarray] = {}  # pilot chip -> errors on its images
        self._pilot: Sampling | None = None
        self._plan: Sampling | None = None

    def rows(self, group: range) -> list[Row | NotFiniteError]:
        """A row, or the reason why there is none, for each chip of a group."""
        programmed = [self._program(index) for index in group]
        weights: list[Mapping[str, Tensor]] = [chip.weights for chip in programmed]
        failed: dict[int, NotFiniteError] = {}
        shares: Sequence[Tensor | None] = [None] * len(group)
        if self._images is None:
            correct, losses = self._predict(weights, None, group, failed)
        else:
            sampling = self._pilot_sampling() if group[0] < PILOT else self._planned()
            positions, shares = self._draw(sampling, group)
            correct, losses = self._predict(weights, positions, group, failed)
            if group[0] < PILOT:
                self._note(group, positions, correct)
        rows: list[Row | NotFiniteError] = []
        for number, chip in enumerate(programmed):
            means = _means(correct[number], losses[number], shares[number])
            row = (group[number], *means, chip.nwc, chip.reads, correct.shape[1])
            rows.append(failed.get(group[number], row))
        return rows

    def _program(self, index: int) -> Programmed:
        return self._policy.program(Chip(self._network.targets, self._device, self._seed, index))

    def _predict(
        self,
        weights: list[Mapping[str, Tensor]],
        positions: list[Tensor] | None,
        group: range,
        failed: dict[int, NotFiniteError],
    ) -> tuple[Tensor, Tensor]:
        """:meth:`.Network.measure` of a group.

        A chip whose outputs are not finite is put into ``failed``; its place is taken by the
        unprogrammed network.
        """
        while True:
            try:
                return self._network.measure(weights, positions, group)
            except NotFiniteError as error:
                if error.chip is None or error.chip in failed:
                    raise
                failed[error.chip] = error
                weights[group.index(error.chip)] = self._network.targets

    def _draw(self, sampling: Sampling, group: range) -> tuple[list[Tensor], list[Tensor]]:
        """The images of each chip, and the share of each image in the chip's mean."""
        draws = [sampling.draw(self._seed, index) for index in group]
        return [torch.from_numpy(p) for p, _ in draws], [torch.from_numpy(s) for _, s in draws]

    def _pilot_sampling(self) -> Sampling:
        """Strata by the losses of the unprogrammed network."""
        if self._pilot is None:
            _, losses = self._network.measure([self._network.targets])
            self._pilot = pilot_sampling(losses[0].cpu().numpy())
        return self._pilot

    def _note(self, group: range, positions: list[Tensor], correct: Tensor) -> None:
        """Keep the errors of pilot chips, in units of the mean number of labels."""
        counted = self._network.counted.cpu()
        for index, images, right in zip(group, positions, correct.cpu(), strict=True):
            self._wrong[index] = (counted[images] - right).numpy()

    def _planned(self) -> Sampling:
        """Samples by the errors of the pilot chips.

        A run that goes on from finished chips runs the pilot chips that it has not seen once more.
        """
        if self._plan is None:
            network = self._network
            for start in range(0, PILOT, network.group):
                if start not in self._wrong:
                    group = range(start, start + network.group)
                    weights = [self._program(index).weights for index in group]
                    positions, _ = self._draw(self._pilot_sampling(), group)
                    self._note(group, positions, network.measure(weights, positions, group)[0])
            wrong = np.stack([self._wrong[chip] for chip in range(PILOT)])
            assert self._images is not None
            cost = programming_cost(network, self._device) if self._images == "auto" else 0.0
            self._plan = plan(self._pilot_sampling(), wrong, self._images, cost)
        return self._plan


def programming_cost(network: Network, device: Device) -> float:
    """What programming a chip costs, in passes of one image."""
    weights = sum(weight.numel() for weight in network.targets.values())
    one_pass = _OPERATION * max(network.operations, 1.0)
    if network.passes.way.bfloat16:
        one_pass *= _IN_BFLOAT16
    each = _CLOSED_FORM if device.write_verify == "closed_form" else _COUNTED
    return weights * each / one_pass


def _means(correct: Tensor, losses: Tensor, shares: Tensor | None = None) -> tuple[float, float]:
    """Accuracy and mean loss of some images, each weighted by its share if shares are given."""
    if shares is None:
        return float(correct.double().mean()), float(losses.double().mean())
    return float(shares @ correct.double().cpu()), float(shares @ losses.double().cpu())


def clean(
    model: nn.Module,
    batches: Iterable[tuple[Any, Any]],
    *,
    loss: str = "cross_entropy",
    digital: Iterable[str] = (),
    inputs: str | Sequence[str] | None = None,
    arithmetic: str = "float32",
) -> tuple[float, float]:
    """Accuracy and mean loss of the unprogrammed network, whose weights are exact."""
    network = prepare(
        model, batches, loss=loss, digital=digital, inputs=inputs, arithmetic=arithmetic
    )
    return clean_of(model, network)


def clean_of(model: nn.Module, network: Network) -> tuple[float, float]:
    """:func:`clean` of a model that is prepared."""
    with left_alone(model), torch.no_grad():
        correct, losses = network.measure([network.targets])
        return _means(correct[0], losses[0])
