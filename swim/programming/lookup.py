"""Policies by name."""

import functools
from collections.abc import Mapping

from torch import Tensor

from swim.programming.budgeted import Budgeted, Greedy
from swim.settings import registry


def of_name(name: str, budget: float, scores: Mapping[str, Tensor]) -> Budgeted:
    """A policy of :data:`swim.settings.registry.POLICIES`, for :func:`swim.evaluate`.

    Args:
        name: such as ``"marginal"``.
        budget: normalised write cycles to spend; 1 is the expected cost of full write-verify.
        scores: weight name -> ``H_ii * max|W_layer|^2``, as :func:`swim.sensitivity` returns them.

    Raises:
        SettingError: no policy has the name, or the budget is negative.
    """
    found = registry.find("policy", registry.canonical("policy", name))
    make = found if callable(found) else functools.partial(Greedy, found)
    policy: Budgeted = make(budget, scores)
    return policy
