"""Policies by name."""

import functools
from collections.abc import Mapping

from torch import Tensor

from swim.programming.budgeted import Budgeted, Greedy
from swim.settings import registry


def policy(name: str, budget: float, scores: Mapping[str, Tensor]) -> Budgeted:
    """A programming policy by the name that ``config.yaml`` knows it by.

    Args:
        name: a key of :data:`swim.settings.registry.POLICIES`, such as ``"marginal"``.
        budget: normalised write cycles to spend; 1 is the expected cost of full write-verify.
        scores: weight name -> ``H_ii * max|W_layer|^2``, as :func:`swim.sensitivity` returns them.

    Returns:
        For the argument ``policy`` of :func:`swim.evaluate`.

    Raises:
        SettingError: no policy has the name, the budget is negative, or scores are raw second
            derivatives or not finite.
    """
    known = registry.canonical("policy", name)
    found = registry.find("policy", known)
    make = found if callable(found) else functools.partial(Greedy, found)
    made: Budgeted = make(budget, scores)
    made.name = known
    return made


of_name = policy
