"""How long small parts of a run take here: a training step, a chip, one pass of some images.

Parts run on synthetic images of a data set's shape and on an untrained network, whose operations
take as long as a trained one's. Each part is a section of settings, as the step takes it, and gives
seconds and bytes. :mod:`swim.reports.run_cost` multiplies them by what a run does.
"""

import contextlib
import itertools
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from swim.data.dataset import DataSet
from swim.devices.bit_sliced import Device
from swim.devices.equal_variance import at_equal_variance
from swim.devices.from_settings import of_settings
from swim.engine.evaluator import Network
from swim.networks import checkpoint, quantisation, training
from swim.networks.isolation import left_alone
from swim.runtime import machine
from swim.runtime.peak_memory import PeakMemory
from swim.runtime.unfinished import Unfinished
from swim.settings import DeviceSettings, ModelSettings, SensitivityJob, TrainingSettings

Found = dict[str, float]
_ENOUGH = 1.0  # seconds of one part, after its first repetition
_SLOW = 4.0  # seconds of a first repetition that is not repeated
_FEW, _MANY = 16, 256  # images of two passes, whose times give an offset and a slope


@dataclass(frozen=True)
class Subject:
    """A network and images like those of an experiment.

    Attributes:
        settings: of the network.
        data: synthetic images.
        test: test images of the real data set that an experiment takes.
        place: torch device.
        seed: of everything that is drawn.
    """

    settings: ModelSettings
    data: DataSet
    test: int
    place: torch.device
    seed: int = 0

    def network(self) -> nn.Module:
        """The untrained network with its quantisers, as it is programmed."""
        model = checkpoint.initial(self.settings, self.data, self.seed).to(self.place)
        if self.settings.quantised:
            inputs = quantisation.calibration_inputs(self.data, 64, self.place)
            quantisation.quantise(model, self.settings, inputs)
            quantisation.deploy(model)
        return model.eval()


def _repeated(run: Callable[[], Any]) -> float:
    """Median seconds of a call: of several after the first, or of the first where it is long."""
    first = _timed(run)
    times = [first if first > _SLOW else _timed(run)]
    while sum(times) < _ENOUGH and len(times) < 50:
        times.append(_timed(run))
    return statistics.median(times)


def _timed(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter() - began


class _EnoughError(Exception):
    """Training has been watched for long enough."""


class _Clock(Unfinished):
    """In the place of the state that training keeps: it notes when each step ended."""

    def __init__(self, folder: Path):
        super().__init__(folder / "watched", "")
        self.ends: list[float] = []

    def read(self, place: torch.device | str = "cpu") -> dict[str, Any] | None:
        return None

    def due(self) -> bool:
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())
        watched = self.ends[-1] - self.ends[0]
        enough = 2 * _ENOUGH if len(self.ends) > 3 else _SLOW
        if len(self.ends) > 1 and (watched > enough or len(self.ends) > 100):
            raise _EnoughError
        return False


def training_steps(subject: Subject, part: Mapping[str, Any]) -> Found:
    """Seconds of a step of training, in float and, where the network has bits, quantised.

    Args:
        subject: has a batch of training images at least.
        part: ``training``, the settings of training, and ``threads``, its CPU threads.

    Returns:
        ``step`` and ``quantised_step``; ``threads``, as many as there are cores for; ``state``,
        bytes of a checkpoint; ``memory``, the peak.
    """
    before, threads = torch.get_num_threads(), min(part["threads"], machine.cores())
    torch.set_num_threads(threads)
    try:
        return {**_steps(subject, part), "threads": threads}
    finally:
        torch.set_num_threads(before)


def _steps(subject: Subject, part: Mapping[str, Any]) -> Found:
    settings = TrainingSettings.model_validate(part["training"])
    # Neither a schedule nor a loss that diverges on random labels is to end it.
    steady = {"epochs": 10**6, "warmup_epochs": 0.0, "learning_rate": 1e-6}
    with PeakMemory() as memory:
        step = _step_seconds(subject, settings.model_copy(update={**steady, "quantised_epochs": 0}))
        found = {"step": step, "quantised_step": step}
        if subject.settings.quantised:
            all_quantised = {**steady, "quantised_epochs": 10**6}
            found["quantised_step"] = _step_seconds(
                subject, settings.model_copy(update=all_quantised)
            )
    return {**found, "state": _bytes(subject.network()), "memory": memory.bytes}


def _bytes(model: nn.Module) -> float:
    return float(sum(t.numel() * t.element_size() for t in model.state_dict().values()))


