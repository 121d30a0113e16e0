"""Where the recursion is the exact Hessian diagonal, and where it must not be.

The cases are facts of the method: it equals the Gauss-Newton diagonal where each weight
reaches every output by at most one active path and the loss's Hessian is diagonal (squared
error), or where it reaches one logit only, by one path (cross-entropy).
"""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from swim.curvature.estimate import second_derivative


def hessian_diagonal(model, x, loss, name):
    """The exact second derivative of the summed loss with respect to each entry of one weight."""
    parameters = {key: value.detach() for key, value in model.named_parameters()}

    def total(weight):
        out = torch.func.functional_call(model, {**parameters, name: weight}, (x,))
        if loss == "mse":
            return (out - targets(out)).square().sum()
        return F.cross_entropy(out, torch.arange(len(out)) % out.shape[1], reduction="sum")

    weight = parameters[name]
    full = torch.func.hessian(total)(weight).reshape(weight.numel(), -1)
    return full.diagonal().reshape(weight.shape)


def targets(out):
    return torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)


def chain():
    return nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1))


def flat(*layers):
    return nn.Sequential(*layers, nn.Flatten())


VECTOR, IMAGE = (4, 6), (3, 2, 5, 5)
EXACT = {
    "linear, cross-entropy": (lambda: nn.Sequential(nn.Linear(6, 4)), "cross_entropy", VECTOR),
    "linear, squared error": (lambda: nn.Sequential(nn.Linear(6, 4)), "mse", VECTOR),
    "one hidden ReLU layer, squared error": (
        lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)), "mse", VECTOR,
    ),
    "a chain of single units, squared error": (chain, "mse", (5, 1)),
    "convolution flattened into the output, squared error": (
        lambda: flat(nn.Conv2d(2, 3, 3, stride=2, padding=1)), "mse", IMAGE,
    ),
    "transposed convolution flattened into the output, squared error": (
        lambda: flat(nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1)), "mse", IMAGE,
    ),
    "depthwise 1x1 + global max-pool + linear, squared error": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 2, 1, groups=2), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(2, 3)
        ), "mse", IMAGE,
    ),
}  # fmt: skip


# Curved, so that the Hessian is another; one path from each weight to each output.
GAUSS_NEWTON = {
    "one hidden GELU layer": lambda: nn.Sequential(nn.Linear(6, 5), nn.GELU(), nn.Linear(5, 3)),
    "layer-norm": lambda: nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Tanh()),
    "group-norm": lambda: nn.Sequential(nn.Linear(6, 6), nn.GroupNorm(2, 6), nn.Sigmoid()),
}


class Skip(nn.Module):
    def __init__(self):
        super().__init__()
        self.before, self.branch, self.out = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        x = self.before(x)
        return x + self.branch(x)


DIFFERENT = {
    "one hidden layer, cross-entropy": (
        lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)),
        "cross_entropy", VECTOR, "0.weight",
    ),
    "two hidden layers, squared error": (
        lambda: nn.Sequential(
            nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 3)
        ), "mse", VECTOR, "0.weight",
    ),
    "convolution + flatten + linear": (
        lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(27, 3)),
        "mse", IMAGE, "0.weight",
    ),
    "before a skip's fan-out": (Skip, "mse", VECTOR, "before.weight"),
}  # fmt: skip


def made(build, shape):
    torch.manual_seed(7)
    model = build().double().eval()
    # Positive chains keep every unit alive, so that no case is exact by being zero.
    for p in model.parameters():
        p.data = p.data.abs() if p.shape in ((1, 1), (1,)) else p.data
    x = torch.randn(shape, dtype=torch.float64)
    return model, x.abs() if shape[-1] == 1 else x


@pytest.mark.parametrize("case", EXACT)
def test_recursion_equals_the_hessian_diagonal(case):
    build, loss, shape = EXACT[case]
    model, x = made(build, shape)
    found = second_derivative(model, [(x, None)], loss=loss)
    assert len(found) == sum(p.dim() > 1 for p in model.parameters())
    for name, value in found.items():
        expected = hessian_diagonal(model, x, loss, name)
        assert expected.abs().max() > 0
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("case", GAUSS_NEWTON)
def test_recursion_equals_the_gauss_newton_diagonal(case):
    """``sum 2 (d output / d weight)^2`` for the sum of squared errors."""
    model, x = made(GAUSS_NEWTON[case], VECTOR)
    name = "0.weight"
    parameters = {key: value.detach() for key, value in model.named_parameters()}
    jacobian = torch.autograd.functional.jacobian(
        lambda w: torch.func.functional_call(model, {**parameters, name: w}, (x,)),
        parameters[name],
    )
    found = second_derivative(model, [(x, None)], loss="mse")[name]
    torch.testing.assert_close(found, 2 * jacobian.square().sum((0, 1)))


@pytest.mark.parametrize("case", DIFFERENT)
def test_recursion_differs_from_the_hessian_diagonal_where_it_is_documented_to(case):
    build, loss, shape, name = DIFFERENT[case]
    model, x = made(build, shape)
    found = second_derivative(model, [(x, None)], loss=loss)[name]
    expected = hessian_diagonal(model, x, loss, name)
    assert (found - expected).abs().max() > 0.02 * expected.abs().max()
