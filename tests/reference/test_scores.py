"""Scores of weights that are shared, parametrised or packed, against sums over single samples."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations

import swim
from swim.curvature.estimate import second_derivative
from swim.errors import SettingError


class Attending(nn.Module):
    def __init__(self, body):
        super().__init__()
        torch.manual_seed(0)
        self.e, self.body, self.o = nn.Linear(4, 8), body, nn.Linear(8, 3)

    def forward(self, x):
        x = self.e(x)
        if isinstance(self.body, nn.MultiheadAttention):
            x = self.body(x, x.flip(1), x.flip(1), need_weights=False)[0]
        else:
            x = self.body(x)
        return self.o(x.mean(1))


class Shared(nn.Module):
    def __init__(self, tied=False):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 3)
        self.table = nn.Parameter(torch.randn(8, 8) / 3)
        self.tied = tied

    def forward(self, x):
        h = torch.tanh(self.a(torch.relu(self.a(x))))
        if self.tied:
            h = torch.tanh(h @ self.table.T) @ self.table
        return self.b(h)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.cell, self.b = nn.LSTMCell(4, 8), nn.Linear(8, 3)

    def forward(self, x):
        state = (x.new_zeros(len(x), 8), x.new_zeros(len(x), 8))
        for step in x.unbind(1):
            state = self.cell(step, state)
        return self.b(state[0])


NETWORKS = {
    "attention": lambda: Attending(nn.MultiheadAttention(8, 2, batch_first=True)),
    "attention, other sizes": lambda: Attending(
        nn.MultiheadAttention(8, 2, kdim=8, vdim=8, batch_first=True)
    ),
    "encoder": lambda: Attending(nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)),
    "shared": Shared,
    "shared and transposed": lambda: Shared(True),
    "recurrent cell": Recurrent,
}


def subject(name):
    model = NETWORKS[name]().double().eval()
    shape = (6, 8) if isinstance(model, Shared) else (6, 5, 4)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return model, x, torch.arange(6) % 3


def weights_of(model):
    return {n: p for n, p in model.named_parameters() if p.dim() > 1}


def squared_gradients(model, x, y):
    total = {name: torch.zeros_like(p) for name, p in weights_of(model).items()}
    for i in range(len(x)):
        loss = F.cross_entropy(model(x[i : i + 1]), y[i : i + 1])
        used = torch.autograd.grad(loss, list(total_of := weights_of(model).values()),
                                   allow_unused=True)  # fmt: skip
        for name, gradient in zip(weights_of(model), used, strict=True):
            total[name] += 0 if gradient is None else gradient**2
        del total_of
    return total


def gauss_newton(model, x):
    """``sum_n sum_c p_c ((d z_c / d w) - sum_k p_k (d z_k / d w))^2``, one output at a time."""
    total = {name: torch.zeros_like(p) for name, p in weights_of(model).items()}
    for i in range(len(x)):
        outputs = model(x[i : i + 1])[0]
        p = outputs.softmax(0).detach()
        parameters = list(weights_of(model).values())
        rows = [
            torch.autograd.grad(z, parameters, retain_graph=True, materialize_grads=True)
            for z in outputs
        ]
        for column, name in zip(zip(*rows, strict=True), total, strict=True):
            jacobian = torch.stack(column)
            mean = torch.einsum("c,c...->...", p, jacobian)
            total[name] += torch.einsum("c,c...->...", p, (jacobian - mean) ** 2)
    return total


@pytest.mark.parametrize("name", NETWORKS)
def test_empirical_fisher_of_shared_and_packed_weights(name):
    model, x, y = subject(name)
    found = second_derivative(model, [(x, y)], estimator="empirical_fisher")
    expected = {n: v for n, v in squared_gradients(model, x, y).items() if v.any() or n in found}
    assert found.keys() == {n for n in expected if n in found}
    assert set(weights_of(model)) - set(found) <= {"table"}
    for weight, score in found.items():
        torch.testing.assert_close(score, expected[weight], rtol=1e-8, atol=1e-14)


@pytest.mark.parametrize("name", NETWORKS)
def test_gauss_newton_of_shared_and_packed_weights(name):
    model, x, y = subject(name)
    found = second_derivative(model, [(x, y)], estimator="gauss_newton")
    expected = gauss_newton(model, x)
    for weight, score in found.items():
        torch.testing.assert_close(score, expected[weight], rtol=1e-8, atol=1e-14)


@pytest.mark.parametrize("estimator", ["gauss_newton", "empirical_fisher", "gradient", "recursion"])
@pytest.mark.parametrize("kind", ["weight_norm", "spectral_norm", "orthogonal"])
def test_scores_of_parametrised_weights_are_those_of_the_effective_ones(kind, estimator):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 3)).double().eval()
    getattr(parametrizations, kind)(model[0])
    plain = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 3)).double().eval()
    with torch.no_grad():
        plain[0].weight.copy_(model[0].weight)
        plain[0].bias.copy_(model[0].bias)
        plain[2].load_state_dict(model[2].state_dict())
    x, y = torch.randn(7, 6).double(), torch.arange(7) % 3
    found = swim.sensitivity(model, [(x, y)], estimator=estimator)
    expected = swim.sensitivity(plain, [(x, y)], estimator=estimator)
    assert found.keys() == expected.keys()
    for name, score in found.items():
        torch.testing.assert_close(score, expected[name])


def test_select_refuses_scores_that_fit_no_weight():
    model, x, y = subject("encoder")
    scores = swim.sensitivity(model, [(x, y)], estimator="gradient")
    assert swim.select(scores, 0.1, tie_break=model).keys() == scores.keys()
    name = next(iter(scores))
    for wrong, text in (
        ({**scores, name: scores[name][:1]}, "shape"),
        ({**scores, name: scores[name].T}, "shape"),
        ({**scores, "nothing.weight": scores[name]}, "no weight 'nothing.weight'"),
        ({}, "no scores"),
    ):
        with pytest.raises(SettingError, match=text):
            swim.select(wrong, 0.1, tie_break=model)


def test_evaluate_refuses_a_mask_that_fits_no_weight():
    model, x, y = subject("shared")
    scores = swim.sensitivity(model, [(x, y)], estimator="gradient")
    mask = swim.select(scores, 0.1)
    device = swim.Device(sigma=0.1)
    for wrong in (
        {**mask, "a.weight": mask["a.weight"][:3]},
        {**mask, "c.weight": mask["a.weight"]},
    ):
        with pytest.raises(swim.SwimError, match=r"a\.weight|c\.weight"):
            swim.evaluate(model, [(x, y)], wrong, device=device, chips=1)
