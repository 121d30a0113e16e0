"""One weight changed at a time, against plain torch, and against a loss that is quadratic."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from swim.curvature.estimate import second_derivative
from swim.engine import evaluator
from swim.errors import DataError, SettingError
from swim.evaluation.perturbation import COLUMNS, sample, stream
from swim.networks import quantisation
from swim.reports import correlation


class Net(nn.Module):
    """A convolution, a norm and two linear layers; inputs that are always dark."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)
        self.middle, self.last = nn.Linear(3 * 16, 9), nn.Linear(9, 4)

    def forward(self, x):
        x = F.relu(self.norm(self.first(x))).flatten(1)
        return self.last(F.relu(self.middle(x)))


@pytest.fixture(params=["float", "3 bits", "3 bits in the forward"])
def net(request):
    torch.manual_seed(1)
    net = Net()
    nn.init.zeros_(net.last.weight[:, 5].detach())  # a unit that nobody listens to
    with torch.no_grad():
        net.last.weight[:, 5] = 0
    if request.param != "float":
        quantisation.quantise_weights(net, 3)
        quantisation.quantise_activations(net, 3)
        quantisation.calibrate(net, [x for x, _ in batches()])
    if request.param == "3 bits":
        quantisation.deploy(net)
    return net.eval()


def batches():
    generator = torch.Generator().manual_seed(2)
    return [
        (torch.randn(n, 1, 6, 6, generator=generator), torch.arange(n) % 4) for n in (20, 20, 7)
    ]


def twin(net, rows, std):
    """The same weights in a plain loop: a copy in float64, a weight written, the loss taken."""
    exact = copy.deepcopy(net).double()
    if hasattr(exact.last, "parametrizations"):
        quantisation.deploy(exact)
    x, y = (torch.cat(part) for part in zip(*batches(), strict=True))

    def loss():
        with torch.no_grad():
            return float(F.cross_entropy(exact(x.double()), y))

    clean, found = loss(), []
    for layer, index, *_ in rows:
        weight = exact.get_parameter(layer).data
        delta = std * float(weight.abs().max())
        before, increases = float(weight.view(-1)[index]), []
        for sign in (1, -1):
            weight.view(-1)[index] = before + sign * delta
            increases.append(loss() - clean)
        weight.view(-1)[index] = before
        found.append((layer, index, before, delta, sum(increases) / 2, *increases))
    return found


@pytest.mark.parametrize("group", [1, evaluator.GROUP])
def test_the_same_as_a_plain_loop(net, group, monkeypatch):
    monkeypatch.setattr(evaluator, "GROUP", group)
    rows = list(stream(net, batches(), std=0.2, weights=100, seed=4))
    assert len(rows) == 27 + 36 + 37
    for row, expected in zip(rows, twin(net, rows, 0.2), strict=True):
        assert row[:2] == expected[:2]
        np.testing.assert_allclose(row[2:], expected[2:], rtol=1e-7, atol=1e-14)
    assert max(abs(row[4]) for row in rows) > 1e-4


def test_a_weight_without_effect_costs_exactly_nothing(net):
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in stream(net, batches(), std=0.3,
            weights=10_000)]  # fmt: skip
    assert len(rows) == 27 + 432 + 36
    unheard = [r for r in rows if r["layer"] == "middle.weight" and r["index"] // 48 == 5]
    assert len(unheard) == 48
    assert all(row["increase"] == row["plus"] == row["minus"] == 0 for row in unheard)


def test_half_h_times_the_square_where_the_loss_is_quadratic():
    """Linear, squared error: the recursion and the second difference are exact, r is 1."""
    torch.manual_seed(3)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 5)).double()
    data = [(torch.randn(30, 3, 4).double(), torch.randn(30, 5).double()) for _ in range(3)]
    rows = list(stream(net, data, std=0.1, weights=60, loss="mse"))
    second = second_derivative(net, data, loss="mse")["1.weight"].flatten()
    h = second[[row[1] for row in rows]].numpy() / 90
    delta, increase = (np.array([row[k] for row in rows]) for k in (3, 4))
    np.testing.assert_allclose(increase, h * delta**2 / 2, rtol=1e-9)
    found = correlation.coefficients(second[:, None].numpy(), increase)
    # Rows of the weight that see the same inputs tie but for rounding, so ranks are not exact.
    np.testing.assert_allclose(found["pearson"], 1, rtol=1e-9)
    per_input = slice(0, 12)
    found = correlation.coefficients(second[per_input, None].numpy(), increase[per_input])
    np.testing.assert_allclose(found["spearman"], 1, rtol=1e-12)


def test_one_sided_increases_show_the_gradient():
    torch.manual_seed(3)
    net, data = Net().eval(), batches()
    gradient = second_derivative(net, data, estimator="gradient")
    for layer, index, _, delta, _, plus, minus in stream(net, data, std=1e-5, weights=30):
        slope = (plus - minus) / (2 * delta)
        expected = float(gradient[layer].flatten()[index]) / 47
        assert slope == pytest.approx(expected, rel=1e-3, abs=1e-7)


def test_an_interrupted_run_goes_on_to_the_same_rows():
    torch.manual_seed(5)
    net = Net().eval()
    whole = list(stream(net, batches(), std=0.2, weights=50))
    for first in (1, 17, 18, 50, 60):
        assert (
            list(stream(net, batches(), std=0.2, weights=50, first_weight=first)) == (whole[first:])
        )


def test_the_model_is_left_alone(net):
    net.train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    for _ in stream(net, batches(), std=0.2, weights=5):
        assert net.training
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert {value.dtype for value in net.parameters()} == {torch.float32}


def test_a_sample_takes_as_many_of_each_layer_and_grows():
    sizes = {"a": 1000, "b": 10, "c": 500}
    few, many = sample(sizes, 60, 0), sample(sizes, 90, 0)
    assert [len(v) for v in few.values()] == [25, 10, 25]
    assert [len(v) for v in many.values()] == [40, 10, 40]
    for name, indices in few.items():
        assert (np.diff(indices) > 0).all()
        assert set(indices) <= set(many[name])
        assert max(indices) < sizes[name]
    assert list(few) == list(sizes)
    assert set(sample(sizes, 60, 1)["a"]) != set(few["a"])
    assert [len(v) for v in sample(sizes, 10**6, 0).values()] == [1000, 10, 500]
    assert [len(v) for v in sample(sizes, 2, 0).values()] == [1, 0, 1]
    # A layer's draw is keyed by its name: others change nothing.
    assert list(sample({"x": 3, **sizes}, 63, 0)["a"]) == list(few["a"])


def test_mistakes():
    net = Net().eval()
    with pytest.raises(SettingError, match="change must be positive, not 0"):
        next(stream(net, batches(), std=0))
    with pytest.raises(SettingError, match="weights must be at least 1, not 0"):
        next(stream(net, batches(), std=0.1, weights=0))
    with pytest.raises(SettingError, match="unknown loss"):
        next(stream(net, batches(), std=0.1, loss="hinge"))
    with pytest.raises(DataError, match="batches is empty"):
        next(stream(net, [], std=0.1))
    with pytest.raises(DataError, match="pair"):
        next(stream(net, [torch.randn(3, 1, 6, 6)], std=0.1))
    with torch.no_grad():
        net.last.bias.fill_(float("nan"))
    with pytest.raises(
        DataError, match="before it is programmed: the network's outputs are not finite"
    ):
        next(stream(net, batches(), std=0.1))
