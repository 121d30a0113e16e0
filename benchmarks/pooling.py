"""Both treatments of average pooling against the exact Gauss-Newton diagonal of a whole network.

``python -m benchmarks.pooling --model results/EXPERIMENT/model.safetensors --data
results/data/DATASET.safetensors`` takes a few training images, since the exact diagonal costs as
many backward passes of each image as there are classes. Scores are compared, not second
derivatives: all contain the squared full scale of the layer.
"""

import argparse
from typing import Any

import numpy as np
import torch

from benchmarks import record
from benchmarks.estimators import flat
from swim.curvature.estimate import second_derivative
from swim.data.dataset import DataSet
from swim.networks import checkpoint
from swim.runtime import markdown
from swim.selection.masks import mask_of, relative_magnitude
from swim.selection.scores.base import Inputs, Layers, by_full_scale

WAYS = ("recursion", "recursion_coherent", "empirical_fisher", "monte_carlo_fisher")
FRACTIONS = ("0.0003", "0.001", "0.003", "0.01", "0.03", "0.1", "0.3")


def against(found: Layers, exact: Layers, ties: Layers) -> dict[str, dict[str, float]]:
    """At each fraction: the fraction of the true best weights selected, and of their scores."""
    rows, reference = {}, flat(exact)
    for fraction in FRACTIONS:
        own, best = (flat(mask_of(s, fraction, ties)).astype(bool) for s in (found, exact))
        rows[fraction] = {
            "overlap": float((own & best).sum() / best.sum()),
            "saved": float(reference[own].sum() / reference[best].sum()),
        }
    return rows


def ratios(found: Layers, exact: Layers) -> dict[str, float]:
    """Each layer's sum over the exact one's, in units of the last layer's."""
    sums = {name: float(layer.sum() / exact[name].sum()) for name, layer in found.items()}
    return {name: value / list(sums.values())[-1] for name, value in sums.items()}


def measure(model: Any, batch: Any) -> dict[str, Any]:
    """Every way against the exact diagonal of the same images."""
    raw = {
        way: {
            name: h.numpy() for name, h in second_derivative(model, [batch], estimator=way).items()
        }
        for way in (*WAYS, "gauss_newton")
    }
    parameters = dict(model.named_parameters())
    weights = {name: parameters[name].detach().numpy() for name in raw["gauss_newton"]}
    scores = {way: by_full_scale(Inputs(weights, h, 0)) for way, h in raw.items()}
    exact, ties = scores["gauss_newton"], relative_magnitude(weights)
    return {
        way: {"fractions": against(scores[way], exact, ties), "layers": ratios(scores[way], exact)}
        for way in WAYS
    }


def comparison_tables(found: dict[str, Any]) -> list[str]:
    """Overlaps by fraction, then the layers' ratios."""
    overlaps = [
        [way, *(f"{r['overlap']:.3f} ({r['saved']:.3f})" for r in row["fractions"].values())]
        for way, row in found.items()
    ]
    heads = ["fraction of the best weights (of their scores)", *(f"NWC {f}" for f in FRACTIONS)]
    ratios: list[list[str]] = []
    for way, row in found.items():
        before = list(row["layers"].values())[:-1]
        extremes = (np.median(before), min(before), max(before))
        ratios.append([way, *(f"{value:.2f}" for value in extremes)])
    layers = ["a layer's sum over the exact one, last layer 1", "median", "least", "most"]
    return [
        *markdown.table(heads, overlaps, "l" + "r" * len(FRACTIONS)),
        "",
        *markdown.table(layers, ratios, "lrrr"),
    ]


def main() -> None:
    """Measure and write benchmarks/results/pooling.json and .md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="checkpoint")
    parser.add_argument("--data", required=True, help="prepared data set")
    parser.add_argument("--images", type=int, default=100, help="training images")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    model, settings = checkpoint.load(chosen.model)
    data = DataSet(chosen.data)
    first = next(iter(data.batches("train", chosen.images, chosen.images)))
    found = measure(model, first)
    table = comparison_tables(found)
    content = {"network": settings["model"], "images": chosen.images, "ways": found}
    record.save("pooling", "python -m benchmarks.pooling --model MODEL --data DATA", content, table)


if __name__ == "__main__":
    main()
