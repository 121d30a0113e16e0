"""On-device training against a twin that writes one chip weight by weight in a plain loop."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import swim
from swim.errors import DataError, SettingError
from swim.networks import quantisation
from swim.programming.cells import Cells
from swim.programming.chip import Chip
from swim.programming.in_situ import InSitu
from swim.runtime import rng

DEVICE = swim.Device(0.3, M=8, K=2, tolerance=0.06, write_verify="redraw")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)
        self.last = nn.Linear(3 * 16, 4)

    def forward(self, x):
        return self.last(F.relu(self.norm(self.first(x))).flatten(1))


@pytest.fixture
def net():
    torch.manual_seed(1)
    return Net().eval()


@pytest.fixture
def batches():
    torch.manual_seed(2)
    return [(torch.randn(10, 1, 6, 6), torch.randint(0, 4, (10,))) for _ in range(3)]


def twin(net, batches, chip, steps, rate, momentum, bits):
    """What each device holds in the end; the model itself is written to, with plain SGD."""
    layers = {"first.weight": net.first, "last.weight": net.last}
    clean = {name: layer.weight.detach().clone() for name, layer in layers.items()}
    full = {name: float(weight.abs().max()) for name, weight in clean.items()}
    speed = {name: torch.zeros_like(weight) for name, weight in clean.items()}
    # Every slice of a weight at its significance: 3 is the largest digit of two bits.
    slices = [3 * 4**j / 255 for j in range(4)]
    std = 0.3 * math.sqrt(sum(s**2 for s in slices))

    def write(n):
        for name, layer in layers.items():
            purpose = "chip" if n == 0 else f"write {n}"
            draws = rng.generator(chip.seed, purpose, chip.index, name)
            z = rng.normals(draws, *clean[name].shape)
            meant = clean[name].clamp(-full[name], full[name])
            if bits:
                step = full[name] / (2**bits - 1)
                meant = (meant / step).round() * step
            layer.weight.data = meant + std * full[name] * torch.from_numpy(z)

    write(0)
    for n in range(steps):
        x, y = batches[n % len(batches)]
        net.zero_grad()
        F.cross_entropy(net(x), y).backward()
        for name, layer in layers.items():
            speed[name] = momentum * speed[name] + layer.weight.grad
            clean[name] = clean[name] - rate * speed[name]
        write(n + 1)
    return {name: layer.weight.detach().clone() for name, layer in layers.items()}


def cycles(net, seed, index):
    """A chip of the network, and the writes that verifying all of it takes beyond the first."""
    targets = {
        n: getattr(net, n.split(".")[0]).weight.detach() for n in ("first.weight", "last.weight")
    }
    chip = Chip(targets, DEVICE, seed, index)
    return chip, sum(int(Cells(chip, name).verified.cycles.sum()) for name in targets)


@pytest.mark.parametrize("bits", [None, 3])
def test_the_same_weights_and_cycles_as_the_twin(net, batches, bits):
    chip, verifying = cycles(net, 5, 7)
    devices = 4 * (27 + 192)
    budget = 5.3 * devices / verifying
    policy = InSitu(net, batches, budget, learning_rate=0.05, momentum=0.9, weight_bits=bits)
    made = policy.program(chip)
    assert made.nwc == pytest.approx(5 * devices / verifying)
    expected = twin(net, batches, chip, 5, 0.05, 0.9, bits)
    for name, weight in expected.items():
        torch.testing.assert_close(made.weights[name], weight, rtol=1e-4, atol=1e-5)


def test_no_budget_is_the_chip_written_once(net, batches):
    images = [(x, y) for x, y in batches]
    once = swim.evaluate(net, images, device=DEVICE, chips=3, seed=1)
    none = swim.evaluate(
        net, images, policy=InSitu(net, batches, 0), device=DEVICE, chips=3, seed=1
    )
    assert torch.equal(once.accuracy, none.accuracy)
    assert none.nwc == 0


def test_the_model_is_left_alone_and_chips_do_not_depend_on_each_other(net, batches):
    before = {name: value.clone() for name, value in net.state_dict().items()}
    policy = InSitu(net, batches, 1.5, learning_rate=0.1)
    both = swim.evaluate(net, batches, policy=policy, device=DEVICE, chips=10, seed=1)
    last = swim.evaluate(net, batches, policy=policy, device=DEVICE, chips=1, seed=1, first_chip=9)
    assert both.accuracy[9] == last.accuracy[0]
    assert both.nwc_per_chip[9] == last.nwc_per_chip[0]
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert (both.nwc_per_chip <= 1.5).all()
    assert both.nwc_per_chip.min() > 0.5


def test_training_on_quiet_devices_learns():
    """With little noise and many cycles a bad network becomes a good one: it is training."""
    torch.manual_seed(0)
    x = torch.randn(200, 1, 6, 6)
    y = (x.mean((1, 2, 3)) > 0).long()
    net = Net().eval()
    quiet = swim.Device(0.02, tolerance=0.02)
    kept = {"device": quiet, "chips": 2}
    start = swim.evaluate(net, [(x, y)], **kept).mean
    policy = InSitu(net, [(x, y)], 150, learning_rate=0.2)
    assert swim.evaluate(net, [(x, y)], policy=policy, **kept).mean > start + 0.5


def test_quantised_in_the_forward(batches):
    torch.manual_seed(3)
    net = Net().eval()
    quantisation.quantise_weights(net, 4)
    policy = InSitu(net, batches, 1, weight_bits=4)
    result = swim.evaluate(net, batches, policy=policy, device=DEVICE, chips=2)
    assert result.accuracy.isfinite().all()


def test_in_the_closed_form_a_unit_is_what_is_expected(net, batches):
    """One step writes each device once; verifying one takes (1 - p) / p rewrites on average."""
    p = math.erf(0.06 / 0.3 / math.sqrt(2))
    made = swim.evaluate(
        net, batches, policy=InSitu(net, batches, 1), device=swim.Device(0.3), chips=2
    )
    steps = int((1 - p) / p)
    assert made.nwc_per_chip.tolist() == pytest.approx([steps / ((1 - p) / p)] * 2)


def test_mistakes(net, batches):
    with pytest.raises(SettingError, match="budget must be at least 0"):
        InSitu(net, batches, -1)
    with pytest.raises(DataError, match="batches is empty"):
        InSitu(net, [], 1)
    with pytest.raises(SettingError, match="no write cycles to spend"):
        swim.evaluate(
            net, batches, policy=InSitu(net, batches, 1), device=swim.Device(0.0), chips=1
        )
    with pytest.raises(SettingError, match="tolerance"):
        swim.Device(0.1, tolerance=0)
