"""The probe of the Gauss-Newton diagonal against a slow twin with the same random vectors."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from swim.curvature import gauss_newton_probe as module
from swim.curvature.estimate import second_derivative, sensitivity
from swim.curvature.shared import add_term
from swim.errors import DataError, SettingError, UnsupportedOperationError
from swim.networks.zoo.lenet import LeNet
from swim.runtime import rng
from tests.reference.test_estimators import SMALL, Attention, data, made

NETWORKS = {**SMALL, "attention": lambda: made(Attention).double()}
PROBES = ("signs", "labels")


def vectors(loss, probe, outputs, generator):
    """Random vectors of a batch (N, C, ...), class by class, from the formulas."""
    n, c, *positions = outputs.shape
    shape = tuple(outputs.shape)
    if probe == "signs":
        signs = 2.0 * generator.integers(0, 2, shape, dtype=np.int8) - 1
    elif loss == "mse":
        return math.sqrt(2) * torch.from_numpy(generator.standard_normal(shape))
    else:
        uniform = generator.random((n, *positions))
    if loss == "mse":
        return math.sqrt(2) * torch.from_numpy(signs)
    p = outputs.detach().double().softmax(1).numpy()
    found = np.zeros(shape)
    for place in np.ndindex(n, *positions):
        at = (place[0], slice(None), *place[1:])
        q = p[at]
        if probe == "signs":
            root = np.sqrt(q) * signs[at]
            found[at] = root - q * root.sum()
        else:
            drawn = int(np.searchsorted(np.cumsum(q) / q.sum(), uniform[place], side="right"))
            found[at] = q - np.eye(c)[min(drawn, c - 1)]
    return torch.from_numpy(found)


def twin(model, x, loss, probe, seed, samples, together):
    """Sums of squared gradients, a batch of ``together`` samples at a time."""
    generator = rng.generator(seed, "gauss_newton_probe")
    weights = {
        name.replace("parametrizations.", "").removesuffix(".original"): p
        for name, p in model.named_parameters()
        if p.dim() > 1
    }
    total = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in weights.items()}
    for start in range(0, len(x), together):
        for _ in range(samples):
            outputs = model(x[start : start + together])
            u = vectors(loss, probe, outputs, generator).to(outputs)
            grads = torch.autograd.grad((outputs * u).sum(), list(weights.values()))
            for value, g in zip(total.values(), grads, strict=True):
                value += g.double() ** 2 / samples
    return total


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
@pytest.mark.parametrize("network", NETWORKS)
def test_estimates_equal_the_twin(monkeypatch, network, loss, probe):
    monkeypatch.setattr(module, "TOGETHER", 3)
    model = NETWORKS[network]()
    x, y = data(model, 7, loss)
    found = second_derivative(
        model, [(x, y)], estimator="gauss_newton_probe", loss=loss, seed=5, samples=2, probe=probe
    )
    expected = twin(model, x, loss, probe, 5, 2, 3)
    assert found.keys() == expected.keys()
    single = next(model.parameters()).dtype == torch.float32
    for name, value in expected.items():
        assert value.max() > 0
        rtol, atol = (1e-3, 1e-5) if single else (1e-9, 1e-12)
        torch.testing.assert_close(found[name], value, rtol=rtol, atol=atol * float(value.max()))


def test_long_sums_in_single_precision_equal_those_in_double(monkeypatch):
    """More groups than are summed in the network's own precision, of very different sizes."""
    monkeypatch.setattr(module, "TOGETHER", 1)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    x = torch.randn(5 * module.MANY, 5)
    x[::3] *= 30  # outputs that are sure: tiny vectors, whose units change
    found = second_derivative(model, [(x, None)], estimator="gauss_newton_probe")
    exact = second_derivative(model.double(), [(x.double(), None)], estimator="gauss_newton_probe")
    for name, value in exact.items():
        scale = float(value.max())
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6 * scale)


def test_labels_that_do_not_count_send_nothing_back():
    model = nn.Sequential(nn.Conv1d(3, 6, 1), nn.ReLU(), nn.Conv1d(6, 4, 1)).double().eval()
    x, y = torch.randn(6, 3, 5).double(), torch.randint(0, 4, (6, 5))
    y[:, 2:] = -100
    whole = second_derivative(model, [(x, y)], estimator="gauss_newton_probe", samples=4, seed=1)
    other = x.clone()
    other[:, :, 2:] = torch.randn(6, 3, 3).double()
    again = second_derivative(
        model, [(other, y)], estimator="gauss_newton_probe", samples=4, seed=1
    )
    for name, value in whole.items():
        torch.testing.assert_close(again[name], value)


