"""A line in the log says where the recursion's scores are far off, and what to take instead."""

import logging

import pytest
import torch
from torch import nn

from swim.curvature.estimate import second_derivative


def convolutional(*pool):
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), *pool, nn.Flatten(), nn.LazyLinear(4))


class Mean(nn.Module):
    def __init__(self, *dims):
        super().__init__()
        self.dims = dims

    def forward(self, x):
        return x.mean(self.dims)


POOLED = {
    "adaptive pool": nn.AdaptiveAvgPool2d(1),
    "pool of the whole image": nn.AvgPool2d(4),
    "mean over positions": Mean(2, 3),
}


def lines(caplog, model, x, **options):
    model(x)  # lazy layers
    with caplog.at_level(logging.INFO, "swim"):
        batches = [(x[:2], None), (x[2:], None)]
        second_derivative(model.eval(), batches, **options)
    return [record.message for record in caplog.records if "meets" in record.message]


@pytest.mark.parametrize("noise", [0.0, 0.1])  # at programmed chips: a pass a batch
@pytest.mark.parametrize("pool", POOLED)
def test_a_global_average_pool_is_named_once_with_the_way_out(caplog, pool, noise):
    (line,) = lines(caplog, convolutional(POOLED[pool]), torch.randn(4, 2, 6, 6), noise=noise)
    assert "a global average pool" in line
    assert "gauss_newton_probe" in line


@pytest.mark.parametrize("pool", [nn.MaxPool2d(4), nn.AvgPool2d(2), nn.Identity()])
def test_other_pools_give_no_line(caplog, pool):
    assert lines(caplog, convolutional(pool), torch.randn(4, 2, 6, 6)) == []


def test_attention_is_named(caplog):
    layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)  # scores as a softmax of products
    model = nn.Sequential(layer, nn.Flatten(), nn.Linear(30, 4))
    (line,) = lines(caplog, model, torch.randn(4, 5, 6))
    assert "attention" in line


@pytest.mark.parametrize("estimator", ["gauss_newton_probe", "gradient", "recursion_coherent"])
def test_estimators_that_keep_the_terms_give_no_line(caplog, estimator):
    model = convolutional(nn.AdaptiveAvgPool2d(1))
    batches = [(torch.randn(4, 2, 6, 6), torch.arange(4))]
    model(batches[0][0])
    second_derivative(model.eval(), batches, estimator=estimator)
    assert not any("meets" in record.message for record in caplog.records)
