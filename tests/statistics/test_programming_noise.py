"""The noise that reaches the network, as a statistic.

With n independent normals of standard deviation s, the sum of squares over s^2 is chi-squared
with n degrees of freedom. Each check fails by chance with probability below 1e-6, and has
enough numbers that a standard deviation wrong by 3 % is rejected (asserted in ``tolerance``).
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import nn
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

import swim
from swim.engine import evaluator
from swim.evaluation import monte_carlo
from swim.programming.chip import Chip
from swim.programming.mask import VerifyMask

CHECKS = 400  # more than all checks of this file together
ALPHA = 1e-6 / CHECKS


class Watch(TorchFunctionMode):
    """Keeps the weight of every linear and convolution call."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in (F.linear, F.conv2d):
            self.seen.append(args[1].detach().clone())
        elif func is torch.baddbmm:  # the linear layers of several chips
            self.seen.append(args[2].mT.detach().clone())
        return func(*args, **(kwargs or {}))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 40, 3)
        self.fc = nn.Linear(40 * 4, 100)

    def forward(self, x):
        return self.fc(self.conv(x).relu().flatten(1))


class Rounding(nn.Module):
    def forward(self, weight):
        scale = float(weight.detach().abs().max()) / 7
        return torch.fake_quantize_per_tensor_affine(weight, scale, 0, -7, 7)


def net(quantised):
    torch.manual_seed(0)
    model = Net().eval()
    if quantised:
        for layer in (model.conv, model.fc):
            parametrize.register_parametrization(layer, "weight", Rounding())
    return model


BATCHES = [(torch.zeros(2, 3, 4, 4), torch.tensor([0, 1]))]
DEVICES = {
    "one device": dict(M=4, K=4),
    "eight one-bit devices": dict(M=8, K=1),
    "two two-bit devices": dict(M=4, K=2),
    "release": dict(M=8, K=1, convention="release"),
    "release, K = 2": dict(M=8, K=2, convention="release"),
}
# From the formulas, independently of swim.Device.
STD = {
    "one device": 1.0,
    "eight one-bit devices": np.sqrt(sum(4.0**j for j in range(8))) / 255,
    "two two-bit devices": np.sqrt(3**2 + (3 * 4) ** 2) / 15,
    "release": np.sqrt(sum(4.0**-i for i in range(1, 9))),
    "release, K = 2": np.sqrt(sum(16.0**-i for i in range(1, 5))),
}


def tolerance(count):
    """Allowed range of the measured over the true standard deviation."""
    low, high = stats.chi2.ppf([ALPHA / 2, 1 - ALPHA / 2], count) / count
    for wrong in (0.97, 1.03):
        accepted = stats.chi2.cdf(np.array([low, high]) * count / wrong**2, count)
        assert accepted[1] - accepted[0] < 0.01, "too few draws to notice an error of 3 %"
    return np.sqrt(low), np.sqrt(high)


