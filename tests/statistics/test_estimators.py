"""Estimators that draw: their expectation and their spread are what their formulas say."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import nn

from swim.curvature.estimate import second_derivative

DRAWS = 3000
FALSE_ALARM = 1e-5


def subject():
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).double().eval()
    return model, torch.randn(6, 5, dtype=torch.float64), torch.arange(6) % 3


def flat(found):
    return np.concatenate([value.numpy().ravel() for value in found.values()])


def check(found, mean, variance):
    """Means of many independent draws are normal, here within 5 to 6 standard errors each.

    A weight whose draws do not vary must be exact. The bound is for all weights together; and
    their errors, in units of what the formula predicts, must have a mean square near one.
    """
    errors = flat(found) - mean
    steady = variance < 1e-20
    np.testing.assert_allclose(errors[steady], 0, atol=1e-9)
    scores = errors[~steady] / np.sqrt(variance[~steady] / DRAWS)
    assert len(scores) > 15
    assert abs(scores).max() < stats.norm.isf(FALSE_ALARM / 2 / len(scores))
    assert 0.3 < np.mean(scores**2) < 3


def test_hutchinsons_probes():
    """Each probe misses H_ii by the sum over j of z_i z_j H_ij: variance sum of H_ij^2, j != i."""
    model, x, y = subject()
    weights = [model[0].weight, model[2].weight]
    total = F.cross_entropy(model(x), y, reduction="sum")
    first = torch.autograd.grad(total, weights, create_graph=True)
    rows = [
        torch.cat([g.flatten() for g in torch.autograd.grad(entry, weights, retain_graph=True)])
        for gradient in first
        for entry in gradient.flatten()
    ]
    hessian = torch.stack(rows).numpy()
    found = second_derivative(model, [(x, y)], estimator="hutchinson", samples=DRAWS, seed=1)
    off_diagonal = hessian - np.diag(hessian.diagonal())
    check(found, hessian.diagonal(), (off_diagonal**2).sum(1))


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_labels_drawn_from_the_network(loss):
    """Cross-entropy: each label's squared gradient, by its probability. Mse: a squared normal."""
    model, x, _ = subject()
    weights = [model[0].weight, model[2].weight]
    mean, variance = 0, 0
    for image in x.split(1):
        outputs = model(image)[0]
        if loss == "mse":
            rows = [flat_gradient(out, weights) for out in outputs]
            share = 2 * sum(row**2 for row in rows)
            mean, variance = mean + share, variance + 2 * share**2
            continue
        p = outputs.softmax(0).detach().numpy()
        log_p = outputs.log_softmax(0)
        squares = np.stack([flat_gradient(-log_p[c], weights) ** 2 for c in range(len(p))])
        share = p @ squares
        mean, variance = mean + share, variance + p @ squares**2 - share**2
    found = second_derivative(
        model, [(x, None)], estimator="monte_carlo_fisher", loss=loss, samples=DRAWS, seed=1
    )
    check(found, mean, variance)
    exact = second_derivative(model, [(x, None)], estimator="gauss_newton", loss=loss)
    np.testing.assert_allclose(mean, flat(exact), rtol=1e-9)


def flat_gradient(scalar, weights):
    found = torch.autograd.grad(scalar, weights, retain_graph=True)
    return np.concatenate([g.numpy().ravel() for g in found])


@pytest.mark.parametrize("estimator", ["monte_carlo_fisher", "hutchinson"])
def test_estimator_repeats_with_its_seed_and_changes_with_another(estimator):
    model, x, y = subject()
    one, again, other = (
        flat(second_derivative(model, [(x, y)], estimator=estimator, seed=seed))
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, again)
    assert (one != other).mean() > 0.3
