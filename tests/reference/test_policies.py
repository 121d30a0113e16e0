"""Policies against a twin that programs one device at a time, and what must hold for each."""

import functools
import math

import numpy as np
import pytest
import torch
from torch import nn

import swim
from swim.engine import evaluator
from swim.errors import DataError, SettingError
from swim.programming.affordable import affordable
from swim.programming.cells import Cells
from swim.programming.chip import Chip
from swim.programming.lookup import of_name
from swim.programming.mask import VerifyMask, verify_all
from swim.selection.masks import mask_of, relative_magnitude
from swim.settings import policies, registry
from tests.reference import write_twin

POLICIES = tuple(registry.POLICIES)
VERIFYING = tuple(sorted(n for n, entry in policies.ENTRIES.items() if entry.ends_verified))
WITHOUT_CYCLES = {n for n, entry in policies.ENTRIES.items() if entry.acts_without_cycles}
SIMULATED = ("read_first", "compensate", "marginal")  # not in the closed form
BUDGETS = (0.0, 0.03, 0.4, 1.0, math.inf)


def rising(level):
    return 0.5 + level


DEVICES = {
    "redraw": {},
    "redraw, three slices": {"M": 6, "K": 2, "sigma": 0.15},
    "redraw, one-bit": {"M": 4, "K": 1},
    "redraw, one device": {"M": 4, "K": 4, "sigma": 0.2},
    "noise": {"read_noise": 0.03},
    "clip": {"clip": True, "sigma": 0.2},
    "noise, clip": {"read_noise": 0.02, "clip": True, "M": 4, "K": 1},
    "few cycles": {"cycle_limit": 3},
    "few cycles, noise": {"cycle_limit": 15, "read_noise": 0.03},
    "variation": {"variation": rising},
    "variation, noise, from none": {"variation": abs, "read_noise": 0.03},
    "variation, noise, clip, from none": {"variation": abs, "read_noise": 0.03, "clip": True},
    "release": {"convention": "release", "K": 4},
    "pulse": {"write_verify": "pulse"},
    "pulse, noise, clip": {"write_verify": "pulse", "read_noise": 0.02, "clip": True, "K": 4},
    "pulse, variation": {"write_verify": "pulse", "variation": rising, "K": 4},
    "closed form": {"write_verify": "closed_form"},
    "closed form, variation": {"write_verify": "closed_form", "variation": rising},
}


def settings(name):
    return {"sigma": 0.1, "M": 8, "K": 2, "write_verify": "redraw"} | DEVICES[name]


@functools.cache
def large_network():
    """Weights and curvature: both signs, ties, a layer of zeros, second derivatives of zero."""
    draws = np.random.default_rng(3)
    weights = {
        "first": draws.normal(size=(5, 6)).astype("float32"),
        "zeros": np.zeros((2, 3), "float32"),
        "last": (0.2 * draws.normal(size=(4, 5))).astype("float32"),
    }
    weights["first"][0, :2] = 0
    curvature = {name: draws.gamma(0.5, size=weight.shape) for name, weight in weights.items()}
    curvature["first"][2:4, 3:] = 0
    curvature["last"][1] *= -1
    return weights, curvature


# The twin programs device by device, up to some hundred times each.
PART = {"first": np.s_[:4, :5], "zeros": np.s_[:1, :2], "last": np.s_[:4, :3]}


@functools.cache
def network():
    """A part of the large one, with all that it has."""
    weights, curvature = (
        {name: np.ascontiguousarray(array[PART[name]]) for name, array in arrays.items()}
        for arrays in large_network()
    )
    assert {float(np.sign(w).min()) for w in weights.values()} == {-1.0, 0.0}
    assert {float(np.sign(h).min()) for h in curvature.values()} == {-1.0, 0.0, 1.0}
    return weights, curvature


def chip_of(device, index=2, seed=7, of=network):
    weights, curvature = of()
    tensors = ({name: torch.tensor(x) for name, x in part.items()} for part in (weights, curvature))
    targets, curvature = tensors
    return Chip(targets, device, seed, index), curvature


@functools.cache
def twins(name):
    weights, curvature = network()
    return write_twin.layers_of(write_twin.Memory(**settings(name)), 7, 2, weights, curvature)


def spend(policy, budget, chip, curvature):
    return of_name(policy, budget, scores(chip, curvature)).program(chip)


def scores(chip, curvature):
    return {name: h.double() * chip.scales[name] ** 2 for name, h in curvature.items()}


