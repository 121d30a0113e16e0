"""Time and memory of a pass for sensitivities, against a gradient pass and other libraries.

``python -m benchmarks.sensitivity``: one thread; every way in turn, in one process, for the time;
each in a process of its own for the memory (growth of the peak resident size in one pass).
``--accelerator cuda``: on a GPU, on more images; memory is then what PyTorch allocates on the GPU.
BackPACK and curvlinops come with envs/requirements-bench.txt; they measure other quantities (the
diagonal of the generalised Gauss-Newton matrix, exact or by random probes), which are what a
sensitivity could be taken from instead.

A second table: one squared gradient a batch (``gauss_newton_probe``) against gradients in batches
of the same size, on more images, since it looks at the network once before.
"""

import argparse
import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import record, subjects
from swim.cli.accelerator import start
from swim.curvature.estimate import second_derivative
from swim.curvature.gauss_newton_probe import TOGETHER
from swim.runtime import markdown
from swim.runtime.peak_memory import PeakMemory
from swim.settings import Compute

IMAGES = {"lenet": 500, "convnet": 50, "resnet18": 20}
GPU_IMAGES = {"lenet": 5000, "convnet": 500, "resnet18": 500}
PROBE_IMAGES = {"lenet": 3200, "convnet": 320, "resnet18": 192, "vit": 640}
REPEATS = 5


def gradient(model: nn.Module, x: Tensor, y: Tensor) -> Any:
    model.zero_grad()
    F.cross_entropy(model(x), y, reduction="sum").backward()


def swim(model: nn.Module, x: Tensor, y: Tensor) -> Any:
    return second_derivative(model, [(x, y)])


def in_batches(run: Callable[[nn.Module, Tensor, Tensor], Any]) -> Callable[..., Any]:
    """The same in batches as small as those of the probe."""

    def runs(model: nn.Module, x: Tensor, y: Tensor) -> None:
        for images, labels in zip(x.split(TOGETHER), y.split(TOGETHER), strict=True):
            run(model, images, labels)

    return runs


def _probe(kind: str) -> Callable[[nn.Module, Tensor, Tensor], Any]:
    def run(model: nn.Module, x: Tensor, y: Tensor) -> Any:
        return second_derivative(model, [(x, y)], estimator="gauss_newton_probe", probe=kind)

    return run


def _backpack(extension: str) -> Callable[[nn.Module, Tensor, Tensor], Any]:
    extended: dict[nn.Module, Any] = {}

    def run(model: nn.Module, x: Tensor, y: Tensor) -> Any:
        import backpack
        from backpack import extensions

        loss = backpack.extend(nn.CrossEntropyLoss(reduction="sum"))
        if model not in extended:
            extended[model] = backpack.extend(model, use_converter=True)
        extended[model].zero_grad()
        with backpack.backpack(getattr(extensions, extension)()):
            loss(extended[model](x), y).backward()

    return run


def hutchinson(model: nn.Module, x: Tensor, y: Tensor) -> Any:
    import curvlinops

    loss = nn.CrossEntropyLoss(reduction="sum")
    ggn = curvlinops.GGNLinearOperator(
        model, loss, list(model.parameters()), [(x, y)], check_deterministic=False
    )
    return curvlinops.hutchinson_diag(ggn, num_matvecs=1)


WAYS: dict[str, Callable[[nn.Module, Tensor, Tensor], Any]] = {
    "gradient": gradient,
    "swim": swim,
    "BackPACK DiagGGNExact": _backpack("DiagGGNExact"),
    "BackPACK DiagGGNMC, one sample": _backpack("DiagGGNMC"),
    "BackPACK DiagHessian": _backpack("DiagHessian"),
    "curvlinops GGN, one Hutchinson probe": hutchinson,
}

PROBES: dict[str, Callable[[nn.Module, Tensor, Tensor], Any]] = {
    "gradient": in_batches(gradient),
    "gauss_newton_probe, signs": _probe("signs"),
    "gauss_newton_probe, labels": _probe("labels"),
    "swim, the recursion": in_batches(swim),
    "BackPACK DiagGGNMC, one sample": in_batches(WAYS["BackPACK DiagGGNMC, one sample"]),
}


@dataclass(frozen=True)
class Study:
    """What is compared: ways, the first of them a gradient pass, on so many images."""

    ways: Mapping[str, Callable[[nn.Module, Tensor, Tensor], Any]]
    images: Mapping[str, int]


STUDIES = {
    "one batch": Study(WAYS, IMAGES),
    "one batch, GPU": Study(WAYS, GPU_IMAGES),
    f"batches of {TOGETHER}": Study(PROBES, PROBE_IMAGES),
}


