"""Noise-aware training: the error of a step's weights, and who gets the gradient."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize

from swim.networks.quantisation import WeightQuantiser
from swim.networks.weight_noise import WeightNoise


def programmed(layer, std, seed):
    """The weight that a linear layer has under noise, read off its answers to unit vectors."""
    with WeightNoise(std, seed, layer):
        return layer(torch.eye(layer.in_features)).T.detach()


def test_errors_are_normal_with_a_std_of_full_scale():
    layer = nn.Linear(300, 200, bias=False)
    scale = layer.weight.abs().max()
    errors = ((programmed(layer, 0.1, 0) - layer.weight) / scale / 0.1).detach().flatten().double()
    # Five standard errors of each: wrong once in a million.
    n = len(errors)
    assert abs(errors.mean()) < 5 / math.sqrt(n)
    assert abs(errors.var() - 1) < 5 * math.sqrt(2 / n)
    assert abs((errors.abs() < 1).double().mean() - 0.6827) < 5 * math.sqrt(0.25 / n)


def test_a_seed_is_a_draw_and_no_noise_is_no_change():
    layer = nn.Linear(20, 10, bias=False)
    assert torch.equal(programmed(layer, 0.1, 3), programmed(layer, 0.1, 3))
    assert not torch.equal(programmed(layer, 0.1, 3), programmed(layer, 0.1, 4))
    assert torch.equal(programmed(layer, 0.0, 3), layer.weight)


def test_the_gradient_is_that_of_the_noisy_weights_and_moves_the_clean_ones():
    layer, x = nn.Linear(5, 3, bias=False), torch.randn(4, 5)
    clean = layer.weight.detach().clone()
    noisy = programmed(layer, 0.2, 7).requires_grad_()
    F.linear(x, noisy).square().sum().backward()
    with WeightNoise(0.2, 7, layer):
        layer(x).square().sum().backward()
    torch.testing.assert_close(layer.weight.grad, noisy.grad)
    assert torch.equal(layer.weight, clean)


def test_a_tied_weight_has_one_error_and_a_quantised_one_its_own_after_rounding():
    layer, x = nn.Linear(6, 6, bias=False), torch.eye(6)
    with WeightNoise(0.1, 0, layer):
        assert torch.equal(layer(x), layer(x))
    parametrize.register_parametrization(layer, "weight", WeightQuantiser(2))
    levels = programmed(layer, 0.1, 0) / layer.weight.abs().max() * 3
    assert (levels - levels.round()).abs().max() > 0.05


@pytest.mark.parametrize("std", [0.0, 0.3])
def test_watching_ends_with_the_block(std):
    layer, x = nn.Linear(4, 4), torch.randn(2, 4)
    with WeightNoise(std, 0, layer):
        pass
    assert torch.equal(layer(x), layer(x))