def agree(made, expected):
    weights, nwc, reads = expected
    for name, weight in weights.items():
        scale = float(np.abs(network()[0][name]).max())
        difference = np.abs(made.weights[name].double().numpy() - weight).max()
        assert difference <= 2e-5 * scale, (name, difference / (scale or 1))
    assert made.nwc == pytest.approx(nwc, rel=1e-6)
    assert made.reads == pytest.approx(reads, rel=1e-6)


# What each of these has, others have as well; masks and ends are compared on all.
BEFORE_A_RELEASE = {"redraw", "noise", "noise, clip", "variation, noise, from none", "pulse"}
BY_TWIN = [
    pytest.param(name, marks=pytest.mark.slow) if name in BEFORE_A_RELEASE else name
    for name in DEVICES
]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", BY_TWIN)
def test_as_the_twin_device_by_device(name, policy):
    if name.startswith("closed") and policy in SIMULATED:
        pytest.skip("single cycles are not simulated")
    chip, curvature = chip_of(swim.Device(**settings(name)))
    for budget in BUDGETS:
        expected = write_twin.program(policy, twins(name), budget)
        agree(spend(policy, budget, chip, curvature), expected)


@pytest.mark.parametrize("name", DEVICES)
@pytest.mark.parametrize("fraction", ["0", "0.3", "1"])
def test_masks_as_the_twin(name, fraction):
    chip, _ = chip_of(swim.Device(**settings(name)))
    draws = np.random.default_rng(1)
    masks = {key: draws.random(w.shape) < float(fraction) for key, w in network()[0].items()}
    made = VerifyMask({key: torch.tensor(mask) for key, mask in masks.items()}).program(chip)
    expected = write_twin.by_mask(twins(name), masks)
    if name == "closed form":  # one sigma: the verified part of the weights, as the paper has it
        assert made.nwc == pytest.approx(expected[1])
    agree(made, expected)


@pytest.mark.parametrize("name", DEVICES)
def test_no_budget_is_written_once(name):
    chip, curvature = chip_of(swim.Device(**settings(name)))
    once = VerifyMask({}).program(chip)
    for policy in sorted(set(POLICIES) - WITHOUT_CYCLES):
        if not (name.startswith("closed") and policy in SIMULATED):
            made = spend(policy, 0, chip, curvature)
            torch.testing.assert_close(made.weights, once.weights, rtol=1e-5, atol=1e-6)
            assert made.nwc == once.nwc == 0


@pytest.mark.parametrize("name", DEVICES)
def test_without_end_everything_is_verified(name):
    chip, curvature = chip_of(swim.Device(**settings(name)))
    everything = verify_all(chip.targets).program(chip)
    assert everything.nwc == pytest.approx(1, rel=1e-12)  # sums of expected cycles are rounded
    for policy in set(VERIFYING) - (set(SIMULATED) if name.startswith("closed") else set()):
        made = spend(policy, math.inf, chip, curvature)
        torch.testing.assert_close(made.weights, everything.weights, rtol=1e-5, atol=1e-6)
        assert made.nwc == pytest.approx(1)


