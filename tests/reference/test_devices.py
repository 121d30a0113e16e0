"""What devices hold, and how much they vary there, against twins in plain integers and loops."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import nn

import swim
from swim.devices.equal_variance import at_equal_variance, relative_variance
from swim.devices.from_settings import of_settings
from swim.devices.measured import Table
from swim.devices.write_verify import residual, residual_at
from swim.evaluation.perturbation import stream
from swim.programming.cells import Cells
from swim.programming.chip import Chip
from swim.programming.in_situ import InSitu
from swim.runtime import rng

SHAPES = [(4, 4), (4, 2), (8, 2), (8, 1), (6, 3), (16, 4), (16, 16), (12, 1)]


def digits(code, M, K):
    """By division, the most significant first."""
    found = []
    for _ in range(M // K):
        code, digit = divmod(code, 2**K)
        found.insert(0, digit)
    assert code == 0
    return found


@pytest.mark.parametrize(("M", "K"), SHAPES)
def test_levels_are_the_digits_of_the_magnitude(M, K):
    device = swim.Device(0.1, M=M, K=K)
    top = 2**M - 1
    codes = sorted({0, 1, top - 1, top, *np.random.default_rng(0).integers(0, top, 200).tolist()})
    offs = torch.linspace(-0.4, 0.4, len(codes), dtype=torch.float64)
    exact = torch.tensor(codes, dtype=torch.float64)
    for shifted in (exact, (exact + offs).clamp(0, top)):  # on the grid, and nearest to it
        found = device.levels((shifted / top)[None])
        assert found.shape == (M // K, 1, len(codes))
        for n, code in enumerate(codes):
            assert (found[:, 0, n] * (2**K - 1)).round().tolist() == digits(code, M, K)
    # The digits at their shares are the magnitude again.
    total = sum(s * x for s, x in zip(device.shares, device.levels(exact / top), strict=True))
    torch.testing.assert_close(total, exact / top, rtol=1e-12, atol=1e-12)


def factor(name, x):
    if name == "rising":
        return 0.5 + x
    s = {"rram1": 1, "fefet2": 2, "rram4": 4, "fefet6": 6}[name]
    return (s if 0.25 < x < 0.75 else 1) / math.sqrt(0.4 * s * s + 0.6)


def device_of(name, M, K, convention="full-scale", sigma=0.2, **more):
    """The package's own, or a table whose factors are ``rising``."""
    shape = {"M": M, "K": K, "convention": convention, **more}
    if name == "rising":
        return swim.Device(sigma, variation=Table("t", (0.0, 1.0), (0.5, 1.5)), **shape)
    return of_settings({**shape, "variation": {"name": name}}, sigma)


def significances(M, K, convention):
    n = M // K
    if convention == "release":
        return [2.0 ** (-i * K) for i in range(1, n + 1)]
    return [(2**K - 1) * 2.0 ** (K * j) / (2**M - 1) for j in reversed(range(n))]


def variances(target, name, M, K, convention):
    """Of each weight, over sigma^2 max|W|^2, and of one whose devices have one sigma."""
    top = float(target.abs().max())
    parts = significances(M, K, convention)
    found = []
    for w in target.flatten().tolist():
        held = digits(round(abs(w) / top * (2**M - 1)), M, K)
        found.append(
            sum((s * factor(name, d / (2**K - 1))) ** 2 for s, d in zip(parts, held, strict=True))
        )
    return found, sum(s * s for s in parts)


def network():
    torch.manual_seed(3)
    return {"a": torch.randn(7, 5), "b": 9 * torch.randn(3, 2, 2, 2), "c": torch.zeros(2, 2)}


CASES = [
    ("rram1", 4, 2, "full-scale"),
    ("fefet2", 4, 2, "full-scale"),
    ("rram4", 8, 2, "release"),
    ("fefet6", 4, 4, "full-scale"),
    ("fefet6", 6, 3, "full-scale"),
    ("rising", 8, 1, "release"),
    ("rising", 4, 2, "full-scale"),
]


@pytest.mark.parametrize(("name", "M", "K", "convention"), CASES)
def test_the_mean_variance_of_a_network(name, M, K, convention):
    targets = network()
    total, count = 0.0, 0
    for key, target in targets.items():
        if key == "c":  # zeros, whose full scale is nothing
            target = torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0])
        own, uniform = variances(target, name, M, K, convention)
        own = own[:4] if key == "c" else own
        total += sum(v / uniform for v in own)
        count += len(own)
    device = device_of(name, M, K, convention)
    assert relative_variance(device, targets) == pytest.approx(total / count, rel=1e-6)
    asked = device_of(name, M, K, convention)
    asked = swim.Device(0.2, M=M, K=K, convention=convention, variation=asked.variation,
                        equal_variance=True)  # fmt: skip
    equal = at_equal_variance(asked, targets)
    assert relative_variance(equal, targets) == pytest.approx(1, rel=1e-6)
    # Whoever makes a chip has it, too; sigma is what was asked for.
    chip = Chip(targets, asked, 0, 0)
    assert (chip.device.sigma, chip.device.equal_variance) == (0.2, False)
    scale = math.sqrt(count / total)
    torch.testing.assert_close(
        Cells(chip, "a").sigma, scale * Cells(Chip(targets, device, 0, 0), "a").sigma
    )


