"""Accuracy at a budget of write cycles by score, on networks of several kinds: docs/scores.md.

``python -m benchmarks.scores NETWORK ...`` measures some of the networks of
:mod:`benchmarks.score_cases`, and writes the page from all that are measured:

- ``vit gru``: trained here, within a minute, on the embedded digits;
- ``lenet convnet resnet18``: of the pipeline, from the folder ``--results`` (``lenet_mnist``,
  ``convnet_cifar10``, and ``resnet18_float``, an experiment of the user's with a ``checkpoint:``);
- ``resnet20``: a checkpoint of others, ``--resnet20 FILE``, on the images of ``--cifar10 FILE``, an
  ``.npz`` with ``x_train``, ``y_train``, ``x_test`` and ``y_test``.

Every score ranks the same weights and is verified at the same fractions on the same chips, in the
closed form. Costs are CPU time over that of a gradient pass in batches of the same size, on one
thread. A score that is measured is kept in ``--store``, and a second run goes on after it.
"""

import argparse
import functools
import json
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import swim
from benchmarks import record, scores_page
from benchmarks.score_cases import CASES, SCORES, Case, Pair, Score
from swim.curvature.estimate import second_derivative
from swim.curvature.gauss_newton_probe import TOGETHER
from swim.errors import SwimError
from swim.runtime import files
from swim.runtime.digests import of_json
from swim.selection.masks import mask_of, relative_magnitude
from swim.selection.scores.base import Inputs, Layers
from swim.settings import registry


class Study:
    """The scores of one network."""

    def __init__(self, case: Case, chips: int, train: int, test: int):
        self.case, self.chips = case, chips
        x, y = case.train
        self.train = batches((x[:train], y[:train]), TOGETHER)
        x, y = case.test
        self.test = batches((x[:test], y[:test]), 500)
        layers = second_derivative(case.model, self.train[:1], estimator="gradient")
        self.weights = {name: case.model.get_parameter(name).detach() for name in layers}
        self.arrays = {name: weight.numpy() for name, weight in self.weights.items()}
        self.ties = relative_magnitude(self.arrays)
        self.noise = case.device.weight_std(False)

    def end(self, verified: bool) -> list[float]:
        """Accuracy of each chip in percent where all or none of the weights are verified."""
        mask = {n: torch.full(w.shape, verified) for n, w in self.weights.items()}
        return self._accuracy(mask)

    def measure(self, score: Score, at_chips: bool) -> dict[str, Any]:
        """A score's cost in gradient passes, and accuracies by fraction of verified weights."""
        start = time.process_time()
        try:
            values = self._scored(score, self.noise if at_chips else 0.0)
        except SwimError as error:
            return {"fails": str(error)}
        seconds = time.process_time() - start
        accuracy = {}
        for fraction in self.case.fractions:
            mask = mask_of(values, fraction, self.ties)
            accuracy[fraction] = self._accuracy({n: torch.from_numpy(m) for n, m in mask.items()})
        cost = seconds / self._gradient_pass if score.estimator else 0.0
        return {"passes": round(cost, 2), "accuracy": accuracy}

    def _scored(self, score: Score, noise: float) -> Layers:
        raw: Layers | None = None
        if score.estimator:
            sums = second_derivative(
                self.case.model, self.train, estimator=score.estimator, probe=score.probe,
                noise=noise,
            )  # fmt: skip
            raw = {name: sums[name].numpy() for name in self.arrays}
        method = registry.find("method", score.method)
        result: Layers = method.score(Inputs(self.arrays, raw, 0))
        return result

    def _accuracy(self, mask: Mapping[str, Tensor]) -> list[float]:
        case = self.case
        made = swim.evaluate(
            case.model, self.test, mask, device=case.device, chips=self.chips,
            arithmetic=case.arithmetic,
        )  # fmt: skip
        return [round(value, 6) for value in (100 * made.accuracy).tolist()]

    @functools.cached_property
    def _gradient_pass(self) -> float:
        """CPU seconds that costs are counted in."""

        def once() -> float:
            start = time.process_time()
            for x, y in self.train:
                self.case.model.zero_grad()
                F.cross_entropy(self.case.model(x), y, reduction="sum").backward()
            self.case.model.zero_grad()
            return time.process_time() - start

        return statistics.median(once() for _ in range(3))


def batches(pair: Pair, size: int) -> list[Pair]:
    """Images and labels, some at once."""
    return list(zip(pair[0].split(size), pair[1].split(size), strict=True))


def kept(folder: Path, key: str, content: Mapping[str, Any], make: Callable[[], Any]) -> Any:
    """What ``make`` returns, or returned in an earlier run of the same content."""
    path = folder / f"{key}.json"
    digest = of_json(dict(content))
    if path.exists():
        found = json.loads(path.read_text())
        if found["digest"] == digest:
            return found["made"]
    made = make()
    files.write_json(path, {"digest": digest, "made": made})
    return made


def study(name: str, chosen: argparse.Namespace) -> dict[str, Any]:
    """All scores of one network, at ideal weights and at programmed chips."""
    case = CASES[name](chosen)
    run = Study(case, chosen.chips, chosen.train, chosen.test)
    weights = {n: float(np.abs(w).astype(np.float64).sum()) for n, w in run.arrays.items()}
    content = {
        "title": case.title, "chips": chosen.chips, "train": chosen.train, "test": chosen.test,
        "fractions": list(case.fractions), "weights": weights,
    }  # fmt: skip
    folder = chosen.store / name
    ends = {
        end: kept(folder, end, content, functools.partial(run.end, end == "all"))
        for end in ("none", "all")
    }
    rows: dict[str, Any] = {}
    for at_chips in (False, True):
        for label, score in SCORES.items():
            if at_chips and not score.estimator:
                continue
            key = f"{label}, at chips" if at_chips else label
            start = time.monotonic()
            file = key.replace(", ", "-").replace(" ", "_")
            make = functools.partial(run.measure, score, at_chips)
            rows[key] = kept(folder, file, content, make)
            print(f"{name}, {key}: {time.monotonic() - start:.0f} s", flush=True)
    del content["weights"]
    return {**content, "seed": 0, **ends, "scores": rows}


def measure(names: Iterable[str], chosen: argparse.Namespace) -> None:
    """Measure networks and write their numbers."""
    for name in names:
        content = study(name, chosen)
        command = f"python -m benchmarks.scores {name} --chips {chosen.chips} --train " + (
            f"{chosen.train} --test {chosen.test}"
        )
        record.save(f"scores-{name}", command, content, scores_page.accuracies(content))


def main() -> None:
    """Measure some networks, and write the page from all that are measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="*", choices=[*CASES, []])
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--resnet20", type=Path, help="checkpoint of resnet20")
    parser.add_argument("--cifar10", type=Path, help="images of resnet20")
    parser.add_argument("--store", type=Path, default=Path("results/scores"))
    parser.add_argument("--chips", type=int, default=100)
    parser.add_argument("--train", type=int, default=4000, help="images of the sensitivities")
    parser.add_argument("--test", type=int, default=1000, help="images of each chip's accuracy")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    measure(chosen.networks, chosen)
    scores_page.write(CASES)


if __name__ == "__main__":
    main()
