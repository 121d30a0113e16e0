"""One weight changed at a time, against plain torch, and against a loss that is quadratic."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import swim
from swim.curvature.estimate import second_derivative
from swim.engine import evaluator
from swim.errors import DataError, SettingError
from swim.evaluation.perturbation import COLUMNS, sample, stream
from swim.networks import quantisation
from swim.programming.chip import Chip
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


class Rounded(nn.Module):
    """Activations in steps of 2, as a quantiser of few bits makes them."""

    def forward(self, x):
        return torch.round(x / 2) * 2


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


def twin(net, rows, std, chip=None):
    """The same weights in a plain loop: a copy in float64, a weight written, the loss taken.

    ``chip``: name -> weights in the place of the network's own.
    """
    exact = copy.deepcopy(net).double()
    if hasattr(exact.last, "parametrizations"):
        quantisation.deploy(exact)
    x, y = (torch.cat(part) for part in zip(*batches(), strict=True))

    originals = {row[0]: exact.get_parameter(row[0]).detach().clone() for row in rows}
    if chip:
        exact.load_state_dict(chip, strict=False)

    def loss():
        with torch.no_grad():
            return float(F.cross_entropy(exact(x.double()), y))

    clean, found = loss(), []
    for layer, index, *_ in rows:
        weight = exact.get_parameter(layer).data
        delta = std * float(originals[layer].abs().max())
        before, increases = float(weight.view(-1)[index]), []
        for sign in (1, -1):
            weight.view(-1)[index] = before + sign * delta
            increases.append(loss() - clean)
        weight.view(-1)[index] = before
        value = float(originals[layer].view(-1)[index])
        found.append((layer, index, value, delta, sum(increases) / 2, *increases, 0.0))
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


@pytest.mark.parametrize("group", [1, 4, evaluator.GROUP])
def test_on_top_of_programmed_chips_the_mean_over_chips(net, group, monkeypatch):
    monkeypatch.setattr(evaluator, "GROUP", group)
    device = swim.Device(sigma=0.2, M=8, K=2)
    rows = list(stream(net, batches(), std=0.2, weights=60, seed=4, device=device, chips=3))
    exact = copy.deepcopy(net).double()
    if hasattr(exact.last, "parametrizations"):
        quantisation.deploy(exact)
    targets = {f"{layer}.weight": getattr(exact, layer).weight.detach()
               for layer in ("first", "middle", "last")}  # fmt: skip
    measured = []
    for index in range(3):
        errors = Chip(targets, device, 4, index)
        std = device.weight_std(False)
        chip = {name: weight + std * weight.abs().max() * errors.unit_errors(name)
                for name, weight in targets.items()}  # fmt: skip
        measured.append(twin(exact, rows, 0.2, chip))
    for row, *each in zip(rows, *measured, strict=True):
        assert row[:2] == each[0][:2]
        np.testing.assert_allclose(row[2:4], each[0][2:4], rtol=1e-7)
        expected = np.array([own[4:7] for own in each])
        np.testing.assert_allclose(row[4:7], expected.mean(0), rtol=1e-6, atol=1e-12)
        error = expected[:, 0].std(ddof=1) / 3**0.5
        assert row[7] == pytest.approx(error, rel=1e-5, abs=1e-12)
    assert max(row[7] for row in rows) > 1e-5


def test_a_staircase_averages_out_on_programmed_chips():
    """A weight before a coarse rounding: no effect alone, the smooth mean on top of errors."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(8, 6, bias=False), Rounded(), nn.Linear(6, 3))
    torch.manual_seed(6)
    for layer in (net[1], net[3]):
        nn.init.normal_(layer.weight)
    data = [(torch.randn(400, 8), torch.arange(400) % 3)]
    device = swim.Device(sigma=0.2, M=4, K=4)
    chosen = {"std": device.weight_std(False), "weights": 48, "device": device}
    alone = list(stream(net, data, **chosen))
    many = list(stream(net, data, **chosen, chips=60))
    first = [row[4] for row in many if row[0] == "1.weight"]
    errors = [row[7] for row in many if row[0] == "1.weight"]
    jumps = np.std([row[4] for row in alone if row[0] == "1.weight"])
    # 60 chips: an increase is known far better than the jumps of a single weight's loss.
    assert np.median(errors) < jumps / 4
    halves = [list(stream(net, data, **chosen, chips=30, seed=seed)) for seed in (1, 2)]
    pairs = {row[1]: row[4] for row in halves[0] if row[0] == "1.weight"}
    both = [(pairs[r[1]], r[4]) for r in halves[1] if r[0] == "1.weight" and r[1] in pairs]
    assert len(first) == len(errors) > 20
    assert np.corrcoef(np.array(both).T)[0, 1] > 0.5


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
    for layer, index, _, delta, _, plus, minus, _ in stream(net, data, std=1e-5, weights=30):
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
    on_chips = {"std": 0.2, "weights": 50, "device": swim.Device(sigma=0.1), "chips": 2}
    whole = list(stream(net, batches(), **on_chips))
    for first in (1, 17, 40):
        assert list(stream(net, batches(), **on_chips, first_weight=first)) == whole[first:]


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
    with pytest.raises(SettingError, match="no device that they are programmed to"):
        next(stream(net, batches(), std=0.1, chips=3))
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
