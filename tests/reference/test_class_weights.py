"""Class weights: a class that counts twice is one whose samples are there twice."""

import pytest
import torch
from torch import nn

from swim.curvature.estimate import second_derivative
from swim.data.labels import CrossEntropy, each_loss
from swim.errors import DataError, SettingError
from swim.settings import estimator_traits, registry

DETERMINISTIC = sorted(
    set(registry.ESTIMATORS) - set(estimator_traits.DRAWING) - {"release", "empirical_fisher"}
)


def network():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)).double().eval()


def batch():
    generator = torch.Generator().manual_seed(4)
    return torch.randn(9, 5, generator=generator).double(), torch.arange(9) % 3


WEIGHTS = CrossEntropy(torch.tensor([1.0, 3.0, 0.0]))
COUNTS = torch.tensor([1, 3, 0])


@pytest.mark.parametrize("estimator", DETERMINISTIC)
def test_a_weight_counts_as_that_many_copies(estimator):
    model, (x, y) = network(), batch()
    rows = torch.repeat_interleave(torch.arange(9), COUNTS[y])
    found = second_derivative(model, [(x, y)], estimator=estimator, loss=WEIGHTS)
    expected = second_derivative(model, [(x[rows], y[rows])], estimator=estimator)
    for name, value in expected.items():
        assert value.abs().max() > 0
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12)


def test_empirical_fisher_squares_the_weighted_gradients():
    model, (x, y) = network(), batch()
    found = second_derivative(model, [(x, y)], estimator="empirical_fisher", loss=WEIGHTS)
    expected = {
        name: sum(
            float(WEIGHTS.class_weights[c]) ** 2
            * second_derivative(model, [(x[y == c], y[y == c])], estimator="empirical_fisher")[name]
            for c in range(3)
        )
        for name in found
    }
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("estimator", ["gauss_newton_probe", "monte_carlo_fisher", "hutchinson"])
@pytest.mark.parametrize("probe", ["signs", "labels"])
def test_estimators_that_draw_have_the_weighted_mean(estimator, probe):
    """2,000 draws: a layer's sum is within 5 standard errors, of 4 % at most each."""
    model, (x, y) = network(), batch()
    exact = second_derivative(model, [(x, y)], estimator="gauss_newton", loss=WEIGHTS)
    found = second_derivative(
        model, [(x, y)], estimator=estimator, loss=WEIGHTS, samples=2000, probe=probe
    )
    for name, value in exact.items():
        assert float(found[name].sum() / value.sum()) == pytest.approx(1, abs=0.2), name


def test_losses_of_samples_are_weighted():
    outputs, labels = torch.randn(4, 3).double(), torch.tensor([0, 1, 2, -100])
    _, losses = each_loss(WEIGHTS, outputs, labels)
    _, plain = each_loss("cross_entropy", outputs, labels)
    torch.testing.assert_close(losses, plain * torch.tensor([1.0, 3.0, 0.0, 0.0]).double())


def test_class_weights_that_do_not_fit_are_refused():
    model, (x, y) = network(), batch()
    for weights, error, message in (
        (torch.ones(4), DataError, "4 class weights for a network of 3 classes"),
        (torch.tensor([1.0, -1, 1]), SettingError, "from 0 for each class"),
        (torch.tensor([1.0, float("nan"), 1]), SettingError, "finite"),
    ):
        with pytest.raises(error, match=message):
            second_derivative(model, [(x, y)], loss=CrossEntropy(weights))
    with pytest.raises(DataError, match="needs labels"):
        second_derivative(model, [(x, None)], loss=WEIGHTS)
