"""Monte Carlo over programmed accelerators, in memory and with common random numbers."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from swim.data.labels import NotFiniteError
from swim.devices.bit_sliced import Device
from swim.devices.equal_variance import at_equal_variance
from swim.engine.evaluator import Network
from swim.errors import SettingError
from swim.evaluation.stratified import PILOT, Sampling, plan
from swim.networks.isolation import left_alone
from swim.networks.weights.inventory import Inventory
from swim.programming.chip import Chip, Policy, Programmed
from swim.programming.mask import VerifyMask

COLUMNS = ("chip", "accuracy", "loss", "nwc", "reads", "images")
Row = tuple[int, float, float, float, float, int]


def _means(right: Tensor, losses: Tensor, parts: Tensor | None = None) -> tuple[float, float]:
    """Accuracy and mean loss of some images' answers, each weighted by its part if given."""
    if parts is None:
        return float(right.double().mean()), float(losses.double().mean())
    return float(parts @ right.double().cpu()), float(parts @ losses.double().cpu())


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
    digital: Iterable[str] = (),
    inputs: str | Sequence[str] | None = None,
    report: Callable[[Inventory], None] | None = None,
) -> Iterator[Row]:
    """Chip after chip without end, each as the entries of :data:`COLUMNS`.

    Arguments and errors are those of :func:`swim.evaluate`, and ``images``: measure each chip on
    about so many, drawn anew for each (:mod:`.stratified`), so that its accuracy is an
    unbiased estimate; the first :data:`.stratified.PILOT` chips are measured on all of them.
    ``report`` is told what is programmed, before the first chip.
    Between two chips the model is as it was.
    """
    if images is not None and loss != "cross_entropy":
        raise SettingError(f"images: samples are drawn by classification errors; loss is {loss!r}")
    policy: Policy = VerifyMask(mask or {}) if mask is None or isinstance(mask, Mapping) else mask
    with left_alone(model), torch.no_grad():
        network = Network(model, batches, loss, inputs, digital)
    if report is not None:
        report(network.inventory)
    device = at_equal_variance(device, network.targets)

    def program(index: int) -> Programmed:
        return policy.program(Chip(network.targets, device, seed, index))

    pilot: dict[int, Tensor] = {}  # chip -> which images it got right
    sampling: Sampling | None = None

    def measure(indices: range) -> Iterator[Row | NotFiniteError]:
        nonlocal sampling
        programmed = [program(index) for index in indices]
        weights: list[Mapping[str, Tensor]] = [chip.weights for chip in programmed]
        parts: list[Tensor | None] = [None] * len(indices)
        failed: dict[int, NotFiniteError] = {}
        if images is None or images >= network.images or indices[0] < PILOT:
            right, losses = _answers(network, weights, None, indices, failed)
            if images is not None:
                pilot.update(zip(indices, right, strict=True))
        else:
            sampling = sampling or _plan(network, program, pilot, images)
            drawn = [sampling.draw(seed, index) for index in indices]
            positions = [torch.from_numpy(d[0]) for d in drawn]
            right, losses = _answers(network, weights, positions, indices, failed)
            parts = [torch.from_numpy(d[1]) for d in drawn]
        for number, chip in enumerate(programmed):
            answers = _means(right[number], losses[number], parts[number])
            row = (indices[number], *answers, chip.nwc, chip.reads, right.shape[1])
            yield failed.get(indices[number], row)

    # Groups begin at fixed chips, so that a chip's neighbours, and its bytes, are always the same.
    for start in itertools.count(first_chip - first_chip % network.group, network.group):
        with left_alone(model), torch.no_grad():
            rows = list(measure(range(start, start + network.group)))
        for row in rows[max(first_chip - start, 0) :]:
            if isinstance(row, NotFiniteError):
                raise row
            yield row


def _answers(
    network: Network,
    weights: list[Mapping[str, Tensor]],
    positions: list[Tensor] | None,
    numbers: range,
    failed: dict[int, NotFiniteError],
) -> tuple[Tensor, Tensor]:
    """What chips answer; those whose outputs are not finite are put into ``failed`` instead."""
    while True:
        try:
            return network.answers(weights, positions, numbers)
        except NotFiniteError as error:
            if error.chip is None or error.chip in failed:
                raise
            failed[error.chip] = error
            weights[numbers.index(error.chip)] = network.targets


def _plan(
    network: Network, program: Callable[[int], Programmed], pilot: dict[int, Tensor], images: int
) -> Sampling:
    """Strata from the answers of the pilot chips, and of the network before programming.

    A run that goes on from finished chips asks the pilot chips that it has not seen once more.
    """
    for start in range(0, PILOT, network.group):
        if start not in pilot:
            indices = range(start, start + network.group)
            weights = [program(index).weights for index in indices]
            right, _ = network.answers(weights, numbers=indices)
            pilot.update(zip(indices, right, strict=True))
    # In units of the labels of the image that has most, most often one.
    wrong = (network.counted - torch.stack(list(pilot.values()))).sum(0) / network.counted.max()
    _, losses = network.answers([network.targets])
    return plan(wrong.cpu().numpy(), losses[0].cpu().numpy(), images)


def clean(
    model: nn.Module,
    batches: Iterable[tuple[Any, Any]],
    *,
    loss: str = "cross_entropy",
    digital: Iterable[str] = (),
    inputs: str | Sequence[str] | None = None,
) -> tuple[float, float]:
    """Accuracy and mean loss with every weight exactly as it is."""
    with left_alone(model), torch.no_grad():
        network = Network(model, batches, loss, inputs, digital)
        right, losses = network.answers([network.targets])
        return _means(right[0], losses[0])
