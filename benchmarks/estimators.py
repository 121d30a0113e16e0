"""Every estimator's scores against the exact diagonals, on small trained networks.

``python -m benchmarks.estimators``: the networks of :mod:`benchmarks.digits`, in float64, three
seeds each, 500 training images. The Hessian's diagonal comes from a second backward pass for each
weight, that of the Gauss-Newton matrix from each sample's Jacobian; neither uses an estimator.
All are compared as scores, times the square of the layer's full scale, as selection ranks them:

- Spearman's rank correlation, equal scores sharing their mean rank, over the weights whose exact
  diagonal is not zero: every estimator recognises a dead unit, which would raise all correlations;
- the fraction of the true best 5 % and 10 % of all weights among an estimator's, chosen as masks
  are (equal scores by |W|, then by position);
- the sum of exact scores of its 10 %, against that of the best 10 %: the fraction of
  the loss that verifying so many weights can save.
"""

import argparse
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from benchmarks import digits, record, subjects
from swim.curvature import losses
from swim.curvature.estimate import second_derivative
from swim.runtime import markdown
from swim.selection.masks import mask_of, relative_magnitude
from swim.selection.scores.base import Inputs, Layers, by_full_scale
from swim.settings import registry

FRACTIONS = ("0.05", "0.1")


@dataclass(frozen=True)
class Way:
    """A method, with the estimator, number of samples and random vectors of its scores."""

    method: str
    estimator: str | None = None
    samples: int = 1
    probe: str = "signs"


WAYS = {
    "recursion": Way("swim", "recursion"),
    "recursion_coherent": Way("swim_coherent", "recursion_coherent"),
    "release": Way("swim_release", "release"),
    "gauss_newton_probe, signs": Way("gauss_newton_probe", "gauss_newton_probe"),
    "gauss_newton_probe, labels": Way("gauss_newton_probe", "gauss_newton_probe", probe="labels"),
    "gauss_newton_probe, signs, 4 passes": Way("gauss_newton_probe", "gauss_newton_probe", 4),
    "gradient": Way("gradient", "gradient"),
    "empirical_fisher": Way("fisher", "empirical_fisher"),
    "monte_carlo_fisher, 1 label": Way("monte_carlo_fisher", "monte_carlo_fisher"),
    "monte_carlo_fisher, 10 labels": Way("monte_carlo_fisher", "monte_carlo_fisher", 10),
    "gauss_newton": Way("gauss_newton", "gauss_newton"),
    "hutchinson, 1 probe": Way("hutchinson", "hutchinson"),
    "hutchinson, 10 probes": Way("hutchinson", "hutchinson", 10),
    "hutchinson, 100 probes": Way("hutchinson", "hutchinson", 100),
    "magnitude, no estimator": Way("magnitude"),
    "random, no estimator": Way("random"),
}
MEASURES = {
    "rank": "Spearman's rank correlation with the exact scores",
    "top 0.05": "part of the best 5 % of the weights that its 5 % hold",
    "top 0.1": "part of the best 10 % of the weights that its 10 % hold",
    "saved": "exact scores of its 10 %, as a part of those of the best 10 %",
}


