from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import swim
from swim.selection import masks
from swim.selection.scores.base import Inputs, estimator_of
from swim.settings.registry import ESTIMATORS, METHODS, find
from tests import ROOT
from tests.unit.conftest import run


def layers(*shapes, seed=0, levels=None):
    generator = np.random.default_rng(seed)
    values = [generator.standard_normal(shape) for shape in shapes]
    if levels:
        values = [np.round(value * levels) / levels for value in values]
    return {f"l{i}": value for i, value in enumerate(values)}


def slow_mask(scores, fraction, ties=None):
    """All weights as a list of tuples, sorted by Python, the count by exact fractions."""
    entries = []
    for name, layer in scores.items():
        for index in np.ndindex(layer.shape):
            tie = 0.0 if ties is None else float(ties[name][index])
            entries.append((-float(layer[index]), -tie, len(entries), name, index))
    wanted = int(Fraction(str(fraction)) * len(entries) + Fraction(1, 2))
    mask = {name: np.zeros(layer.shape, dtype=bool) for name, layer in scores.items()}
    for *_, name, index in sorted(entries)[:wanted]:
        mask[name][index] = True
    return mask


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 6)), min_size=1, max_size=4),
    st.decimals(0, 1, places=3),
    st.integers(0, 10_000),
    st.booleans(),
)
def test_mask_equals_sorting_by_score_magnitude_and_position(shapes, fraction, seed, tied):
    scores = layers(*shapes, seed=seed, levels=2)
    ties = layers(*shapes, seed=seed + 1, levels=2) if tied else None
    found, expected = (f(scores, fraction, ties) for f in (masks.mask_of, slow_mask))
    for name in scores:
        np.testing.assert_array_equal(found[name], expected[name])


@given(st.decimals(0, 1, places=4), st.decimals(0, 1, places=4))
def test_masks_are_nested(one, other):
    scores = layers((7, 9), (30,), levels=1)
    small, large = (masks.mask_of(scores, f) for f in sorted((one, other)))
    for name in scores:
        assert not (small[name] & ~large[name]).any()


@pytest.mark.parametrize(
    ("fraction", "total", "expected"),
    [("0", 7, 0), ("1", 7, 7), ("0.5", 7, 4), ("0.1", 5, 1), ("0.1", 4, 0), (0.3, 105_918, 31775),
     ("0.29", 100, 29), (0.29, 100, 29), (Decimal("0.015"), 100, 2), (1, 3, 3)],
)  # fmt: skip
def test_count_of_a_fraction_is_exact(fraction, total, expected):
    assert masks.count(fraction, total) == expected


@pytest.mark.parametrize("fraction", ["-0.1", 1.01, "x", float("nan"), "inf"])
def test_fraction_out_of_range_is_refused(fraction):
    with pytest.raises(swim.SwimError, match="fraction"):
        masks.count(fraction, 10)


def test_scores_of_another_shape_or_with_nan_are_refused_by_layer():
    scores = layers((3, 2), (4,))
    with pytest.raises(swim.SwimError, match=r"'l1'.*shape"):
        masks.mask_of(scores, "0.5", {"l0": np.ones((3, 2)), "l1": np.ones(5)})
    scores["l0"][1, 1] = np.nan
    with pytest.raises(swim.SwimError, match="'l0' hold 1 NaN"):
        masks.mask_of(scores, "0.5")


def test_select_breaks_ties_by_the_models_relative_magnitude():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))
    model[0].weight.data = torch.tensor([[1.0, -8.0], [2.0, 4.0]])
    model[1].weight.data = torch.tensor([[-0.3, 0.1]])
    scores = {"0.weight": torch.zeros(2, 2), "1.weight": torch.zeros(1, 2)}
    mask = swim.select(scores, 0.5, tie_break=model)
    # |W| / max|W_layer|: 1/8, 1, 1/4, 1/2 and 1, 1/3; the tie at 1 is broken by position.
    assert mask["0.weight"].tolist() == [[False, True], [False, True]]
    assert mask["1.weight"].tolist() == [[True, False]]
    by_position = swim.select(scores, 0.5)
    assert by_position["0.weight"].tolist() == [[True, True], [True, False]]
    with pytest.raises(swim.SwimError, match=r"no weight '2\.weight'"):
        swim.select({"2.weight": torch.zeros(1)}, 0.5, tie_break=model)


def test_tensors_and_arrays_agree():
    scores = layers((5, 4), (6,), levels=1)
    tensors = {name: torch.from_numpy(layer) for name, layer in scores.items()}
    mask = swim.select(tensors, 0.4)
    for name, layer in masks.mask_of(scores, 0.4).items():
        assert mask[name].dtype == torch.bool
        np.testing.assert_array_equal(mask[name].numpy(), layer)


