"""What Python callers pass."""

import math
from decimal import Decimal

import numpy as np
import pytest
import torch
from torch import nn

import swim
from swim.errors import SettingError
from swim.programming.in_situ import InSitu
from swim.programming.lookup import of_name
from swim.settings.arguments import flag, number, whole

NO_NUMBERS = [math.nan, "0.1", True, None, [0.1], np.float64("nan"), np.bool_(True), 1j,
              torch.tensor(math.nan), torch.tensor(True), torch.tensor([0.1]), {},
              10**400]  # fmt: skip
NO_WHOLES = [*NO_NUMBERS, 2.5, 3.0, math.inf, np.float32(3), torch.tensor(3.0), -1, 2**63,
             10**5000]  # fmt: skip
MODEL = nn.Linear(4, 3)
BATCHES = [(torch.zeros(5, 4), torch.zeros(5, dtype=torch.long))]
NUMBERS = ("sigma", "verified_sigma", "read_noise", "tolerance", "pulse_gain")


@pytest.mark.parametrize("value", [0.25, np.float32(0.25), np.float64(0.25), torch.tensor(0.25)])
def test_a_number_of_numpy_or_torch_is_taken_as_pythons(value):
    found = number("x", value, 0)
    assert (type(found), found) == (float, 0.25)
    assert swim.Device(sigma=value) == swim.Device(sigma=0.25)
    assert hash(swim.Device(sigma=value)) == hash(swim.Device(sigma=0.25))


@pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3), torch.tensor(3)])
def test_a_whole_number_of_numpy_or_torch_is_taken_as_pythons(value):
    found = whole("x", value)
    assert (type(found), found) == (int, 3)
    assert swim.Device(0.1, cycle_limit=value).cycle_limit == 3
    results = [
        swim.evaluate(MODEL, BATCHES, device=swim.Device(0.3), chips=v, seed=v, first_chip=v)
        for v in (value, 3)
    ]
    assert torch.equal(results[0].loss, results[1].loss)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [*NO_NUMBERS, math.inf, -math.inf, -0.1], ids=str)
def test_a_device_names_the_number_that_is_none(name, value):
    settings = {"sigma": 0.1, "write_verify": "redraw", name: value}
    with pytest.raises(SettingError, match=f"^{name} must be "):
        swim.Device(**settings)


@pytest.mark.parametrize("name", ["M", "K", "cycle_limit"])
@pytest.mark.parametrize("value", NO_WHOLES, ids=lambda value: str(type(value)))
def test_a_device_names_the_whole_number_that_is_none(name, value):
    with pytest.raises(SettingError, match=f"^{name} must be "):
        swim.Device(sigma=0.1, **{name: value})


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"clip": "no"}, "clip must be True or False, not 'no'"),
        ({"clip": 1}, "clip must be True or False, not 1"),
        ({"convention": None}, "unknown convention None"),
        ({"write_verify": ["redraw"]}, "unknown write_verify"),
        ({"variation": "rram1"}, r"variation must be a function of levels.*swim\.variation"),
        ({"equal_variance": "yes", "variation": abs}, "equal_variance must be True or False"),
    ],
)
def test_a_device_refuses_what_python_would_take_for_something_else(settings, match):
    with pytest.raises(SettingError, match=match):
        swim.Device(sigma=0.1, **settings)
    assert flag("clip", np.bool_(False)) is False


@pytest.mark.parametrize("name", ["chips", "seed", "first_chip"])
@pytest.mark.parametrize("value", NO_WHOLES, ids=lambda value: str(type(value)))
def test_evaluate_names_the_argument_that_is_no_whole_number(name, value):
    with pytest.raises(SettingError, match=f"^{name} must be "):
        swim.evaluate(MODEL, BATCHES, device=swim.Device(0.1), **{name: value})


def test_evaluate_names_a_device_or_mask_that_is_none():
    with pytest.raises(SettingError, match=r"device must be .*swim\.Device, not 'cpu'"):
        swim.evaluate(MODEL, BATCHES, device="cpu")
    for mask in (0.1, torch.ones(3, 4, dtype=torch.bool), "all", True):
        with pytest.raises(SettingError, match=r"mask must be .*swim\.select"):
            swim.evaluate(MODEL, BATCHES, mask, device=swim.Device(0.1))


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, "x", True, None, [0.1], 1.5, -0.1, np.nan, "1e1000000", 10**5000,
              torch.tensor(True), Decimal("nan"), "0.1.2"],
    ids=lambda value: str(value)[:9] if not isinstance(value, int) else "int",
)  # fmt: skip
def test_select_names_a_fraction_that_is_none(value):
    with pytest.raises(SettingError, match=r"^fraction .* (is not a number|out of range)"):
        swim.select({"a": torch.rand(4)}, value)


@pytest.mark.parametrize(
    "value", [0.1, "0.1", Decimal("0.1"), np.float64(0.1), np.float32(0.1)], ids=lambda v: type(v)
)
def test_select_takes_a_fraction_as_it_is_spelt(value):
    mask = swim.select({"a": torch.rand(1000)}, value)
    assert int(mask["a"].sum()) == 100


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"noise": math.inf}, "^noise must be finite and at least 0, not inf"),
        ({"noise": "0.1"}, "^noise must be a number"),
        ({"noise": True}, "^noise must be a number"),
        ({"seed": -1}, "^seed must be at least 0"),
        ({"seed": 1.0}, "^seed must be a whole number"),
        ({"samples": 0}, "^samples must be at least 1"),
        ({"samples": 2.5}, "^samples must be a whole number"),
        ({"estimator": 3}, "^estimator: a name is text, not 3"),
        ({"estimator": ["recursion"]}, "estimator: a name is text"),
        ({"estimator": "recursіon"}, r"it has U\+0456 .*did you mean 'recursion'"),
    ],
)
def test_sensitivity_names_the_argument_that_is_wrong(arguments, match):
    with pytest.raises(SettingError, match=match):
        swim.sensitivity(MODEL, BATCHES, **arguments)


@pytest.mark.parametrize("budget", [math.nan, "1", True, -1, None])
def test_policies_name_a_budget_that_is_none(budget):
    with pytest.raises(SettingError, match=r"^budget must be "):
        of_name("marginal", budget, {"weight": torch.rand(3, 4)})
    with pytest.raises(SettingError, match=r"^budget must be "):
        InSitu(MODEL, BATCHES, budget)


def test_in_situ_names_the_number_that_is_wrong():
    for wrong in ({"learning_rate": 0}, {"learning_rate": math.inf}, {"momentum": "0.9"},
                  {"weight_bits": 2.5}):  # fmt: skip
        with pytest.raises(SettingError, match=f"^{next(iter(wrong))} must be "):
            InSitu(MODEL, BATCHES, 1.0, **wrong)
    with pytest.raises(SettingError, match=r"^budget must be finite and at least 0"):
        InSitu(MODEL, BATCHES, math.inf)
