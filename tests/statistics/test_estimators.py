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


@pytest.mark.parametrize("estimator", ["gauss_newton_probe", "monte_carlo_fisher", "hutchinson"])
def test_estimator_repeats_with_its_seed_and_changes_with_another(estimator):
    model, x, y = subject()
    one, again, other = (
        flat(second_derivative(model, [(x, y)], estimator=estimator, seed=seed))
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, again)
    # Where one sample alone reaches a weight, its signs cancel in the square.
    assert (one != other).mean() > 0.1


@pytest.mark.parametrize("probe", ["signs", "labels"])
@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_gauss_newton_probe_has_the_mean_and_variance_of_its_formula(loss, probe):
    """One group's term is the square of a sum of independent J_n^T u_n.

    Its mean is the Gauss-Newton diagonal; its variance is ``2 V^2`` and the samples' own fourth
    cumulants, here counted over all outcomes of each sample's vector.
    """
    model, x, _ = subject()
    weights = [model[0].weight, model[2].weight]
    total, cumulants = 0, 0
    for image in x.split(1):
        outputs = model(image)[0]
        jacobian = np.stack([flat_gradient(out, weights) for out in outputs])
        shares, vectors = outcomes(loss, probe, outputs.detach())
        arrived = vectors @ jacobian  # (outcomes, weights)
        second = shares @ arrived**2
        total = total + second
        cumulants = cumulants + shares @ arrived**4 - 3 * second**2
    exact = second_derivative(model, [(x, None)], estimator="gauss_newton", loss=loss)
    np.testing.assert_allclose(total, flat(exact), rtol=1e-9)
    check_probe(model, x, total, 2 * total**2 + cumulants, loss=loss, probe=probe)


def check_probe(model, x, mean, variance, **options):
    """:func:`check`, but the mean square of the errors is that of twelve independent runs.

    A few samples' vectors reach all weights, so the weights' errors in one run hardly differ, and
    its mean square scatters by 0.45; that of twelve by 0.13.
    """
    options = {"estimator": "gauss_newton_probe", "samples": DRAWS // 12, **options}
    runs = np.stack([
        flat(second_derivative(model, [(x, None)], seed=seed, **options)) for seed in range(12)
    ])  # fmt: skip
    steady = variance < 1e-20
    np.testing.assert_allclose(runs[:, steady] - mean[steady], 0, atol=1e-9)
    scores = (runs - mean)[:, ~steady] / np.sqrt(variance[~steady] / options["samples"])
    assert scores.shape[1] > 15
    bound = stats.norm.isf(FALSE_ALARM / 2 / scores.shape[1])
    assert abs(scores.mean(0)).max() * 12**0.5 < bound
    assert 0.4 < np.mean(scores**2) < 2


def outcomes(loss, probe, outputs):
    """Probabilities and vectors of everything that can be drawn for one sample.

    Normal vectors have no list: three points of Gauss and Hermite an output have the same first
    five moments, and fourth powers need no more.
    """
    c = len(outputs)
    p = outputs.softmax(0).numpy()
    if probe == "labels" and loss == "cross_entropy":
        return p, p - np.eye(c)
    points, shares = np.array([-1.0, 1.0]), np.array([0.5, 0.5])
    if probe == "labels":
        points, shares = np.array([-1.0, 0.0, 1.0]) * 3**0.5, np.array([1, 4, 1]) / 6
    grid = np.stack(np.meshgrid(*[points] * c, indexing="ij"), -1).reshape(-1, c)
    weights = np.prod(np.stack(np.meshgrid(*[shares] * c, indexing="ij"), -1).reshape(-1, c), 1)
    if loss == "mse":
        return weights, 2**0.5 * grid
    return weights, np.sqrt(p) * grid - p * (np.sqrt(p) * grid).sum(1, keepdims=True)


@pytest.mark.parametrize("shared", [False, True])
def test_gauss_newton_probe_is_unbiased_with_shared_weights_and_attention(shared):
    """Weights that are used twice, in attention: their cross terms are in, as autograd has them."""
    torch.manual_seed(4)

    class Mixing(nn.Module):
        def __init__(self):
            super().__init__()
            self.q = nn.Linear(4, 4)
            self.k = self.q if shared else nn.Linear(4, 4)
            self.out = nn.Linear(4, 3)

        def forward(self, x):
            return self.out(F.scaled_dot_product_attention(self.q(x), self.k(x), x).mean(1))

    model, x = Mixing().double().eval(), torch.randn(5, 6, 4, dtype=torch.float64)
    weights = list(dict.fromkeys([model.q.weight, model.k.weight, model.out.weight]))
    total, cumulants = 0, 0
    for image in x.split(1):
        outputs = model(image)[0]
        jacobian = np.stack([flat_gradient(out, weights) for out in outputs])
        shares, vectors = outcomes("cross_entropy", "signs", outputs.detach())
        arrived = vectors @ jacobian
        second = shares @ arrived**2
        total, cumulants = total + second, cumulants + shares @ arrived**4 - 3 * second**2
    check_probe(model, x, total, 2 * total**2 + cumulants)


def test_gauss_newton_probe_converges_as_the_root_of_its_passes():
    """Four times the passes halve the root mean square error, here within 25 %.

    Errors are over 35 weights and 60 seeds; the ratio's own standard error is about 4 %, so a
    right estimator is refused with a probability below 1e-5.
    """
    model, x, _ = subject()
    exact = flat(second_derivative(model, [(x, None)], estimator="gauss_newton"))

    def error(samples):
        runs = [
            flat(second_derivative(
                model, [(x, None)], estimator="gauss_newton_probe", samples=samples, seed=seed
            )) for seed in range(60)
        ]  # fmt: skip
        return np.sqrt(np.mean([((run - exact) / exact.mean()) ** 2 for run in runs]))

    assert error(40) / error(10) == pytest.approx(0.5, rel=0.25)


def test_gauss_newton_probe_reports_the_error_that_it_has():
    """The reported aggregate against the true one, over 60 seeds; equal samples, equal groups."""
    model, x, _ = subject()
    x = x[:1].repeat(32 * 12, 1)  # twelve groups that differ in their vectors alone
    exact = second_derivative(model, [(x, None)], estimator="gauss_newton")
    scale = {name: float(model.get_parameter(name).detach().abs().max()) ** 2
             for name in exact}  # fmt: skip
    squared = sum(float((value * scale[name]).norm()) ** 2 for name, value in exact.items())
    reported, missed = [], []
    for seed in range(60):
        found = second_derivative(model, [(x, None)], estimator="gauss_newton_probe", seed=seed)
        wrong = sum(
            float(((value - exact[name]) * scale[name]).norm()) ** 2
            for name, value in found.items()
        )
        size = sum(float((value * scale[name]).norm()) ** 2 for name, value in found.items())
        reported.append(found.relative_error**2 * size)
        missed.append(wrong)
    # Variances over 60 seeds: each mean has a relative standard error of some 20 %.
    assert np.mean(reported) / squared == pytest.approx(np.mean(missed) / squared, rel=1.0)
    assert 0.5 < np.mean(reported) / np.mean(missed) < 2
