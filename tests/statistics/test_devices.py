"""Programmed weights vary as the level that each of their devices holds says."""

import dataclasses

import numpy as np
import pytest
import torch

import swim
from swim.devices.equal_variance import relative_variance
from swim.devices.from_settings import of_settings
from swim.programming.cells import Cells
from swim.programming.chip import Chip
from swim.programming.mask import VerifyMask
from tests.statistics.test_programming_noise import check_std, net, programmed

RATIOS = {"fefet2": 2, "rram4": 4, "fefet6": 6}
# Significances of two two-bit devices in a four-bit weight.
HIGH, LOW = 12 / 15, 3 / 15


def device(name, **settings):
    chosen = {"M": 4, "K": 2, "verified_sigma": 0.01, "variation": {"name": name}, **settings}
    return of_settings(chosen, 0.2)


def sigmas(name, digits):
    """Of devices that hold these digits 0 to 3."""
    s = RATIOS[name]
    return 0.2 * np.where((digits == 1) | (digits == 2), s, 1) / np.sqrt(0.4 * s**2 + 0.6)


@pytest.mark.parametrize("quantised", [False, True], ids=["float", "quantised in the forward"])
@pytest.mark.parametrize("name", RATIOS)
def test_of_the_weights_that_reach_the_calls(name, quantised):
    for ideal, weights in programmed(net(quantised), device(name), None, chips=100).values():
        top = float(ideal.abs().max())
        noise = ((weights - ideal) / top).double().numpy()
        code = (ideal.abs().double() / top * 15).round().long().numpy()
        high, low = code // 4, code % 4
        std = np.hypot(HIGH * sigmas(name, high), LOW * sigmas(name, low))
        check_std(noise / std, 1.0)
        for digit in range(4):  # each level of the slice that weighs most
            chosen = high == digit
            if chosen.sum() > 800:  # times 100 chips, so that 3 % are seen
                check_std((noise / std)[:, chosen], 1.0)


@pytest.mark.parametrize("name", RATIOS)
def test_of_each_device_at_each_level(name):
    made = device(name)
    target = torch.linspace(-1, 1, 250_000).view(500, 500)
    code = (target.abs().double() * 15).round().long().flatten().numpy()
    errors = np.stack([Cells(Chip({"w": target}, made, 1, r), "w").errors.double().numpy()
                       for r in range(2)])  # fmt: skip
    for j, digits in enumerate((code // 4, code % 4)):
        for digit in range(4):
            chosen = errors[:, j, digits == digit]
            check_std(chosen, float(sigmas(name, np.array(digit))))
    both = errors[:, 0] * errors[:, 1] / errors[:, 0].std() / errors[:, 1].std()
    assert abs(both.mean()) < 5 * both.std() / np.sqrt(both.size)


@pytest.mark.parametrize("name", RATIOS)
def test_equal_variance_is_that_of_devices_of_one_sigma(name):
    torch.manual_seed(0)
    targets = {"a": 0.3 * torch.randn(300, 200), "b": torch.rand(100, 100)}
    plain = swim.Device(0.2, M=4, K=2)
    asked = dataclasses.replace(device(name), equal_variance=True)
    expected = 0.2 * np.hypot(HIGH, LOW)
    for made, factor in ((plain, 1), (asked, 1), (device(name), None)):
        total = []
        for r in range(8):
            chip = VerifyMask({}).program(Chip(targets, made, 0, r))
            total += [((chip.weights[n] - w) / w.abs().max()).double().flatten().numpy()
                      for n, w in targets.items()]  # fmt: skip
        noise = np.concatenate(total)
        factor = factor or np.sqrt(relative_variance(made, targets))
        # Mixed sigmas spread the mean square more than one does: by its own kurtosis.
        squares = (noise / expected) ** 2
        z = (squares.mean() - factor**2) / (squares.std() / np.sqrt(squares.size))
        assert abs(z) < 5
        assert squares.std() / np.sqrt(squares.size) < 0.01


def test_a_tables_sigmas_are_absolute(tmp_path):
    path = tmp_path / "levels.csv"
    path.write_text("level,sigma\n0,0.01\n0.3333333,0.1\n0.6666667,0.2\n1,0.05\n")
    made = of_settings({"M": 2, "K": 2, "variation": {"table": str(path)}}, "1")
    target = torch.linspace(0, 1, 500_000).view(500, 1000)
    weights = VerifyMask({}).program(Chip({"w": target}, made, 0, 0)).weights["w"]
    noise = (weights - target).double().numpy().ravel()
    code = (target.double() * 3).round().long().numpy().ravel()
    for digit, sigma in enumerate((0.01, 0.1, 0.2, 0.05)):
        check_std(noise[code == digit], sigma)