def test_classes_that_are_last_get_the_vectors_of_classes_that_are_first():
    class Last(nn.Module):
        def __init__(self, first):
            super().__init__()
            self.first = first

        def forward(self, x):
            return self.first(x).transpose(1, 2)

    first = nn.Sequential(nn.Conv1d(3, 6, 1), nn.ReLU(), nn.Conv1d(6, 4, 1)).double().eval()
    x, y = torch.randn(6, 3, 5).double(), torch.randint(0, 4, (6, 5))
    one = second_derivative(first, [(x, y)], estimator="gauss_newton_probe")
    two = second_derivative(Last(first), [(x, y)], estimator="gauss_newton_probe")
    for name, value in one.items():
        torch.testing.assert_close(two[f"first.{name}"], value)


class Coupled(nn.Module):
    """Each sample less the mean of its batch."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x):
        hidden = self.one(x)
        return self.two(torch.tanh(hidden - hidden.mean(0)))


COUPLED = {
    "less the mean": Coupled,
    "batch-norm without running statistics": lambda: nn.Sequential(
        nn.Linear(4, 5), nn.BatchNorm1d(5, track_running_stats=False), nn.Linear(5, 3)
    ),
}


@pytest.mark.parametrize("kind", COUPLED)
def test_batch_statistics_are_refused(kind):
    torch.manual_seed(0)
    batches = [(torch.randn(8, 4), None)]
    with pytest.raises(UnsupportedOperationError, match="batch"):
        second_derivative(COUPLED[kind](), batches, estimator="gauss_newton_probe")


def test_an_unknown_probe_is_refused_by_name():
    batches = [(torch.randn(3, 2), None)]
    with pytest.raises(SettingError, match="unknown probe 'sings'; known: signs, labels"):
        second_derivative(nn.Linear(2, 2), batches, estimator="gauss_newton_probe", probe="sings")


def test_a_sure_network_keeps_its_digits():
    """The likeliest class's share of the vector is a sum of small numbers, not 1 less almost 1."""
    outputs = torch.tensor([[60.0, 0.0, -1.0]], dtype=torch.float64)
    from swim.curvature.losses import drawn_signs

    u = drawn_signs("cross_entropy", outputs, None, rng.generator(0, "sure"))
    p = [1.0, math.exp(-60), math.exp(-61)]
    assert float(u.sum().abs()) < 1e-12 * float(u.abs().max())  # vectors sum to zero
    assert float(u[0, 1].abs()) == pytest.approx(math.sqrt(p[1]), rel=1e-6)
    expected = abs(
        math.sqrt(p[1]) * float(u[0, 1].sign()) + math.sqrt(p[2]) * float(u[0, 2].sign())
    )
    assert float(u[0, 0].abs()) == pytest.approx(expected, rel=1e-6)


def test_sensitivities_carry_the_relative_error_of_the_second_derivatives():
    model, x = made(LeNet), torch.randn(70, 1, 28, 28)
    options = {"estimator": "gauss_newton_probe", "seed": 3}
    raw = second_derivative(model, [(x, None)], **options)
    scores = sensitivity(model, [(x, None)], **options)
    assert raw.relative_error == scores.relative_error
    assert raw.relative_errors.keys() == raw.keys()
    assert second_derivative(model, [(x, torch.arange(70) % 10)]).relative_error is None
    single = second_derivative(model, [(x[:5], None)], **options)
    assert math.isnan(single.relative_error)


def test_gradients_of_attention_and_cross_entropy_take_the_estimator():
    """Encoder layers with a padding mask: every weight of them gets a number."""

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            self.encoder, self.head = nn.TransformerEncoder(layer, 1), nn.Linear(8, 4)

        def forward(self, x):
            return self.head(self.encoder(x, src_key_padding_mask=x[..., 0] > 1.5)).mean(1)

    torch.manual_seed(1)
    model, x = Encoder().eval(), torch.randn(9, 6, 8)
    found = second_derivative(model, [(x, None)], estimator="gauss_newton_probe", samples=400)
    exact = {name: torch.zeros_like(value) for name, value in found.items()}
    parameters = dict(model.named_parameters())
    for image in x.split(1):
        outputs = model(image)[0]
        p = outputs.softmax(0).detach()
        for c in range(4):
            u = p[c].sqrt() * (F.one_hot(torch.tensor(c), 4) - p)
            grads = torch.autograd.grad(
                (outputs * u).sum(), [parameters[name] for name in found], retain_graph=True
            )
            for name, g in zip(found, grads, strict=True):
                exact[name] += g.double() ** 2
    for name, value in exact.items():
        # 400 passes of one group: a relative error of sqrt(2 / 400), 0.07, for each layer's sum.
        assert float(found[name].sum() / value.sum()) == pytest.approx(1, abs=0.4), name


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([1.5e19, 1.5e19], id="finite squares whose sum is not"),
        pytest.param([1.0, math.inf, 1.0], id="an infinite derivative"),
        pytest.param([math.nan, 1.0], id="NaN"),
    ],
)
def test_sums_of_squares_that_are_not_finite_are_refused(values):
    squares, totals = module.Squares(None), {}
    for value in values:
        assert not list(squares.add("w", torch.full((3,), value), 1.0))
    (term,) = squares.rest()
    with pytest.raises(DataError, match="derivatives are not finite"):
        add_term(totals, term)
    assert not totals