# --- methods -----------------------------------------------------------------------------------


def inputs(seed=0):
    weights = layers((4, 5), (10,))
    curvature = {name: layer**2 for name, layer in layers((4, 5), (10,), seed=3).items()}
    return Inputs(weights, curvature, seed)


def by_full_scale(h, w):
    return h * abs(w).max() ** 2


# What each method scores by, and its score in the weight and in what the estimator gave.
SCORES = {
    "swim": ("curvature", by_full_scale),
    "swim_coherent": ("recursion_coherent", by_full_scale),
    "fisher": ("empirical_fisher", by_full_scale),
    "gauss_newton_probe": ("gauss_newton_probe", by_full_scale),
    "monte_carlo_fisher": ("monte_carlo_fisher", by_full_scale),
    "gauss_newton": ("gauss_newton", by_full_scale),
    "hutchinson": ("hutchinson", by_full_scale),
    "swim_release": (
        "release", lambda h, w: 1e6 * h * abs(w).max() ** 2 + abs(w) / abs(w).max()
    ),
    "second": ("curvature", lambda h, w: h),
    "saliency": ("curvature", lambda h, w: h * w**2),
    "gradient": ("gradient", lambda h, w: abs(h) * abs(w).max()),
    "magnitude": ("weights", lambda h, w: abs(w)),
}  # fmt: skip


@pytest.mark.parametrize("name", SCORES)
def test_score_of_each_method_is_its_formula(name):
    method, given_ = find("method", name), inputs()
    estimator, expected = SCORES[name]
    assert estimator == method.NEEDS
    given_.curvature["l1"] *= -1  # what random probes and gradients may be
    for layer, score in method.score(given_).items():
        h, w = given_.curvature[layer], given_.weights[layer]
        np.testing.assert_allclose(score, expected(h, w), rtol=1e-12)


def test_every_method_is_tested_and_names_what_exists():
    assert set(METHODS) == {*SCORES, "random", "layer_greedy"}
    for name in METHODS:
        needs = find("method", name).NEEDS
        assert needs in {"weights", "curvature", *ESTIMATORS}
        estimator = estimator_of(needs, "recursion")
        assert (estimator is None) == (needs == "weights")
        assert estimator is None or estimator in ESTIMATORS


def test_layer_greedy_takes_whole_layers_and_within_one_what_swim_takes():
    given_ = inputs()
    given_.curvature["l1"] += 10 + given_.curvature["l0"].max()
    given_.curvature["l1"][:4] = given_.curvature["l1"][3]  # ties are left to the tie-break
    greedy, swims = (find("method", name).score(given_) for name in ("layer_greedy", "swim"))
    assert list(greedy) == ["l0", "l1"]
    assert greedy["l1"].min() > greedy["l0"].max()
    for name, layer in greedy.items():
        rank = np.argsort(layer, axis=None, kind="stable")
        np.testing.assert_array_equal(rank, np.argsort(swims[name], axis=None, kind="stable"))
        assert len(np.unique(layer)) == len(np.unique(swims[name]))


def test_random_is_one_seeded_permutation():
    first, again, other = (find("method", "random").score(inputs(seed)) for seed in (1, 1, 2))
    flat = np.concatenate([layer.ravel() for layer in first.values()])
    assert sorted(flat) == list(range(30))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    assert any((first[name] != other[name]).any() for name in first)


def test_random_takes_each_weight_equally_often():
    """500 seeds, 30 weights, half verified: counts are binomial; false alarm below 1e-6."""
    from scipy import stats

    counts = np.zeros(30)
    for seed in range(500):
        mask = masks.mask_of(find("method", "random").score(inputs(seed)), "0.5")
        counts += np.concatenate([layer.ravel() for layer in mask.values()])
    low, high = stats.binom.ppf([5e-7 / 30, 1 - 5e-7 / 30], 500, 0.5)
    assert low <= counts.min()
    assert counts.max() <= high


def test_help_names_the_methods_that_rank_by_the_experiments_estimator():
    """From the registry: a new method needs no edit of a help text."""
    help_text = " ".join(run("sensitivity", "--help").split())
    named = help_text.partition("own estimator: ")[2].partition(";")[0]
    curvature = {name for name in METHODS if find("method", name).NEEDS == "curvature"}
    assert set(named.split(", ")) == curvature
    stored = (ROOT / "docs/settings.md").read_text()
    assert f"own estimator: {named};" in stored