def programmed(model, device, mask, chips):
    """Per layer: ideal weight, and (chips, *shape) weights as they reach the calls."""
    with Watch() as ideal:
        model(BATCHES[0][0])
    with Watch() as watch:
        result = swim.evaluate(model, BATCHES, mask, device=device, chips=chips, seed=3)
    assert result.accuracy.shape == (chips,)
    # The last groups, or chips, are the ones; what runs before finds the layers and tries them.
    groups = -(-chips // evaluator.GROUP)
    conv, fc = watch.seen[::2][-groups:], watch.seen[1::2][-groups:]
    conv = torch.cat(conv).unflatten(0, (-1, 40))[:chips]
    fc = torch.cat(fc).reshape(-1, 100, 160)[:chips]
    names = ("conv.weight", "fc.weight")
    return dict(zip(names, zip(ideal.seen, (conv, fc), strict=True), strict=True))


def check_std(values, expected):
    low, high = tolerance(values.size)
    ratio = np.sqrt(np.mean(values**2)) / expected
    assert low < ratio < high, f"std is {ratio:.4f} of the formula's"
    z = values.mean() / (expected / np.sqrt(values.size))
    assert abs(z) < stats.norm.isf(ALPHA / 2), f"mean is {z:.1f} standard errors from zero"


@pytest.mark.parametrize("group", [1, 8])
@pytest.mark.parametrize("quantised", [False, True], ids=["float", "quantised in the forward"])
@pytest.mark.parametrize("fraction", ["0", "0.5", "1"])
@pytest.mark.parametrize("name", DEVICES)
def test_variance_of_the_weights_that_reach_the_calls(
    name, fraction, quantised, group, monkeypatch
):
    monkeypatch.setattr(evaluator, "GROUP", group)
    device = swim.Device(sigma=0.2, verified_sigma=0.05, **DEVICES[name])
    model = net(quantised)
    scores = {key: torch.rand(getattr(model, key.split(".")[0]).weight.shape) for key in
              ("conv.weight", "fc.weight")}  # fmt: skip
    mask = swim.select(scores, fraction)
    for key, (ideal, weights) in programmed(model, device, mask, chips=100).items():
        noise = ((weights - ideal) / ideal.abs().max()).double().numpy()
        for verified, sigma in ((False, 0.2), (True, 0.05)):
            chosen = noise[:, mask[key].numpy() == verified]
            if chosen.size:
                check_std(chosen, sigma * STD[name])


def test_draws_are_normal_and_independent():
    device = swim.Device(sigma=1.0, M=2, K=1)
    made = [Chip({"a": torch.zeros(100, 100), "b": torch.zeros(100, 100)}, device, 0, r)
             for r in range(2)]  # fmt: skip
    draws = [chip.normals(name).flatten(1).double().numpy() for chip in made for name in "ab"]
    streams = np.concatenate(draws)  # 8 streams: chip x layer x slice
    for stream in streams:
        assert stats.kstest(stream, "norm").pvalue > ALPHA
    bound = stats.norm.isf(ALPHA / 2) / np.sqrt(streams.shape[1])
    correlation = np.corrcoef(streams) - np.eye(len(streams))
    assert np.abs(correlation).max() < bound


@pytest.mark.parametrize("name", DEVICES)
def test_a_weights_devices_add_up_to_its_error(name):
    """Whoever looks at each device has the same luck as who looks at the weight."""
    device = swim.Device(sigma=0.1, **DEVICES[name])
    chip = Chip({"w": torch.ones(30, 20)}, device, 0, 3)
    total = sum(s * e for s, e in zip(device.significance, chip.normals("w"), strict=True))
    expected = STD[name] * chip.unit_errors("w")
    torch.testing.assert_close(total, expected, rtol=1e-4, atol=1e-5)


def test_common_random_numbers():
    """The same draws for every mask and sigma: errors differ by the sigmas' ratio only."""
    target = {"w": torch.randn(30, 20)}
    chosen = VerifyMask({"w": torch.rand(30, 20) < 0.5})

    def noise(policy, sigma, index=5):
        device = swim.Device(sigma=sigma, verified_sigma=0.01, M=8, K=1)
        return policy.program(Chip(target, device, 1, index)).weights["w"] - target["w"]

    bare = noise(VerifyMask({}), 0.1)
    torch.testing.assert_close(noise(VerifyMask({}), 0.3), 3 * bare, rtol=1e-3, atol=1e-6)
    mixed = noise(chosen, 0.1)
    ratio = torch.where(chosen.mask["w"], 0.1, 1.0)
    torch.testing.assert_close(mixed, ratio * bare, rtol=1e-3, atol=1e-6)
    assert not torch.equal(noise(VerifyMask({}), 0.1, index=6), bare)


def test_results_do_not_depend_on_the_split_of_the_chips():
    model = net(False)
    images = [(torch.randn(50, 3, 4, 4), torch.randint(0, 100, (50,)))]
    device = swim.Device(sigma=0.2)
    whole = swim.evaluate(model, images, device=device, chips=6, seed=9)
    parts = [swim.evaluate(model, images, device=device, chips=2, first_chip=r, seed=9)
             for r in (4, 0, 2)]  # fmt: skip
    together = torch.cat([parts[i].loss for i in (1, 2, 0)])
    assert torch.equal(whole.loss, together)


@pytest.mark.parametrize("quantised", [False, True])
def test_zero_sigma_gives_exactly_the_clean_network(quantised):
    model = net(quantised)
    images = [(torch.randn(50, 3, 4, 4), torch.randint(0, 100, (50,)))]
    result = swim.evaluate(
        model, images, device=swim.Device(sigma=0.0, verified_sigma=0.0, M=8, K=1), chips=3
    )
    out = model(images[0][0]).detach()
    assert result.accuracy.tolist() == [(out.argmax(1) == images[0][1]).double().mean()] * 3
    assert result.loss.tolist() == pytest.approx(
        [monte_carlo.clean(model, images)[1]] * 3, rel=1e-6
    )
    assert result.loss[0] == pytest.approx(F.cross_entropy(out, images[0][1]).item(), rel=1e-6)


def naive_chip(model, inputs, labels, mask, device, seed, index):
    """One chip, written from the formula: weights copied in one by one."""
    import copy

    from swim.runtime import rng

    chip = copy.deepcopy(model)
    for name in ("conv.weight", "fc.weight"):
        weight = chip.get_parameter(name)
        draws = rng.normals(rng.generator(seed, "chip", index, name), *weight.shape)
        top = float(weight.detach().abs().max())
        noisy = weight.detach().double().numpy().copy()
        for position in np.ndindex(noisy.shape):
            sigma = device.verified_sigma if mask[name][position] else device.sigma
            slices = device.M // device.K
            parts = [(2**device.K - 1) * 2 ** (j * device.K) / (2**device.M - 1)
                     for j in range(slices)]  # fmt: skip
            std = sum((part * sigma) ** 2 for part in parts) ** 0.5
            noisy[position] += top * std * draws[position]
        weight.data = torch.from_numpy(noisy).float()
    out = chip(inputs).detach()
    return float((out.argmax(1) == labels).double().mean()), F.cross_entropy(out, labels).item()


def test_equals_a_slow_twin_chip_by_chip():
    model = net(False)
    inputs, labels = torch.randn(40, 3, 4, 4), torch.randint(0, 100, (40,))
    mask = {name: torch.rand(model.get_parameter(name).shape) < 0.3
            for name in ("conv.weight", "fc.weight")}  # fmt: skip
    device = swim.Device(sigma=0.2, M=4, K=2)
    result = swim.evaluate(model, [(inputs, labels)], mask, device=device, chips=2, seed=4)
    for r in range(2):
        accuracy, loss = naive_chip(model, inputs, labels, mask, device, 4, r)
        assert result.accuracy[r] == accuracy
        assert result.loss[r] == pytest.approx(loss, rel=1e-5)
    total = sum(m.numel() for m in mask.values())
    assert result.nwc == pytest.approx(sum(int(m.sum()) for m in mask.values()) / total)
