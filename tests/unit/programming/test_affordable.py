"""Offers chosen by counting in bins are those chosen by sorting all of them."""

import math

import numpy as np
import pytest
import torch

from swim.devices import chunks
from swim.programming import affordable
from swim.programming.budgeted import Offers


def layers(draws, blocks):
    """Offers of three layers with ties, infinite and negative keys, and offers without cycles."""
    for rounds, items in ((1, 40), (3, 25), (2, 1)):
        keys = torch.tensor(draws.integers(-3, 4, (rounds, items)) * draws.choice([1.0, 1e-9]))
        keys[torch.tensor(draws.random(keys.shape) < 0.1)] = -math.inf
        keys[torch.tensor(draws.random(keys.shape) < 0.05)] = math.inf
        keys[torch.tensor(draws.random(keys.shape) < 0.05)] = -0.0
        ties = torch.tensor(draws.random(items).round(1))
        cycles = torch.tensor(draws.integers(0, 5, keys.shape), dtype=torch.int16)
        by_slice = (lambda at, k=keys: k[:, at], lambda at, t=ties: t[at])
        yield (
            Offers(by_slice[0] if blocks else keys, cycles, None, by_slice[1] if blocks else ties),
            (keys, cycles, ties.expand(keys.shape)),
        )


@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize("cost", ["counted", "expected", "expected alike"])
@pytest.mark.parametrize("seed", range(10))
def test_counting_in_bins_chooses_what_sorting_does(monkeypatch, seed, cost, blocks):
    monkeypatch.setattr(affordable, "_FEW", 2)
    monkeypatch.setattr(chunks, "AT_ONCE", 7)
    offers, plain = zip(*layers(np.random.default_rng(seed), blocks), strict=True)
    if cost != "counted":
        one = torch.tensor([[1.3]], dtype=torch.float64)
        for offer, part in zip(offers, list(plain), strict=True):
            own = one.expand(part[1].shape) if "alike" in cost else part[1].double() / 3
            object.__setattr__(offer, "cycles", own)
        plain = [(k, o.cycles, t) for (k, _, t), o in zip(plain, offers, strict=True)]
    keys, cycles, ties = (torch.cat([p[i].flatten() for p in plain]) for i in range(3))
    for budget in (0, 1, 2.5, 7, 30, 100, 130.5, 1000, math.inf):
        expected = affordable.affordable(keys, cycles, budget, ties)
        made = torch.cat([part.flatten() for part in affordable.choose(offers, budget)])
        assert torch.equal(made, expected), budget