def test_what_is_known_of_lenet():
    """8 % of its weights in the middle band: 0.56, 0.31, 0.25 for s = 2, 4, 6."""
    weights = torch.cat([torch.full((8,), 0.5), torch.full((91,), 0.1), torch.ones(1)])
    for name, expected in (("fefet2", 0.56), ("rram4", 0.31), ("fefet6", 0.25)):
        found = relative_variance(device_of(name, 4, 4), {"w": weights})
        assert found == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize(("name", "M", "K", "convention"), CASES)
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_standard_deviation_of_each_weight(name, M, K, convention, kind):
    target = network()["a"].to(kind)
    device = device_of(name, M, K, convention)
    found = device.weight_std_at(target.abs() / target.abs().max())
    own, _ = variances(target, name, M, K, convention)
    assert found.dtype == kind
    assert found.flatten().tolist() == pytest.approx([0.2 * math.sqrt(v) for v in own], rel=1e-5)
    plain = swim.Device(0.2, M=M, K=K, convention=convention)
    assert plain.weight_std_at(target).unique().tolist() == pytest.approx([plain.weight_std(False)])


def test_what_redrawing_leaves_of_devices_of_several_sigmas():
    device = swim.Device(1.0, tolerance=0.06, write_verify="redraw")
    sigmas = torch.tensor([0.01, 0.03, 0.1, 0.3, 1.0])
    found = residual_at(device, sigmas)
    for sigma, left in zip(sigmas.tolist(), found.tolist(), strict=True):
        normal = stats.norm(scale=sigma)
        inside = normal.cdf(0.06) - normal.cdf(-0.06)
        square = integrate.quad(lambda e, p=normal.pdf: e * e * p(e), -0.06, 0.06)[0] / inside
        assert left == pytest.approx(math.sqrt(square), rel=1e-4)
        assert left == pytest.approx(
            residual(swim.Device(sigma, tolerance=0.06, write_verify="redraw")), rel=1e-4
        )
    assert residual_at(device, torch.zeros(2)).tolist() == [0, 0]
    closed = swim.Device(1.0, verified_sigma=0.02)
    assert residual_at(closed, sigmas).unique().tolist() == pytest.approx([0.02])


def test_a_policy_plans_by_the_sigma_of_each_device():
    """Verifying takes something from each, however small its sigma is."""
    for write_verify in ("redraw", "pulse"):
        device = device_of("fefet6", 4, 2, sigma=0.1, write_verify=write_verify)
        cells = Cells(Chip(network(), device, 0, 0), "a")
        assert cells.residual.shape == cells.shape
        if write_verify == "redraw":
            assert cells.sigma.unique().tolist() == pytest.approx([0.1 / 15**0.5, 0.6 / 15**0.5])
            assert (cells.gain >= 0).all()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 4)

    def forward(self, x):
        return self.fc(x)


def test_on_device_training_writes_each_level_with_its_error():
    torch.manual_seed(0)
    net = Net().eval()
    target = net.fc.weight.detach()
    x, y = torch.randn(5, 6), torch.randint(0, 4, (5,))
    device = device_of("rram4", 4, 2, sigma=0.3)
    chip = Chip({"fc.weight": target}, device, 2, 5)
    made = InSitu(net, [(x, y)], 0.0).program(chip).weights["fc.weight"]
    z = rng.normals(rng.generator(2, "chip", 5, "fc.weight"), 4, 6)
    own, _ = variances(target, "rram4", 4, 2, "full-scale")
    std = 0.3 * float(target.abs().max()) * np.sqrt(own).reshape(4, 6)
    np.testing.assert_allclose(made.numpy(), target.numpy() + std * z, rtol=1e-4, atol=1e-6)


def test_single_weights_are_changed_by_what_their_devices_leave():
    torch.manual_seed(0)
    net = Net().eval()
    batches = [(torch.randn(5, 6), torch.randint(0, 4, (5,)))]
    device = device_of("fefet2", 4, 2)
    rows = list(stream(net, batches, std=device.weight_std_at, weights=10))
    own, _ = variances(net.fc.weight.detach(), "fefet2", 4, 2, "full-scale")
    top = float(net.fc.weight.detach().abs().max())
    for _, index, _, delta, *_ in rows:
        assert delta == pytest.approx(0.2 * top * math.sqrt(own[index]), rel=1e-5)
    assert len({row[3] for row in rows}) > 1