def _step_seconds(subject: Subject, settings: TrainingSettings) -> float:
    clock = _Clock(Path(subject.data.path).parent)
    with contextlib.suppress(_EnoughError):
        training.train(
            subject.settings, settings, subject.data, seed=subject.seed, place=subject.place,
            unfinished=clock,
        )  # fmt: skip
    return statistics.median(b - a for a, b in itertools.pairwise(clock.ends))


def second_derivatives(subject: Subject, part: Mapping[str, Any]) -> Found:
    """Seconds of second derivatives: at the start of a pass, and of each image.

    Args:
        subject: the network and its images.
        part: ``job``, the settings of the step.

    Returns:
        ``offset`` and ``image``; ``bytes`` of the result; ``memory``, the peak in bytes at the
        batch size of the settings.
    """
    from swim.curvature.estimate import second_derivative

    job = SensitivityJob.model_validate(part["job"])
    model = subject.network()

    def run(images: int) -> float:
        index = torch.arange(images) % subject.data.size("train")
        batches = subject.data.batches("train", job.batch_size, index=index)
        return _timed(
            lambda: second_derivative(
                model, batches, estimator=job.estimator, seed=subject.seed, probe=job.probe,
                samples=job.estimator_samples, noise=job.curvature_noise,
                digital=subject.settings.digital,
            )
        )  # fmt: skip

    few = 4
    run(few)
    before = run(few)
    images = _within(_ENOUGH, before / few, few, job.batch_size)
    with PeakMemory() as memory:
        seconds = min(run(images) for _ in range(1 if before > _SLOW else 2))
    image = max(seconds - before, 0.0) / (images - few)
    grown = memory.grown * (job.batch_size / images - 1)
    weights = sum(target.numel() for target in _targets(subject, model).values())
    return {"image": image, "offset": max(seconds - images * image, 0.0),
            "bytes": 8.0 * weights, "memory": memory.bytes + grown}  # fmt: skip


def _within(seconds: float, image: float, least: int, most: int) -> int:
    """How many images take so long, from twice ``least`` to ``most``."""
    return max(2 * least, min(most, int(seconds / max(image, 1e-9))))


def passes(subject: Subject, part: Mapping[str, Any]) -> Found:
    """Seconds of programmed chips' passes over test images, without the programming.

    Args:
        subject: the network and its images.
        part: ``arithmetic``, ``batch_size``, and ``devices``, settings of memory devices by name.

    Returns:
        ``setup``, once a job; ``whole``, an image of a chip that is shown all; ``offset`` a chip
        and ``sampled`` an image of a chip that is shown a sample; ``group``, chips that run at
        once; ``weights``; ``state``, bytes of a checkpoint; ``cost:NAME``, what programming a chip
        of a device costs in passes of an image, as ``images_per_chip: auto`` takes it; ``memory``.
    """
    from swim.evaluation import monte_carlo

    model = subject.network()

    def prepared(images: int) -> Network:
        batches = list(subject.data.batches("test", part["batch_size"], images))
        return monte_carlo.prepare(
            model, batches, digital=subject.settings.digital, arithmetic=part["arithmetic"]
        )

    with PeakMemory() as memory:
        network = prepared(2 * _FEW)
        chips = [{n: w.clone() for n, w in network.targets.items()} for _ in range(network.group)]
        with left_alone(model), torch.no_grad():
            once = _repeated(lambda: network.measure(chips)) / (2 * _FEW)
            images = _within(2 * _ENOUGH, once, _FEW, min(subject.test, subject.data.size("test")))
            began = time.perf_counter()
            network = prepared(images)
            network.measure(chips)
            setup = time.perf_counter() - began
            whole = _repeated(lambda: network.measure(chips))
            many = min(_MANY, images)
            times = [_repeated(lambda n=n: network.measure(chips, _positions(n, network)))  # type: ignore[misc]
                     for n in (_FEW, many)]  # fmt: skip
    slope = max(times[1] - times[0], 0.0) / max(many - _FEW, 1)
    found = {
        "setup": max(setup - whole, 0.0),
        "whole": whole / images / network.group,
        "sampled": slope / network.group,
        "offset": max(times[0] - slope * _FEW, 0.0) / network.group,
        "group": float(network.group),
        "weights": float(sum(weight.numel() for weight in network.targets.values())),
        "state": _bytes(model),
        "memory": memory.bytes,
    }
    for name, settings in part["devices"].items():
        device = of_settings(DeviceSettings.model_validate(settings), "0.1")
        found[f"cost:{name}"] = monte_carlo.programming_cost(network, device)
    return found