def times(study: Study, name: str, place: torch.device) -> dict[str, dict[str, Any]]:
    """Seconds of each way, or the reason why it cannot run."""
    x, y = (part.to(place) for part in subjects.images(name, study.images[name]))
    found: dict[str, list[float]] = {}
    failed: dict[str, dict[str, Any]] = {}
    models = {way: subjects.network(name).to(place) for way in study.ways}
    for repeat in range(REPEATS + 1):
        for way, run in study.ways.items():
            if way in failed:
                continue
            try:
                (seconds,) = record.seconds(lambda: run(models[way], x, y), 1)  # noqa: B023
            except Exception as error:
                failed[way] = {"fails": f"{type(error).__name__}: {error}"}
                continue
            if repeat:  # the first round warms up
                found.setdefault(way, []).append(seconds)
    return {way: failed.get(way) or record.spread(found[way]) for way in study.ways}


def gpu_peak(study: Study, name: str, way: str, place: torch.device) -> float:
    """MiB of the GPU that one pass allocates in addition."""
    model = subjects.network(name).to(place)
    x, y = (part.to(place) for part in subjects.images(name, study.images[name]))
    study.ways[way](model, x[:1], y[:1])
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    study.ways[way](model, x, y)
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def peak(study: str, name: str, way: str) -> float:
    """MiB by which one pass increases the memory of a fresh process (Linux only)."""
    command = [sys.executable, "-m", "benchmarks.sensitivity", "--peak", study, name, way]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    growth: float = json.loads(run.stdout.splitlines()[-1])
    return growth


def _measure_peak(kind: str, name: str, way: str) -> None:
    study = STUDIES[kind]
    model, (x, y) = subjects.network(name), subjects.images(name, study.images[name])
    study.ways[way](model, x[:1], y[:1])  # libraries are loaded
    with PeakMemory() as memory:
        study.ways[way](model, x, y)
    print(json.dumps(memory.grown / 2**20))


def measured(kind: str, networks: Sequence[str], place: torch.device) -> dict[str, Any]:
    """Times and memory of a study, network by network."""
    study, content = STUDIES[kind], {}
    for name in networks:
        if name not in study.images:
            continue
        rows = times(study, name, place)
        for way, row in rows.items():
            if "fails" not in row:
                on_gpu = place.type == "cuda"
                memory = gpu_peak(study, name, way, place) if on_gpu else peak(kind, name, way)
                row["peak_mib"] = round(memory, 1)
        content[name] = {"images": study.images[name], "ways": rows}
        print(f"{kind}, {name}: done", flush=True)
    return content


def table_of(content: Mapping[str, Any]) -> list[str]:
    """Every way beside the gradient pass of its network."""
    cells: list[list[object]] = []
    for name, own in content.items():
        base = own["ways"]["gradient"]
        for way, row in own["ways"].items():
            head = [f"{name}, {own['images']}", way]
            if "fails" in row:
                cells.append([*head, f"cannot: {row['fails'][:90]}", "", "", ""])
                continue
            cells.append(
                [*head, f"{row['median']:.3f} ({row['min']:.3f}–{row['max']:.3f})",
                 f"{row['median'] / base['median']:.2f}", f"{row['peak_mib']:.0f}",
                 f"{row['peak_mib'] / base['peak_mib']:.2f}"]
            )  # fmt: skip
    heads = ["network, images", "way", "seconds (median, min–max)", "of a gradient pass",
             "peak memory, MiB", "of a gradient pass"]  # fmt: skip
    return markdown.table(heads, cells, "llrrrr")


def main() -> None:
    """Measure and write benchmarks/results/sensitivity.json and .md."""
    parser = argparse.ArgumentParser(description=__doc__)
    known = list(PROBE_IMAGES)
    parser.add_argument("--networks", nargs="+", default=known, choices=known)
    parser.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--accelerator", choices=("cpu", "cuda"), default="cpu")
    chosen = parser.parse_args()
    place = start(Compute(accelerator=chosen.accelerator))
    warnings.simplefilter("ignore")
    logging.getLogger("swim").setLevel(logging.ERROR)  # its advice on recursions
    if chosen.peak:
        _measure_peak(*chosen.peak)
        return
    on_gpu = place.type == "cuda"
    kinds = ["one batch, GPU" if on_gpu else "one batch", f"batches of {TOGETHER}"]
    content = {kind: measured(kind, chosen.networks, place) for kind in kinds}
    lines = [
        line for kind, own in content.items() for line in (f"**{kind}**", "", *table_of(own), "")
    ]
    command = "python -m benchmarks.sensitivity" + (" --accelerator cuda" if on_gpu else "")
    record.save("sensitivity-gpu" if on_gpu else "sensitivity", command, content, lines, place)


if __name__ == "__main__":
    main()
