"""Write-verify cycle by cycle, as statistics.

``Redraw`` draws the number of rewrites and what is left without a loop over cycles; here devices
are written again and again, by generators of other seeds, and the two are compared. Each check
fails by chance with probability below 1e-6.
"""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

import swim
from swim.devices.pulse import Pulse
from swim.devices.redraw import Redraw
from swim.devices.write_verify import expected_rewrites, residual
from swim.programming.cells import Cells
from swim.programming.chip import Chip
from swim.programming.mask import verify_all

CHECKS = 1000  # more than all checks of this file together
ALPHA = 1e-6 / CHECKS
Z = stats.norm.isf(ALPHA / 2)
TOLERANCE = 0.06


def devices_of(kind, count, sigma, level, centre, **device):
    """Many alike devices that ``swim`` writes: errors, readings and rewrites of each."""
    memory = swim.Device(sigma, tolerance=TOLERANCE, write_verify=kind.__name__.lower(), **device)
    parts = [torch.full((count,), float(value)) for value in (sigma, level, centre)]
    made = kind(memory).rewrite(np.random.default_rng(1), *parts)
    return (part.double().numpy() for part in (made.errors, made.readings, made.cycles))


def one_by_one(count, sigma, level, centre, read_noise=0.0, clip=False, cycle_limit=1000):
    """The same in a loop over cycles, every write and read a draw."""
    draws = np.random.default_rng(2)
    errors, readings, cycles = np.zeros(count), np.zeros(count), np.zeros(count, int)
    left = np.arange(count)
    for _ in range(cycle_limit):
        written = sigma * draws.standard_normal(len(left))
        if clip:
            written = written.clip(-level, 1 - level)
        read = written + read_noise * draws.standard_normal(len(left))
        errors[left], readings[left] = written, read
        cycles[left] += 1
        left = left[abs(read - centre) >= TOLERANCE]
        if not len(left):
            break
    return errors, readings, cycles


def same_counts(one, two):
    """Whether two samples of whole numbers have one distribution: chi-squared, 20 bins."""
    edges = np.unique(np.quantile(np.concatenate([one, two]), np.linspace(0, 1, 21)))
    table = [np.histogram(x, [*edges[:-1], np.inf])[0] for x in (one, two)]
    if len(edges) < 3:
        return np.array_equal(edges, np.unique(one))
    return stats.chi2_contingency(np.array(table)).pvalue > ALPHA