@pytest.mark.parametrize("policy", POLICIES)
def test_weights_keep_their_type(policy):
    """Of the same chip in float64; what is added is float32 in both."""
    device = swim.Device(0.1, M=8, K=2, write_verify="redraw")
    chip, curvature = chip_of(device)
    double = Chip({name: w.double() for name, w in chip.targets.items()}, device, 7, 2)
    one, two = (spend(policy, 0.4, each, curvature) for each in (chip, double))
    assert (one.nwc, one.reads) == (two.nwc, two.reads)
    for name, weight in two.weights.items():
        assert (one.weights[name].dtype, weight.dtype) == (torch.float32, torch.float64)
        torch.testing.assert_close(one.weights[name].double(), weight, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("variation", [None, rising])
@pytest.mark.parametrize("kind", ["redraw", "closed_form"])
def test_of_one_device_a_weight_swim_device_is_uswim(kind, variation):
    device = swim.Device(0.2, M=4, K=4, write_verify=kind, variation=variation)
    chip, curvature = chip_of(device)
    for budget in BUDGETS:
        one, two = (spend(p, budget, chip, curvature) for p in ("uswim", "swim_device"))
        assert all(torch.equal(one.weights[name], two.weights[name]) for name in one.weights)
        assert (one.nwc, one.reads) == (two.nwc, two.reads)


@pytest.mark.parametrize(("policy", "K"), [("swim_device", 8), ("uswim", 8), ("uswim", 2)])
@pytest.mark.parametrize("budget", [0.03, 0.2, 0.5, 0.8])
def test_with_one_sigma_the_top_of_swims_ranking_is_verified(policy, K, budget):
    # In the closed form every verified weight shows: its error is a quarter of what it was.
    chip, curvature = chip_of(swim.Device(0.2, M=8, K=K, verified_sigma=0.05))
    once = VerifyMask({}).program(chip)
    made = spend(policy, budget, chip, curvature)
    verified = {
        name: (made.weights[name] - target).abs() < 0.5 * (once.weights[name] - target).abs()
        for name, target in chip.targets.items()
        if name != "zeros"  # whose errors are zero
    }
    weights, second = network()
    total = sum(weight.size for weight in weights.values())
    scores = {name: second[name] * float(abs(weights[name]).max()) ** 2 for name in weights}
    wanted = round(made.nwc * total)
    assert made.nwc == pytest.approx(wanted / total)
    assert abs(wanted - budget * total) <= 1
    expected = mask_of(scores, wanted / total, relative_magnitude(weights))
    for name, mask in verified.items():
        np.testing.assert_array_equal(mask.numpy(), expected[name])


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", ["redraw", "noise", "pulse"])
def test_policy_with_a_larger_budget_spends_no_less_and_stays_within_one_offer(name, policy):
    """More is never less, and no more than an offer beyond what was planned."""
    device = swim.Device(**settings(name))
    chip, curvature = chip_of(device)
    layers = [Cells(chip, key) for key in chip.targets]
    planned = sum(float(cells.planned.sum()) for cells in layers)
    unit = sum(float(cells.cycles.sum()) for cells in layers)
    rule, largest = registry.find("policy", policy), 1.0
    if not callable(rule):  # what is offered is more than a cycle
        offers = [rule.offers(cells, curvature[cells.name].flatten() * cells.scale**2)
                  for cells in layers]  # fmt: skip
        largest = max(float(offer.cycles.max()) for offer in offers)
    before = -1.0
    for budget in np.linspace(0, 1.5, 16):
        made = spend(policy, float(budget), chip, curvature)
        assert made.nwc >= before
        assert made.nwc * unit <= budget * planned + largest
        before = made.nwc
    assert before > 0.1


@pytest.mark.parametrize("name", ["redraw", "noise", "redraw, one-bit", "redraw, three slices"])
def test_slices_written_in_turn_leave_less(name):
    """Squared errors of 40 chips, paired: the mean differences are 5 standard errors or more.

    They are more than 11 in truth, so that each fails by chance with probability below 1e-6.
    """
    device = swim.Device(**settings(name))
    found = []
    for index in range(40):
        chip, curvature = chip_of(device, index, of=large_network)
        policies = [VerifyMask({})]
        policies += [
            of_name(policy, 0, scores(chip, curvature)) for policy in ("reslice", "reslice_pair")
        ]
        # On the grid of the device, so that no digit is lost.
        top = 2**device.M - 1
        grid = {key: (w / (w.abs().max() or 1) * top).round() for key, w in chip.targets.items()}
        chip = Chip(grid, device, 7, index)
        made = [policy.program(chip).weights for policy in policies]
        found.append([sum(float((m[key] - grid[key]).double().square().sum()) for key in grid)
                      for m in made])  # fmt: skip
    once, reslice, pair = np.array(found).T
    for less, more in ((reslice, once), (pair, reslice)):
        difference = more - less
        error = difference.std(ddof=1) / math.sqrt(len(difference))
        assert difference.mean() > 5 * error


@pytest.mark.parametrize("name", ["redraw", "noise", "redraw, one-bit"])
def test_cycles_at_the_margin_leave_less(name):
    """Expected losses of 60 chips, paired: the mean differences are 5 standard errors or more.

    In truth they are 10 or more, so that each fails by chance with probability below 1e-6.
    """
    device, draws = swim.Device(**settings(name)), torch.Generator().manual_seed(0)
    target = torch.randn(40, 50, generator=draws)
    score = torch.rand(40, 50, generator=draws).double() ** 4
    found = []
    for index in range(60):
        chip = Chip({"w": target}, device, 7, index)
        made = [of_name(policy, 0.1, {"w": score}).program(chip).weights["w"]
                for policy in ("marginal", "compensate", "read_first")]  # fmt: skip
        found.append([float((score * (weight - target).double() ** 2).sum()) for weight in made])
    marginal, *others = np.array(found).T
    for other in others:
        difference = other - marginal
        error = difference.std(ddof=1) / math.sqrt(len(difference))
        assert difference.mean() > 5 * error


@pytest.mark.parametrize("policy", POLICIES)
def test_chips_do_not_depend_on_each_other_and_the_model_is_left_alone(policy, monkeypatch):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    batches = [(torch.randn(30, 6), torch.randint(0, 3, (30,)))]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rule = of_name(policy, 0.3, swim.sensitivity(model, batches))
    device = swim.Device(0.15, M=8, K=2, write_verify="redraw", read_noise=0.01)

    def run(**options):
        return swim.evaluate(model, batches, policy=rule, device=device, seed=1, **options)

    whole, last = run(chips=12), run(chips=2, first_chip=9)
    for part in ("accuracy", "loss", "nwc_per_chip", "reads"):
        assert torch.equal(getattr(whole, part)[9:11], getattr(last, part))
    monkeypatch.setattr(evaluator, "GROUP", 1)
    alone = run(chips=12)
    torch.testing.assert_close(alone.loss, whole.loss)
    assert torch.equal(alone.nwc_per_chip, whole.nwc_per_chip)
    assert (whole.nwc_per_chip > 0).all()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_curvature_at_or_below_zero_is_never_compensated():
    """A weight whose error is said to help, or not to matter, is left as it is."""
    for name in ("redraw", "noise", "pulse"):
        chip, curvature = chip_of(swim.Device(**settings(name)))
        once = VerifyMask({}).program(chip)
        none = {key: -h.abs() * (h < h.median()) for key, h in curvature.items()}
        made = spend("compensate", math.inf, chip, none)
        assert made.nwc == 0
        torch.testing.assert_close(made.weights, once.weights, rtol=1e-5, atol=1e-6)


def test_where_nothing_is_outside_nothing_is_spent():
    """Devices without error, clipped or not; no offer has a worth that is a number."""
    for clip in (False, True):
        device = swim.Device(0.0, M=8, K=2, write_verify="redraw", clip=clip)
        chip, curvature = chip_of(device)
        for policy in sorted(set(POLICIES) - WITHOUT_CYCLES):
            for budget in (0.5, math.inf):
                made = spend(policy, budget, chip, curvature)
                assert made.nwc == 0
                torch.testing.assert_close(made.weights, dict(chip.targets), rtol=1e-6, atol=0)


def test_few_cycles_are_planned_for():
    """Where the limit is soon met, a budget is a part of what is expected, not of infinity."""
    chip, curvature = chip_of(swim.Device(0.2, M=8, K=1, write_verify="redraw", cycle_limit=4))
    made = spend("swim_device", 0.1, chip, curvature)
    assert 0.02 < made.nwc < 0.25


def naive(keys, cycles, budget, ties):
    """The best that is left, until the budget is met."""
    left, taken, spent = set(range(len(keys))), [False] * len(keys), 0.0
    while spent < budget:
        left = {i for i in left if keys[i] > -math.inf}
        if not left:
            break
        best = max(left, key=lambda i: (keys[i], ties[i], -i))
        left.remove(best)
        taken[best], spent = True, spent + cycles[best]
    return taken


@pytest.mark.parametrize("seed", range(60))
def test_affordable_offers_as_one_by_one(seed):
    draws = np.random.default_rng(seed)
    n = int(draws.integers(1, 40))
    keys = draws.integers(-3, 4, n).astype(float)
    keys[draws.random(n) < 0.2] = -math.inf
    if seed % 3 == 0:
        keys[draws.random(n) < 0.1] = math.inf
    ties = draws.integers(0, 3, n).astype(float)
    cycles = draws.integers(0, 5, n) if seed % 2 else draws.integers(0, 5, n) / 4
    if seed % 5 == 0:
        cycles = cycles * 0
    for budget in (0, 0.25, 1, 2.5, 7, 30, 1000, math.inf):
        made = affordable(*(torch.tensor(x) for x in (keys, cycles)), budget, torch.tensor(ties))
        assert made.tolist() == naive(keys, cycles, budget, ties)


def test_mistakes():
    chip, curvature = chip_of(swim.Device(0.1, M=8, K=2))
    for policy in SIMULATED:
        with pytest.raises(SettingError, match=f"{policy} decides by what.*redraw or pulse"):
            spend(policy, 0.1, chip, curvature)
    for budget in (-0.1, math.nan):
        with pytest.raises(SettingError, match="budget must be at least 0, not"):
            spend("uswim", budget, chip, curvature)
    with pytest.raises(DataError, match="scores have no entry for the weight 'zeros' of shape"):
        of_name("uswim", 1, {"first": curvature["first"]}).program(chip)
    wrong = curvature | {"last": curvature["last"].T}
    with pytest.raises(
        DataError, match=r"of shape \(3, 4\) for the weight 'last' of shape \(4, 3\)"
    ):
        of_name("uswim", 1, wrong).program(chip)
