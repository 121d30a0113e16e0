"""Second derivatives averaged over programmed chips, against one network built for each batch."""

import copy

import pytest
import torch
from torch import nn

import swim
from swim.curvature.estimate import second_derivative
from swim.errors import DataError, SettingError
from swim.networks import quantisation
from swim.runtime import rng
from swim.settings import estimator_traits


def net():
    torch.manual_seed(4)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4)
    ).eval()


def batches(count=3):
    torch.manual_seed(5)
    return [(torch.randn(7, 1, 6, 6), torch.randint(0, 4, (7,))) for _ in range(count)]


@pytest.mark.parametrize("estimator", ["recursion", "gauss_newton", "empirical_fisher"])
def test_every_batch_sees_a_chip_of_its_own(estimator):
    model = net()
    found = second_derivative(model, batches(), estimator=estimator, noise=0.2, seed=9)
    totals = dict.fromkeys(("0.weight", "4.weight"), 0.0)
    for number, batch in enumerate(batches()):
        chip = copy.deepcopy(model)
        for name, layer in (("0.weight", chip[0]), ("4.weight", chip[4])):
            draws = rng.generator(9, "curvature", number, name)
            z = rng.normals(draws, *layer.weight.shape)
            full = float(layer.weight.detach().abs().max())
            layer.weight.data += 0.2 * full * torch.from_numpy(z)
        for name, h in second_derivative(chip, [batch], estimator=estimator).items():
            totals[name] = totals[name] + h
    assert list(found) == list(totals)
    for name, total in totals.items():
        torch.testing.assert_close(found[name], total, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("estimator", sorted(estimator_traits.DRAWING))
def test_estimators_that_draw_draw_afresh_for_each_batch(estimator):
    """The same batch twice is not twice the same number, and the seed is all that decides."""
    model, twice = net(), batches(1) * 2
    once = second_derivative(model, twice, estimator=estimator, noise=1e-6, seed=1)
    again = second_derivative(model, twice, estimator=estimator, noise=1e-6, seed=1)
    first = second_derivative(model, twice[:1], estimator=estimator, noise=1e-6, seed=1)
    assert all(torch.equal(once[name], again[name]) for name in once)
    assert not torch.allclose(once["4.weight"], 2 * first["4.weight"], rtol=1e-3)


def test_where_the_curvature_is_constant_noise_changes_nothing():
    torch.manual_seed(0)
    model = nn.Linear(5, 3)
    data = [(torch.randn(6, 5), torch.randn(6, 3)) for _ in range(2)]
    plain = second_derivative(model, data, loss="mse")
    noisy = second_derivative(model, data, loss="mse", noise=0.5)
    torch.testing.assert_close(noisy["weight"], plain["weight"])


def test_the_model_is_left_as_it_was():
    model = net()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    scores = swim.sensitivity(model, batches(), estimator="recursion", noise=0.3)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    raw = second_derivative(model, batches(), noise=0.3)
    full = before["4.weight"].abs().max() ** 2
    torch.testing.assert_close(scores["4.weight"], raw["4.weight"] * full)


def test_mistakes():
    with pytest.raises(SettingError, match="noise must be at least 0"):
        second_derivative(net(), batches(), noise=-0.1)
    with pytest.raises(DataError, match="empty"):
        second_derivative(net(), [], noise=0.1)


def test_weights_that_the_forward_computes_get_their_errors_behind_it():
    model, deployed = net(), net()
    for own in (model, deployed):
        quantisation.quantise_weights(own, 4)
    quantisation.deploy(deployed)
    found = second_derivative(model, batches(), noise=0.1)
    for name, value in second_derivative(deployed, batches(), noise=0.1).items():
        torch.testing.assert_close(found[name], value)
