import itertools

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import nn

import swim
from swim.engine.bfloat16 import Bfloat16
from swim.engine.evaluator import Network
from swim.errors import SettingError, UnsupportedOperationError
from swim.networks import quantisation
from swim.settings import ExperimentSettings, ModelSettings, ProgramJob

ULP = 2**-8  # bfloat16 has eight bits: a number and its rounding differ by half of this at most


def images(count=40, channels=3, size=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, channels, size, size, generator=generator)
    return x, torch.randint(0, 5, (count,), generator=generator)


class Small(nn.Module):
    """Convolutions with and without bias, a norm, a skip and a linear layer."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.last = nn.Linear(16, 5)
        self.norm.running_mean.uniform_(-0.5, 0.5)
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x):
        x = F.relu(self.first(x))
        x = F.relu(self.norm(self.second(x)) + x)
        return self.last(x.mean((2, 3)))


def small(bits=None):
    torch.manual_seed(1)
    model = Small().eval()
    if bits:
        settings = ModelSettings(weight_bits=bits, activation_bits=bits)
        quantisation.quantise(model, settings, [images(seed=5)[0]])
        quantisation.deploy(model)
    return model


def losses(model, batches, bfloat16=True):
    network = Network(model, batches, "cross_entropy", bfloat16=bfloat16)
    with torch.no_grad():
        return network.measure([network.targets])[1][0]


def rounded(x):
    return x.to(torch.bfloat16).double()


class Twin(nn.Module):
    """What bfloat16 should give: everything that is rounded, rounded; all else in float64."""

    def __init__(self, model, between):
        super().__init__()
        self.model, self.between = model, between

    def layer(self, layer, x):
        step = 1.0
        if hasattr(layer, "input_quantiser"):
            q = layer.input_quantiser
            step, zero = float(q.scale), int(q.zero_point)
            x = torch.clamp(torch.round(x / step), -zero, q.top - zero)
        x, weight = rounded(x), rounded(layer.weight)
        sums = F.conv2d(x, weight, padding=1) if x.dim() == 4 else F.linear(x, weight)
        bias = 0.0 if layer.bias is None else layer.bias.double()
        if x.dim() == 4 and layer.bias is not None:
            bias = bias.view(-1, 1, 1)
        if self.between:  # sums are rounded, step and bias come behind them
            return rounded(sums) * step + bias
        return rounded(sums + rounded(torch.as_tensor(bias)))

    def forward(self, x):
        keep = (lambda t: t) if self.between else rounded
        x, m = x.double(), self.model
        x = F.relu(self.layer(m.first, x))
        y = self.layer(m.second, x)
        mean, var = (t.double().view(-1, 1, 1) for t in (m.norm.running_mean, m.norm.running_var))
        scale, shift = (t.double().view(-1, 1, 1) for t in (m.norm.weight, m.norm.bias))
        y = keep((y - mean) / (var + m.norm.eps).sqrt() * scale + shift)
        x = F.relu(keep(y + x))
        return self.layer(m.last, keep(x.mean((2, 3))))


@pytest.mark.parametrize("bits", [None, 4, 8])
def test_bfloat16_rounds_what_it_says_and_nothing_else(bits):
    """Sums in another order may round to the neighbour, so most losses agree, and all nearly."""
    model, (x, y) = small(bits), images()
    with torch.no_grad():
        expected = F.cross_entropy(Twin(model, bool(bits))(x), y, reduction="none")
        exact = F.cross_entropy(model(x), y, reduction="none")
    found = losses(model, [(x, y)]).double()
    assert (found - expected).abs().median() < 0.1 * ULP
    assert (found - expected).abs().max() < (0.3 if bits else 4 * ULP)
    # The twin is nearer than the network in float32: it does round.
    assert (found - expected).abs().mean() < 0.5 * (found - exact).abs().mean()


def test_levels_are_exact_where_a_quantised_layer_is_read():
    """Whole numbers times powers of two, so that any rounding of the levels would be seen."""
    layer = nn.Linear(64, 5)
    layer.weight.data = torch.randint(-2, 3, (5, 64)) * 1.0
    layer.bias.data = torch.randn(5)
    model = nn.Sequential(layer)
    quantisation.quantise_activations(model, 8)
    layer.input_quantiser.scale.fill_(0.1)  # bfloat16 does not hold its multiples
    layer.input_quantiser.zero_point.fill_(128)
    x, y = torch.randn(6, 64), torch.arange(6) % 5
    levels = torch.clamp(torch.round(x / 0.1), -128, 127).double()
    sums = (levels @ layer.weight.double().T).to(torch.bfloat16)
    outputs = sums.double() * float(torch.tensor(0.1)) + layer.bias.double()
    expected = F.cross_entropy(outputs, y, reduction="none").detach()
    torch.testing.assert_close(losses(model, [(x, y)]).double(), expected, rtol=1e-5, atol=1e-5)


class Written(nn.Module):
    """Writes to a quantised value before the layer that reads it."""

    def __init__(self, in_place):
        super().__init__()
        self.layer, self.in_place = nn.Linear(12, 5), in_place

    def forward(self, x):
        x = torch.fake_quantize_per_tensor_affine(x, 0.25, 8, 0, 15)
        return self.layer(x.mul_(-3) if self.in_place else x * -3)


@pytest.mark.parametrize("most", [63, 255, 511])
def test_a_layer_of_levels_is_scaled_by_their_step_once(most):
    """Above 256 levels are no longer exact in bfloat16, and stay in float32."""
    torch.manual_seed(3)
    x, layer = torch.randn(50, 16), nn.Linear(16, 3)
    step = 4 / most
    with torch.no_grad():
        quantised = torch.fake_quantize_per_tensor_affine(x, step, 0, -most, most)
        expected = layer(quantised)
        with Bfloat16(), torch.autocast("cpu", torch.bfloat16):
            found = layer(torch.fake_quantize_per_tensor_affine(x, step, 0, -most, most))
    torch.testing.assert_close(found.float(), expected, rtol=0.02, atol=0.02)


def test_a_quantised_value_that_is_written_to_is_read_as_it_is_then():
    x, y = torch.randn(30, 12), torch.arange(30) % 5
    models = [Written(in_place) for in_place in (True, False)]
    models[1].load_state_dict(models[0].state_dict())
    here, there = (losses(model, [(x, y)]) for model in models)
    torch.testing.assert_close(here, there)
    exact = losses(models[1], [(x, y)], bfloat16=False)
    torch.testing.assert_close(here, exact, rtol=0.05, atol=0.05)


class QuantisedInside(nn.Module):
    """Quantises a layer's weight in the forward, between its input and the layer."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 12))

    def forward(self, x):
        x = torch.fake_quantize_per_tensor_affine(x, 0.1, 8, 0, 15)
        weight = torch.fake_quantize_per_tensor_affine(self.weight, 0.2, 0, -15, 15)
        return F.linear(x, weight)


