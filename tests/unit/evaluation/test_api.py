"""``swim.evaluate``: a mask or a policy, and results under their former names."""

import pytest
import torch
from torch import nn

import swim
from swim.errors import SettingError
from swim.evaluation import Result
from swim.programming import VerifyMask
from swim.programming.chip import Programmed

DEVICE = swim.Device(sigma=0.2)
MASK = {"1.weight": torch.arange(48).view(3, 16) % 2 == 0}


class Exact:
    """Programs every weight without error, at two write cycles a device and one read."""

    def program(self, chip):
        return Programmed(dict(chip.targets), 2.0, 1.0)


def evaluate(*arguments, **more):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    batches = [(torch.randn(40, 1, 4, 4), torch.arange(40) % 3)]
    return swim.evaluate(model, batches, *arguments, device=DEVICE, chips=4, **more)


def test_a_policy_is_given_by_name():
    result = evaluate(policy=Exact())
    assert result.nwc == 2
    assert result.accuracy.std() == 0


def test_a_mask_is_the_policy_that_verifies_it():
    one, other = evaluate(MASK), evaluate(policy=VerifyMask(MASK))
    assert torch.equal(one.loss, other.loss)
    assert torch.equal(one.nwc_per_chip, other.nwc_per_chip)
    assert torch.equal(evaluate(mask=MASK).loss, one.loss)


def test_without_mask_and_policy_nothing_is_verified():
    assert evaluate().nwc == 0
    assert torch.equal(evaluate().loss, evaluate({}).loss)


def test_a_policy_in_place_of_the_mask_still_works_and_names_the_argument():
    with pytest.warns(FutureWarning, match="policy=") as seen:
        result = evaluate(Exact())
    assert result.nwc == 2
    assert seen[0].filename == __file__


@pytest.mark.parametrize("mask", [MASK, {}, Exact()], ids=["mask", "empty mask", "policy"])
def test_a_mask_beside_a_policy_is_an_error(mask):
    with pytest.raises(SettingError, match="a mask or a policy, not both"):
        evaluate(mask, policy=Exact())


@pytest.mark.parametrize("policy", ["swim_device", MASK, 0.1])
def test_a_policy_that_is_none_is_named(policy):
    with pytest.raises(SettingError, match=r"policy must have a method program\(chip\)"):
        evaluate(policy=policy)


def test_cycles_is_the_former_name_of_nwc_per_chip():
    result = evaluate(MASK)
    assert result.nwc_per_chip.shape == (4,)
    assert result.nwc == pytest.approx(0.5)
    with pytest.warns(FutureWarning, match="nwc_per_chip") as seen:
        cycles = result.cycles
    assert torch.equal(cycles, result.nwc_per_chip)
    assert seen[0].filename == __file__
    assert "cycles" not in Result.__dataclass_fields__