CASES = {
    "plain": {},
    "small sigma": {"sigma": 0.04},
    "large sigma": {"sigma": 0.4},
    "noise": {"read_noise": 0.05},
    "off centre": {"centre": -0.15},
    "off centre, noise": {"centre": 0.12, "read_noise": 0.04},
    "clip at zero": {"clip": True, "level": 0},
    "clip at a third": {"clip": True, "level": 1 / 3, "sigma": 0.3},
    "clip at one": {"clip": True, "level": 1},
    "clip, window at the end": {"clip": True, "level": 0.1, "centre": -0.1},
    "clip, noise, at zero": {"clip": True, "level": 0, "read_noise": 0.05},
    "clip, noise, at a third": {"clip": True, "level": 1 / 3, "read_noise": 0.05, "sigma": 0.3},
    "clip, noise, at one, off centre": {
        "clip": True, "level": 1, "read_noise": 0.03, "centre": -0.12,
    },
    "clip, noise, window beyond the end": {
        "clip": True, "level": 0.1, "read_noise": 0.04, "centre": -0.13,
    },
    "few cycles": {"cycle_limit": 3},
    "few cycles, noise": {"cycle_limit": 2, "read_noise": 0.04, "centre": 0.1},
    "few cycles, noise, clip": {"cycle_limit": 3, "read_noise": 0.04, "clip": True, "level": 1},
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_drawn_at_once_as_one_by_one(name):
    """Rewrites, what devices hold and what is read of them: two samples of one distribution."""
    case = {"sigma": 0.1, "level": 0.5, "centre": 0.0} | CASES[name]
    errors, readings, cycles = devices_of(Redraw, 20_000, **case)
    slow = one_by_one(20_000, **case)
    assert same_counts(cycles, slow[2])
    for made, expected in ((errors, slow[0]), (readings, slow[1])):
        # Rounded, since an end of the range is one value, whose last digits differ in float32.
        assert stats.ks_2samp(made.round(6), expected.round(6), method="asymp").pvalue > ALPHA
    # What belongs together: an error with its reading.
    for part in (lambda e, m, c: (e - m) ** 2, lambda e, m, c: e * m):
        one, two = part(errors, readings, cycles), part(*slow)
        error = math.hypot(one.std() / math.sqrt(len(one)), two.std() / math.sqrt(len(two)))
        assert abs(one.mean() - two.mean()) <= Z * error + 1e-12
    inside = abs(readings - case["centre"]) < TOLERANCE * (1 + 1e-6)
    limit = case.get("cycle_limit", 1000)
    assert (inside | (cycles == limit)).all()
    assert cycles.min() == 1


@pytest.mark.parametrize("name", CASES)
def test_chance_is_that_of_one_write(name):
    case = {"sigma": 0.1, "level": 0.5, "centre": 0.0} | CASES[name]
    sigma, level, centre = (torch.tensor([case.pop(k)]).double() for k in
                            ("sigma", "level", "centre"))  # fmt: skip
    device = swim.Device(float(sigma), tolerance=TOLERANCE, write_verify="redraw", **case)
    chance = float(Redraw(device).chance(sigma, level, centre))
    case["cycle_limit"] = 1
    n = 1_000_000
    _, readings, _ = one_by_one(n, float(sigma), float(level), float(centre), **case)
    inside = (abs(readings - float(centre)) < TOLERANCE).mean()
    assert abs(inside - chance) < Z * math.sqrt(chance * (1 - chance) / n)


def exact_chance(sigma, noise, level, centre):
    """P(a clipped error, read with noise, is inside), over the error, in pieces 1/20 of a step."""
    low, high = centre - TOLERANCE, centre + TOLERANCE

    def read(e):
        upper = stats.norm.sf((low - e) / noise) - stats.norm.sf((high - e) / noise)
        lower = stats.norm.cdf((high - e) / noise) - stats.norm.cdf((low - e) / noise)
        return np.where(e < centre, lower, upper)

    step = min(sigma, noise) / 20
    bottom, top = max(-level, -10 * sigma), min(1 - level, 10 * sigma)
    e = np.linspace(bottom, top, 2 * math.ceil((top - bottom) / step) + 1)
    total = integrate.simpson(stats.norm.pdf(e, 0, sigma) * read(e), x=e)
    total += stats.norm.cdf(-level / sigma) * read(-level)
    return float(total + stats.norm.sf((1 - level) / sigma) * read(1 - level))


@pytest.mark.parametrize("noise", [0.005, 0.02, 0.05, 0.1])
@pytest.mark.parametrize("sigma", [0.01, 0.0333, 0.1, 0.2])
def test_chance_with_clipping_and_read_noise_is_the_integral(sigma, noise):
    """Whichever of the two is the wider, in the middle of the range and at both of its ends."""
    device = swim.Device(sigma, tolerance=TOLERANCE, write_verify="redraw", clip=True,
                         read_noise=noise)  # fmt: skip
    for level in (0.0, 1 / 3, 1.0):
        for centre in np.linspace(-0.4, 0.4, 17):
            given = (torch.tensor([float(x)]).double() for x in (sigma, level, centre))
            exact = exact_chance(sigma, noise, level, centre)
            assert float(Redraw(device).chance(*given)) == pytest.approx(exact, rel=1e-5, abs=4e-8)


def test_rewrites_are_geometric():
    """With p = P(|N(0, sigma^2 + noise^2)| < tolerance); chi-squared over 15 counts."""
    _, _, cycles = devices_of(Redraw, 50_000, 0.1, 0.0, 0.0, read_noise=0.03)
    p = 2 * stats.norm.cdf(TOLERANCE / math.hypot(0.1, 0.03)) - 1
    expected = [stats.geom.pmf(k, p) for k in range(1, 15)] + [stats.geom.sf(14, p)]
    observed = [(cycles == k).sum() for k in range(1, 15)] + [(cycles > 14).sum()]
    assert stats.chisquare(observed, np.array(expected) * len(cycles)).pvalue > ALPHA


def test_what_is_left_is_a_normal_cut_at_the_tolerance():
    errors, readings, _ = devices_of(Redraw, 50_000, 0.1, 0.0, 0.0)
    cut = stats.truncnorm(-0.6, 0.6, scale=0.1)
    assert stats.kstest(errors, cut.cdf).pvalue > ALPHA
    assert np.array_equal(errors, readings)
    assert cut.std() == pytest.approx(0.034, abs=3e-4)
    assert residual(swim.Device(0.1, write_verify="redraw")) == pytest.approx(cut.std(), rel=1e-9)
    # The mean square of n errors has the standard deviation of one, over sqrt(n).
    error = (errors**2).std() / math.sqrt(len(errors))
    assert abs(np.mean(errors**2) - cut.var()) < Z * error


@pytest.mark.parametrize("centre", [0.45, -0.45, 0.75, -0.75])
def test_windows_in_far_tails(centre):
    """Met once in 2e4 or 4e11 writes, which nobody tries one by one; digits are kept."""
    most = 10**15
    errors, _, cycles = devices_of(Redraw, 20_000, 0.1, 0.0, centre, cycle_limit=most)
    low, high = (abs(centre) - TOLERANCE) / 0.1, (abs(centre) + TOLERANCE) / 0.1
    p = stats.norm.sf(low) - stats.norm.sf(high)
    cut = stats.truncnorm(low, high, scale=0.1)
    assert stats.kstest(errors * np.sign(centre), cut.cdf).pvalue > ALPHA
    assert stats.kstest(cycles * p, "expon").pvalue > ALPHA  # a geometric of a tiny p


@pytest.mark.parametrize("device", [{}, {"read_noise": 0.03}, {"clip": True}])
def test_devices_that_are_given_up_lie_outside(device):
    """As many as a binomial of (1 - p)^L has, and what they hold is a write that is outside."""
    n, limit, centre = 40_000, 4, 0.05
    errors, readings, cycles = devices_of(Redraw, n, 0.2, 0.5, centre, cycle_limit=limit, **device)
    t = math.hypot(0.2, device.get("read_noise", 0.0))
    p = stats.norm.cdf(0.11 / t) - stats.norm.cdf(-0.01 / t)
    outside = abs(readings - centre) >= TOLERANCE
    assert stats.binomtest(int(outside.sum()), n, (1 - p) ** limit).pvalue > ALPHA
    assert (cycles[outside] == limit).all()
    mean = (1 - (1 - p) ** limit) / p
    assert abs(cycles.mean() - mean) < Z * cycles.std() / math.sqrt(n)
    if not device:
        assert (abs(errors - centre)[outside] >= TOLERANCE).all()
        # A write outside is the normal without its window.
        below = (errors[outside] < centre).mean()
        expected = stats.norm.cdf(-0.01 / 0.2) / (1 - p)
        assert abs(below - expected) < Z * math.sqrt(expected * (1 - expected) / outside.sum())


def test_an_errors_mean_given_its_reading():
    """m sigma^2 / t^2, and around it a normal of variance sigma^2 r^2 / t^2, whatever the window.

    It is what policies take a reading for (``Cells.trust_at``).
    """
    sigma, r = 0.1, 0.05
    errors, readings, _ = devices_of(Redraw, 50_000, sigma, 0.0, 0.08, read_noise=r)
    rest = errors - readings * sigma**2 / (sigma**2 + r**2)
    std = sigma * r / math.hypot(sigma, r)
    assert stats.kstest(rest / std, "norm").pvalue > ALPHA
    assert abs(np.corrcoef(rest, readings)[0, 1]) < Z / math.sqrt(len(rest))
    chip = Chip({"w": torch.ones(1, 1)}, swim.Device(sigma, write_verify="redraw", read_noise=r),
                0, 0)  # fmt: skip
    trust = float(Cells(chip, "w").trust_at(torch.zeros(1)))
    assert trust == pytest.approx(sigma**2 / (sigma**2 + r**2))


CHIPS = {
    "redraw": {},
    "noise": {"read_noise": 0.05},
    "clip": {"clip": True},
    "clip, noise": {"clip": True, "read_noise": 0.03, "sigma": 0.2},
    "few cycles": {"cycle_limit": 3},
    "variation": {"variation": lambda level: 0.5 + level},
    "pulse": {"write_verify": "pulse"},
    "pulse, clip": {"write_verify": "pulse", "clip": True},
}


@pytest.mark.parametrize("name", CHIPS)
def test_what_is_planned_is_what_it_takes(name):
    """The mean over 38,400 devices, by slice; for pulses the plan is a mean of trains, too."""
    device = swim.Device(**{"sigma": 0.1, "M": 6, "K": 2, "write_verify": "redraw"} | CHIPS[name])
    weights = torch.randn(80, 160, generator=torch.Generator().manual_seed(0))
    cells = Cells(Chip({"w": weights}, device, 3, 1), "w")
    difference = (cells.verified.cycles - cells.planned).numpy()
    for row, plan in zip(difference, cells.planned.numpy(), strict=True):
        error = row.std() / math.sqrt(len(row))
        if "pulse" in name:  # 2,000 trains a distance; each level lies on or between two
            error = math.hypot(error, row.std() / math.sqrt(2 * 2000))
        assert abs(row.mean()) < Z * error, row.mean() / plan.mean()


def test_expected_rewrites_are_those_of_the_formula_and_of_written_devices():
    p = math.erf(0.6 / math.sqrt(2))
    assert expected_rewrites(swim.Device(0.1)) == pytest.approx((1 - p) / p)
    short = (1 - p) * sum((1 - p) ** k for k in range(3))
    assert expected_rewrites(swim.Device(0.1, cycle_limit=3)) == pytest.approx(short)
    device = swim.Device(0.1, write_verify="redraw")
    chip = Chip({"w": torch.ones(100, 400)}, device, 0, 0)
    cycles = Cells(chip, "w").verified.cycles.double().numpy()
    error = cycles.std() / math.sqrt(cycles.size)
    assert abs(cycles.mean() - expected_rewrites(device)) < Z * error


@pytest.mark.parametrize("kind", ["redraw", "pulse"])
def test_what_verifying_leaves(kind):
    """Root mean squares of weights as programmed: ``residual`` times their significances' norm.

    Of 40,000 weights; for pulses over levels that are spread over the whole range, and with 1 %
    for ``residual`` itself, of some 42,000 trains.
    """
    device = swim.Device(0.1, M=4, K=4, write_verify=kind)
    levels = (torch.arange(40_000).view(100, 400) % 16) / 15
    chip = Chip({"w": levels}, device, 5, 0)
    errors = (verify_all(chip.targets).program(chip).weights["w"] - levels).double().numpy()
    if kind == "redraw":
        # Devices that are inside at once are the same cut normal as those that are rewritten.
        cut = stats.truncnorm(-0.6, 0.6, scale=0.1)
        assert stats.kstest(errors.ravel(), cut.cdf).pvalue > ALPHA
        expected, more = residual(device), 0.0
    else:
        # Part of the devices were inside after their first write, and never erased.
        p = math.erf(0.6 / math.sqrt(2))
        square = p * stats.truncnorm(-0.6, 0.6, scale=0.1).var() + (1 - p) * residual(device) ** 2
        expected, more = math.sqrt(square), 0.01
    squares = errors**2
    error = squares.std() / math.sqrt(squares.size)
    assert abs(squares.mean() - expected**2) < Z * error + 2 * more * expected**2


def pulses_one_by_one(count, sigma, level, gain=0.2, read_noise=0.0):
    draws, noise = np.random.default_rng(4), sigma * math.sqrt(gain * (2 - gain))
    errors, cycles = np.zeros(count), np.zeros(count, int)
    for i in range(count):
        error = -level + sigma * draws.standard_normal()
        while abs(error + read_noise * draws.standard_normal()) >= TOLERANCE:
            error += -gain * error + noise * draws.standard_normal()
            cycles[i] += 1
        errors[i] = error
    return errors, cycles + 1  # erasing is one


# docs/write-verify.md has these, of a million devices: cycles, and rms and mean of what is left.
PULSES = {0.0: (3.14, 0.0350, 0.0), 0.5: (10.31, 0.0366, -0.0222), 1.0: (13.42, 0.0366, -0.0222)}


@pytest.mark.parametrize("level", PULSES)
def test_pulse_writing_has_the_distribution_of_devices_written_one_by_one(level):
    """Two samples of one distribution, and the documented numbers to their last digit."""
    errors, readings, cycles = devices_of(Pulse, 40_000, 0.1, level, 0.0)
    slow = pulses_one_by_one(10_000, 0.1, level)
    assert stats.ks_2samp(errors, slow[0], method="asymp").pvalue > ALPHA
    assert same_counts(cycles, slow[1])
    assert (abs(readings) < TOLERANCE).all()
    squares, n = errors**2, math.sqrt(len(errors))
    mean, rms, bias = PULSES[level]
    assert abs(cycles.mean() - mean) < Z * cycles.std() / n + 0.005
    assert abs(squares.mean() - rms**2) < Z * squares.std() / n + 2 * rms * 5e-5
    assert abs(errors.mean() - bias) < Z * errors.std() / n + 5e-5


def test_pulses_with_noise_and_on_the_way_to_another_place():
    errors, _, cycles = devices_of(Pulse, 20_000, 0.1, 0.3, 0.0, read_noise=0.03)
    slow = pulses_one_by_one(10_000, 0.1, 0.3, read_noise=0.03)
    assert stats.ks_2samp(errors, slow[0], method="asymp").pvalue > ALPHA
    assert same_counts(cycles, slow[1])
    # A window around 0.2 is met as one at a level that is 0.2 higher.
    moved, _, other = devices_of(Pulse, 20_000, 0.1, 0.3, 0.2)
    slow = pulses_one_by_one(10_000, 0.1, 0.5)
    assert stats.ks_2samp(moved - 0.2, slow[0], method="asymp").pvalue > ALPHA
    assert same_counts(other, slow[1])


@pytest.mark.parametrize("gain", [0.05, 0.2, 1])
def test_pulses_without_end_have_the_standard_deviation_of_a_write(gain, monkeypatch):
    """A window that is never met: after 300 pulses the start is forgotten. Chi-squared."""
    monkeypatch.setattr("tests.statistics.test_write_verify.TOLERANCE", 1e-12)
    monkeypatch.setattr("swim.devices.bit_sliced.SMALLEST_TOLERANCE", 0)
    errors, _, cycles = devices_of(Pulse, 20_000, 0.1, 0.7, 0.0, pulse_gain=gain, cycle_limit=300)
    assert (cycles == 300).all()
    chi2 = (errors**2).sum() / 0.1**2
    assert stats.chi2.sf(chi2, len(errors)) > ALPHA
    assert stats.chi2.cdf(chi2, len(errors)) > ALPHA
    assert abs(errors.mean()) < Z * 0.1 / math.sqrt(len(errors))


def test_clipped_pulses_stay_in_the_range():
    for level in (0.0, 1.0):
        errors, _, _ = devices_of(Pulse, 5_000, 0.2, level, 0.0, clip=True)
        assert errors.min() >= -level
        assert errors.max() <= 1 - level