def test_weights_that_are_quantised_in_the_forward():
    torch.manual_seed(0)
    model, x, y = QuantisedInside(), torch.randn(30, 12), torch.arange(30) % 5
    levels = torch.clamp(torch.round(x.double() / 0.1), -8, 7)
    weight = torch.clamp(torch.round(model.weight.detach() / 0.2), -15, 15) * 0.2
    outputs = rounded(levels @ rounded(weight).T) * 0.1
    expected = F.cross_entropy(outputs, y, reduction="none")
    torch.testing.assert_close(losses(model, [(x, y)]).double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bits", [None, 4])
def test_chips_in_bfloat16_are_those_of_float32_but_for_rounding(bits):
    model, batches = small(bits), [images(500)]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    results = [
        swim.evaluate(model, batches, device=swim.Device(sigma=0.1), chips=20, arithmetic=a)
        for a in ("float32", "bfloat16", "bfloat16")
    ]
    assert torch.equal(results[1].loss, results[2].loss)
    assert not torch.equal(results[0].loss, results[1].loss)
    difference = results[1].accuracy - results[0].accuracy
    assert difference.abs().max() < 0.03
    assert abs(float(difference.mean())) < 0.005
    torch.testing.assert_close(results[0].loss, results[1].loss, rtol=0.02, atol=0)
    after = model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_sequences_and_attention_run_in_bfloat16():
    torch.manual_seed(0)
    encoder = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    model = nn.Sequential(nn.Linear(4, 16), encoder, nn.Flatten(), nn.Linear(16 * 6, 5)).eval()
    batches = [(torch.randn(60, 6, 4), torch.arange(60) % 5)]
    here, there = (losses(model, batches, bfloat16) for bfloat16 in (True, False))
    torch.testing.assert_close(here, there, rtol=0.05, atol=0.05)


class Cancelling(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(12, 5)

    def forward(self, x):
        return (self.layer(x + 300) - self.layer(x.new_full((1, 12), 300))) * 10


def test_a_network_that_bfloat16_would_change_is_refused():
    x, y = torch.randn(30, 12), torch.arange(30) % 5
    with pytest.raises(
        UnsupportedOperationError, match="bfloat16 changes the outputs of this network"
    ):
        swim.evaluate(
            Cancelling(), [(x, y)], device=swim.Device(sigma=0.1), chips=2, arithmetic="bfloat16"
        )


def test_a_network_that_does_not_run_in_bfloat16_is_refused():
    model = nn.Linear(12, 5).double()
    batches = [(torch.randn(30, 12, dtype=torch.float64), torch.arange(30) % 5)]
    with pytest.raises(UnsupportedOperationError, match="this network does not run in bfloat16"):
        swim.evaluate(model, batches, device=swim.Device(sigma=0.1), chips=2, arithmetic="bfloat16")


def test_an_unknown_arithmetic_is_named():
    with pytest.raises(SettingError, match="unknown arithmetic 'bf16'; known: float32, bfloat16"):
        swim.evaluate(
            small(), [images()], device=swim.Device(sigma=0.1), chips=1, arithmetic="bf16"
        )


def test_policies_that_leave_less_than_its_rounding_are_refused():
    for section, change in itertools.product(
        (ProgramJob, ExperimentSettings), ("float32", "bfloat16")
    ):
        key = {ProgramJob: "policy", ExperimentSettings: "methods"}[section]
        value = "reslice_pair" if section is ProgramJob else ["swim", "reslice_pair"]
        if change == "float32":
            section(**{key: value, "arithmetic": change})
            continue
        with pytest.raises(ValidationError, match="as much as reslice_pair leaves"):
            section(**{key: value, "arithmetic": change})
