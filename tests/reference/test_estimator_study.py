"""The exact diagonals that benchmarks/estimators.py measures by, and how it measures."""

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.estimators import compare, gauss_newton_diagonal, hessian_diagonal, layer_weights
from swim.curvature import losses
from swim.curvature.estimate import second_derivative
from swim.data import labels


def network(activation):
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 2, 3), activation(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8, 4)
    ).double()


def batch(loss):
    torch.manual_seed(4)
    x = torch.randn(5, 1, 6, 6, dtype=torch.float64)
    y = torch.randn(5, 4, dtype=torch.float64) if loss == "mse" else torch.arange(5) % 4
    return x, y


@pytest.mark.parametrize("loss", labels.LOSSES)
def test_exact_hessian_is_torchs(loss):
    model, (x, y) = network(nn.GELU), batch(loss)
    found = hessian_diagonal(model, x, y, loss)
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    assert set(found) == {"0.weight", "4.weight"}
    for name, value in found.items():

        def total(weight, name=name):
            outputs = torch.func.functional_call(model, {**parameters, name: weight}, (x,))
            return losses.total(loss, outputs, y)

        full = torch.func.hessian(total)(parameters[name])
        expected = full.reshape(value.size, -1).diagonal().reshape(value.shape)
        np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("loss", labels.LOSSES)
def test_exact_gauss_newton(loss):
    """The Hessian's where the network is piecewise linear in each weight, another where not."""
    x, y = batch(loss)
    for activation, same in ((nn.ReLU, True), (nn.GELU, False)):
        model = network(activation)
        found = gauss_newton_diagonal(model, x, loss)
        hessian = hessian_diagonal(model, x, y, loss)["0.weight"]
        assert np.allclose(found["0.weight"], hessian, rtol=1e-9, atol=1e-12) is same
        ours = second_derivative(model, [(x, y)], estimator="gauss_newton", loss=loss)
        for name in layer_weights(model):
            np.testing.assert_allclose(found[name], ours[name].numpy(), rtol=1e-9, atol=1e-12)


def test_study_measures_rank_top_fractions_and_saved_loss():
    """Of 20 weights, 10 % are two and 5 % one; ties go by magnitude, zeros do not rank."""
    exact = {"a": np.array([9.0, 8, 1, *[0.5] * 7]), "b": np.zeros(10)}
    weights = {"a": np.linspace(1, 0.1, 10), "b": np.ones(10)}
    perfect = compare(exact, exact, weights)
    assert perfect == pytest.approx({"rank": 1, "top 0.05": 1, "top 0.1": 1, "saved": 1})
    tied = {"a": np.array([0.0, 7, 7, *[0.5] * 7]), "b": np.arange(10) / 100}
    row = compare(tied, exact, weights)
    assert row["top 0.05"] == 0  # the larger of the tied weights is not the best
    assert row["top 0.1"] == 0.5
    assert row["saved"] == pytest.approx(9 / 17)
    # Ranks of the ten that are not zero: (1, 9.5, 9.5, 5 x 7) against (10, 9, 8, 4 x 7).
    ranks = np.corrcoef([1, 9.5, 9.5, *[5] * 7], [10, 9, 8, *[4] * 7])[0, 1]
    assert row["rank"] == pytest.approx(ranks)
