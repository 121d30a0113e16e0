"""torch's tracers beside the recording of compiled passes: time to trace, nodes, speed, failures.

``python -m benchmarks.tracers``: one thread. A pass is that of eight chips where a network runs so,
else that of one chip. A trace is made on some images and weights, and run on others. Blocks are
left out: a trace of ``recording`` runs PyTorch's operations, as the others do.
"""

import copy
import functools
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx
from torchvision import models

from benchmarks import record, subjects
from swim.cli.accelerator import start
from swim.engine.chip_batch import ChipBatch
from swim.engine.compiled.recording import Recording
from swim.engine.compiled.replay import _Part
from swim.engine.evaluator import GROUP, Network
from swim.engine.kernels import FastKernels
from swim.networks.weights.expressions import Stored
from swim.settings import Compute, registry

Run = Callable[..., Tensor]
TIMES = 7


class Encoder(nn.Module):
    """Two transformer encoder layers and a linear one."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.head(self.body(x).mean(1))
        return result


class Changing(nn.Module):
    """A small network whose forward is another one each time, or on other images."""

    count: Tensor

    def __init__(self, kind: str):
        super().__init__()
        self.kind, self.conv = kind, nn.Conv2d(1, 6, 3, padding=1)
        self.fc = nn.Linear(6 * 14 * 14, 10)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        y = F.max_pool2d(self.conv(x).relu(), 2)
        if self.kind == "asks for a value" and float(y.mean()) > 0.3:
            y = y * 2
        if self.kind == "draws":
            y = y + torch.rand_like(y)
        if self.kind == "counts calls":
            self.count += 1
            y = y * self.count
        if self.kind == "leaves torch":
            y = y * float(x.numpy().max())
        result: Tensor = self.fc(y.flatten(1))
        return result


def _zoo(name: str, channels: int) -> Callable[[], nn.Module]:
    return lambda: registry.find("network", name)(channels, 10)


# name -> network, shape of an image, images a pass
SUBJECTS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "LeNet, 4 bits": (lambda: subjects.network("lenet", 4), (1, 28, 28), 32),
    "LeNet": (_zoo("lenet", 1), (1, 28, 28), 32),
    "MLP3": (_zoo("mlp3", 1), (1, 28, 28), 32),
    "ConvNet": (_zoo("convnet", 3), (3, 32, 32), 32),
    "VGG-11": (_zoo("vgg11", 3), (3, 64, 64), 8),
    "ResNet-18": (_zoo("resnet18", 3), (3, 32, 32), 8),
    "DenseNet-121": (_zoo("densenet121", 3), (3, 32, 32), 8),
    "torchvision's ResNet-18": (lambda: models.resnet18(num_classes=10), (3, 64, 64), 8),
    "transformer encoder": (Encoder, (20, 64), 32),
    **{
        kind: (functools.partial(Changing, kind), (1, 28, 28), 32)
        for kind in ("asks for a value", "draws", "counts calls", "leaves torch")
    },
}


def _pass(model: nn.Module, x: Tensor) -> tuple[Run, list[Tensor], bool]:
    """``run(images, *weights)``, example weights, and whether it is a pass of eight chips."""
    labels = torch.zeros(len(x), dtype=torch.long)
    try:
        network = Network(model, [(x, labels)], "cross_entropy")
    except Exception:  # such as outputs that depend on chance
        network = None
    if network is not None and network.group > 1:
        chips = [{n: w * (1 + 0.1 * r) for n, w in network.targets.items()} for r in range(GROUP)]
        together = ChipBatch(Stored(model, dict(model.state_dict()), ()), chips)
        together(model, x[None])
        keys = together.made

        def run(shown: Tensor, *given: Tensor) -> Tensor:
            together._ready = dict(zip(keys, given, strict=True))
            return together(model, shown[None])

        return run, [together.ready(*key) for key in keys], True
    weights = {name: p for name, p in model.named_parameters() if p.dim() > 1}

    def alone(shown: Tensor, *given: Tensor) -> Tensor:
        with FastKernels():
            result: Tensor = functional_call(
                model, dict(zip(weights, given, strict=True)), (shown,)
            )
        return result

    return alone, list(weights.values()), False


def _recording(run: Run, given: Sequence[Tensor]) -> tuple[Run, int]:
    with Recording(given) as recording:
        result = recording.slot(run(*given))
    if not recording.faithful or result is None:
        raise RuntimeError("refused: not faithful")

    steps = _Part(recording.steps, result)  # which lets go of activations after their last use

    def replay(*others: Tensor) -> Tensor:
        return steps(dict(enumerate(others)))

    return replay, len(recording.steps)


def _nodes(graph: Any) -> int:
    return sum(node.op.startswith("call") for node in graph.nodes)


def _make_fx(run: Run, given: Sequence[Tensor]) -> tuple[Run, int]:
    module = make_fx(run)(*given)
    return module, _nodes(module.graph)


def _export(run: Run, given: Sequence[Tensor]) -> tuple[Run, int]:
    class Wrapper(nn.Module):
        def forward(self, *tensors: Tensor) -> Tensor:
            return run(*tensors)

    program = torch.export.export(Wrapper(), tuple(given), strict=False)
    return program.module(), _nodes(program.graph)


def _symbolic(run: Run, given: Sequence[Tensor]) -> tuple[Run, int]:
    module = torch.fx.symbolic_trace(lambda x: run(x, *given[1:]))
    return module, _nodes(module.graph)


def _jit(run: Run, given: Sequence[Tensor]) -> tuple[Run, int]:
    module = torch.jit.trace(run, tuple(given), check_trace=False)
    return module, sum(not node.kind().startswith("prim::") for node in module.graph.nodes())


TRACERS = {
    "recording": _recording,
    "make_fx": _make_fx,
    "torch.export": _export,
    "torch.fx.symbolic_trace": _symbolic,
    "torch.jit.trace": _jit,
}


def _milliseconds(run: Callable[[], Any]) -> float:
    began = time.process_time()
    run()
    return 1e3 * (time.process_time() - began)


def _try(trace: Any, model: nn.Module, run: Run, given: list[Tensor]) -> dict[str, Any]:
    """One tracer on one network."""
    others = [torch.randn_like(given[0]), *(0.9 * weight for weight in given[1:])]
    state = copy.deepcopy(model.state_dict())
    try:
        began = time.process_time()
        replay, nodes = trace(run, given)
        traced = 1e3 * (time.process_time() - began)
        model.load_state_dict(state)
        expected = run(*others)
        model.load_state_dict(state)
        outputs = replay(*others)
    except Exception as error:
        model.load_state_dict(state)
        lines = str(error).splitlines() or [""]
        return {"fails": f"{type(error).__name__}: {lines[0][:80]}"}
    pairs = [
        (_milliseconds(lambda: run(*others)), _milliseconds(lambda: replay(*others)))
        for _ in range(TIMES)
    ]
    model.load_state_dict(state)
    return {
        "trace_ms": round(traced, 1),
        "nodes": nodes,
        "same": bool((outputs - expected).abs().mean() <= 1e-4 * expected.abs().mean()),
        "pass": round(statistics.median(after / before for before, after in pairs), 2),
    }


def main() -> None:
    """Measure and write benchmarks/results/tracers.json and .md."""
    place = start(Compute(accelerator="cpu"))
    warnings.simplefilter("ignore")
    content: dict[str, Any] = {}
    table = [
        "| network | tracer | trace, ms | nodes | same outputs | pass, in plain passes |",
        "|---|---|---:|---:|---|---:|",
    ]
    for name, (build, shape, count) in SUBJECTS.items():
        torch.manual_seed(0)
        model, x = build().eval().requires_grad_(False), torch.randn(count, *shape)
        with torch.no_grad():
            run, weights, together = _pass(model, x)
            label = f"{name}{', eight chips' if together else ''}"
            for tracer, trace in TRACERS.items():
                row = content.setdefault(label, {})[tracer] = _try(trace, model, run, [x, *weights])
                cells = (
                    f"{row['fails']} | | | " if "fails" in row else
                    f"{row['trace_ms']} | {row['nodes']} | {'yes' if row['same'] else 'NO'} | "
                    f"{row['pass']}"
                )  # fmt: skip
                table.append(f"| {label} | {tracer} | {cells} |")
                print(table[-1], flush=True)
    record.save("tracers", "python -m benchmarks.tracers", content, table, place)


if __name__ == "__main__":
    main()