def layer_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights of linear and convolutional layers."""
    return {name: p for name, p in model.named_parameters() if p.dim() > 1}


def hessian_diagonal(model: nn.Module, x: Tensor, y: Tensor, loss: str) -> Layers:
    """The exact diagonal, of the loss summed over samples: a backward pass for each weight."""
    weights = layer_weights(model)
    total = losses.total(loss, model(x), y)
    first = torch.autograd.grad(total, list(weights.values()), create_graph=True)
    found = {}
    for (name, weight), gradient in zip(weights.items(), first, strict=True):
        diagonal = [
            torch.autograd.grad(entry, weight, retain_graph=True)[0].flatten()[i]
            for i, entry in enumerate(gradient.flatten())
        ]
        found[name] = torch.stack(diagonal).view(weight.shape).numpy()
    return found


def gauss_newton_diagonal(model: nn.Module, x: Tensor, loss: str) -> Layers:
    """The exact diagonal ``(J^T H J)_ii``, from the whole Jacobian J of each sample's outputs."""
    weights = layer_weights(model)
    found = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for sample in x.split(1):
        outputs = model(sample)[0]
        p = torch.softmax(outputs.detach(), 0)
        h = 2 * torch.eye(len(p)) if loss == "mse" else torch.diag(p) - torch.outer(p, p)
        rows = [
            torch.autograd.grad(output, list(weights.values()), retain_graph=True)
            for output in outputs
        ]
        for name, columns in zip(weights, zip(*rows, strict=True), strict=True):
            jacobian = torch.stack(columns)
            product = torch.einsum("c...,cd,d...->...", jacobian, h.to(jacobian), jacobian)
            found[name] += product
    return {name: value.detach().numpy() for name, value in found.items()}


def flat(layers: Layers) -> np.ndarray:
    """All layers concatenated."""
    return np.concatenate([layer.ravel() for layer in layers.values()])


def compare(found: Layers, exact: Layers, weights: Layers) -> dict[str, float]:
    """The :data:`MEASURES` of one estimator's scores."""
    ties = relative_magnitude(weights)
    reference = flat(exact)
    alive = reference != 0
    row = {"rank": float(spearmanr(flat(found)[alive], reference[alive]).statistic)}
    for fraction in FRACTIONS:
        own, best = (flat(mask_of(s, fraction, ties)).astype(bool) for s in (found, exact))
        row[f"top {fraction}"] = float((own & best).sum() / best.sum())
        row["saved"] = float(reference[own].sum() / reference[best].sum())
    return row


def scores(way: Way, model: nn.Module, batch: Any, loss: str, seed: int) -> Layers:
    """The scores of a method."""
    weights = {name: p.detach().numpy() for name, p in layer_weights(model).items()}
    given = None
    if way.estimator:
        raw = second_derivative(
            model, [batch], estimator=way.estimator, loss=loss, seed=seed, samples=way.samples,
            probe=way.probe,
        )  # fmt: skip
        given = {name: raw[name].numpy() for name in weights}
    found: Layers = registry.find("method", way.method).score(Inputs(weights, given, seed))
    return found


def study(name: str, seed: int) -> dict[str, Any]:
    """One trained network: its properties, and every way compared with both exact diagonals."""
    case = digits.CASES[name]
    model, accuracy = digits.trained(case, seed)
    x, y = digits.sample(case)
    weights = {name: p.detach().numpy() for name, p in layer_weights(model).items()}
    raw = {"Hessian": hessian_diagonal(model, x, y, case.loss),
           "Gauss-Newton": gauss_newton_diagonal(model, x, case.loss)}  # fmt: skip
    exact = {key: by_full_scale(Inputs(weights, h, seed)) for key, h in raw.items()}
    found = {key: scores(way, model, (x, y), case.loss, seed) for key, way in WAYS.items()}
    hessian, gauss_newton = (flat(exact[key]) for key in exact)
    return {
        "seed": seed,
        "accuracy": accuracy,
        "weights": len(hessian),
        "zero": float((hessian == 0).mean()),
        "negative": float((hessian < 0).mean()),
        "largest difference of the two": float(abs(hessian - gauss_newton).max() / hessian.max()),
        "Gauss-Newton against Hessian": compare(exact["Gauss-Newton"], exact["Hessian"], weights),
        **{
            f"against {key}": {way: compare(s, reference, weights) for way, s in found.items()}
            for key, reference in exact.items()
        },
    }