def _positions(images: int, network: Network) -> list[torch.Tensor]:
    """Other images of each chip of a group."""
    spread = torch.arange(images) * max(1, network.images // images)
    return [(spread + chip) % network.images for chip in range(network.group)]


def programming(subject: Subject, part: Mapping[str, Any]) -> Found:
    """Seconds of programming a chip.

    Args:
        subject: the network.
        part: ``device``, its settings, ``sigma``, ``method`` (``none``, ``all``, ``mask`` or a
            policy) and ``budget``, the verified fraction or the NWC to spend.

    Returns:
        ``chip``, and ``memory``, the peak in bytes.
    """
    from swim.programming.chip import Chip

    model = subject.network()
    targets = {name: tensor.clone() for name, tensor in _targets(subject, model).items()}
    policy = _policy(part["method"], float(part["budget"]), targets)
    device = at_equal_variance(_device(part), targets)
    numbers = itertools.count()
    with PeakMemory() as memory, torch.no_grad():
        chip = _repeated(lambda: policy.program(Chip(targets, device, subject.seed, next(numbers))))
    return {"chip": chip, "memory": memory.bytes}


def _device(part: Mapping[str, Any]) -> Device:
    return of_settings(DeviceSettings.model_validate(part["device"]), part["sigma"])


def _targets(subject: Subject, model: nn.Module) -> dict[str, torch.Tensor]:
    from swim.networks.weights.tracing import trace

    images = subject.data.inputs("test", slice(0, 2)).to(subject.place)
    with left_alone(model):
        return trace(model, images, images, digital=subject.settings.digital).weights


def _policy(method: str, budget: float, targets: Mapping[str, torch.Tensor]) -> Any:
    """A policy by what it costs: of masks and scores, random ones cost as much as any."""
    from swim.programming.lookup import of_name
    from swim.programming.mask import VerifyMask

    parts = {"none": 0.0, "all": 1.0, "mask": budget}
    generator = torch.Generator().manual_seed(0)
    random = {
        name: torch.rand(target.shape, generator=generator).to(target.device)
        for name, target in targets.items()
    }
    if method in parts:
        return VerifyMask({name: layer < parts[method] for name, layer in random.items()})
    return of_name(method, budget, random)


def on_device_training(subject: Subject, part: Mapping[str, Any]) -> Found:
    """Seconds of the baseline that trains on the chip.

    Args:
        subject: the network and its images.
        part: ``device``, ``sigma`` and ``in_situ``, its settings.

    Returns:
        ``write``, writing a chip once; ``step``, a step; ``steps``, steps an NWC; ``memory``.
    """
    from swim.programming.chip import Chip
    from swim.programming.in_situ import InSitu

    model, chosen = subject.network(), part["in_situ"]
    targets = {name: tensor.clone() for name, tensor in _targets(subject, model).items()}
    device = at_equal_variance(_device(part), targets)
    batches = _Counted(subject.data.batches("train", chosen["batch_size"], chosen["batch_size"]))

    def run(budget: float) -> float:
        policy = InSitu(
            model, batches, budget, learning_rate=1e-6, momentum=chosen["momentum"],
            weight_bits=subject.settings.weight_bits, digital=subject.settings.digital,
        )  # fmt: skip
        batches.taken = 0
        return _timed(lambda: policy.program(Chip(targets, device, subject.seed, 0)))

    with PeakMemory() as memory:
        run(1.0)
        write, trained = run(0.0), run(1.0)
    steps = max(batches.taken, 1)
    return {"write": write, "step": max(trained - write, 0.0) / steps,
            "steps": float(steps), "memory": memory.bytes}  # fmt: skip


class _Counted(list[Any]):
    """Batches that count how often one is taken."""

    taken = 0

    def __getitem__(self, index: Any) -> Any:
        self.taken += 1
        return super().__getitem__(index)


def perturbation(subject: Subject, part: Mapping[str, Any]) -> Found:
    """Seconds of the loss that changing one weight costs, a weight and an image.

    Args:
        subject: the network and its images.
        part: ``batch_size``, and ``weights``, those of the study.

    Returns:
        ``weight_image``, and ``memory``.
    """
    from swim.evaluation import perturbation as measured

    model = subject.network()
    layers = len(_targets(subject, model))
    weights = min(layers * measured.TOGETHER, part["weights"])

    def run(images: int) -> float:
        batches = list(subject.data.batches("train", part["batch_size"], images))
        rows = measured.stream(
            model, batches, std=0.1, weights=weights, digital=subject.settings.digital
        )
        return _timed(lambda: list(rows))

    with PeakMemory() as memory:
        few, many = run(4), run(20)
    return {"weight_image": max(many - few, 0.0) / (16 * weights), "memory": memory.bytes}


PARTS: dict[str, Callable[[Subject, Mapping[str, Any]], Found]] = {
    "train": training_steps,
    "sensitivity": second_derivatives,
    "passes": passes,
    "program": programming,
    "in_situ": on_device_training,
    "perturb": perturbation,
}