def costs(repeats: int) -> dict[str, dict[str, float]]:
    """Seconds of each way on LeNet and 500 images in float32, all in turn."""
    model, batch = subjects.network("lenet"), subjects.images("lenet", 500)
    ways = {key: way for key, way in WAYS.items() if way.estimator and way.samples <= 10}
    times: dict[str, list[float]] = {key: [] for key in ways}
    for repeat in range(repeats + 1):
        for key, way in ways.items():
            run: Callable[[], Any] = lambda w=way: second_derivative(  # type: ignore[misc] # noqa: E731
                model, [batch], estimator=w.estimator, samples=w.samples, probe=w.probe
            )
            (seconds,) = record.seconds(run, 1)
            if repeat:  # the first round warms up
                times[key].append(seconds)
    return {key: record.spread(found) for key, found in times.items()}


def columns(runs: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Network -> each seed's rows against the Hessian; GELU's against Gauss-Newton too."""
    found = {name: [run["against Hessian"] for run in own] for name, own in runs.items()}
    if "GELU" in runs:
        # The only one whose two diagonals differ by more than rounding.
        found["GELU, Gauss-Newton"] = [run["against Gauss-Newton"] for run in runs["GELU"]]
    return found


def measure_table(measure: str, found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Means over seeds, and the cell that differs most from seed to seed."""
    rows: list[list[str]] = []
    widest = (-1.0, "")
    for way in WAYS:
        cells = []
        for name, seeds in found.items():
            values = [scores[way][measure] for scores in seeds]
            cells.append(f"{statistics.mean(values):.3f}")
            text = f"{min(values):.3f} to {max(values):.3f}, {way} on {name}"
            widest = max(widest, (max(values) - min(values), text))
        rows.append([way, *cells])
    lines = markdown.table(["", *found], rows, "l" + "r" * len(found))
    return [
        f"**{MEASURES[measure]}**",
        "",
        *lines,
        "",
        f"Widest range over seeds: {widest[1]}.",
        "",
    ]


def networks_table(runs: dict[str, list[dict[str, Any]]]) -> list[str]:
    """The networks: size, accuracy, and zeros and negative values of their exact diagonals."""
    rows: list[list[object]] = []
    for name, own in runs.items():
        mean = {key: statistics.mean(run[key] for run in own)
                for key in ("accuracy", "zero", "negative")}  # fmt: skip
        most = max(run["largest difference of the two"] for run in own)
        rows.append([name, own[0]["weights"], f"{mean['accuracy']:.1%}", f"{mean['zero']:.1%}",
                     f"{mean['negative']:.1%}", f"{most:.1e}"])  # fmt: skip
    heads = ["network", "weights", "test accuracy", "zero", "negative", "Gauss-Newton − Hessian"]
    return [
        *markdown.table(heads, rows, "lrrrrr"),
        "",
        "Zero and negative: fractions of the Hessian's diagonal. The last column: the "
        "largest difference of the two diagonals' scores, of the largest score.",
        "",
    ]


def costs_table(times: dict[str, dict[str, float]]) -> list[str]:
    """Time of each way, in gradient passes."""
    base = times["gradient"]["median"]
    rows: list[list[str]] = []
    for way, row in times.items():
        spread = f"{row['median']:.3f} ({row['min']:.3f}–{row['max']:.3f})"
        rows.append([way, spread, f"{row['median'] / base:.1f}"])
    heads = ["LeNet, 500 images, float32", "seconds (median, min–max)", "gradient passes"]
    return markdown.table(heads, rows, "lrr")


def main() -> None:
    """Measure and write benchmarks/results/estimators.json and .md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=list(digits.CASES), choices=digits.CASES)
    parser.add_argument("--seeds", type=int, default=3, help="trained networks of each kind")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    runs: dict[str, list[dict[str, Any]]] = {}
    for name in chosen.networks:
        runs[name] = [study(name, seed) for seed in range(chosen.seeds)]
        print(f"{name}: done", flush=True)
    times = costs(repeats=5)
    tables = [line for measure in MEASURES for line in measure_table(measure, columns(runs))]
    content = {"images": 500, "networks": runs, "cost": times}
    command = "python -m benchmarks.estimators"
    record.save(
        "estimators", command, content, [*networks_table(runs), *tables, *costs_table(times)]
    )


if __name__ == "__main__":
    main()
