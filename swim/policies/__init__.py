"""Programming policies: how the devices of one chip are written.

A policy sees one chip at a time, may read its devices as they came out, and decides which to
write again. A mask fixed beforehand is the simplest policy.
"""

import functools
from collections.abc import Mapping

from torch import Tensor

from swim import registry
from swim.policies.base import Chip, Policy, Programmed
from swim.policies.by_mask import VerifyMask
from swim.policies.greedy import Budgeted, Greedy

__all__ = ["Budgeted", "Chip", "Policy", "Programmed", "VerifyMask", "of_name"]


def of_name(name: str, budget: float, scores: Mapping[str, Tensor]) -> Budgeted:
    """A policy of :data:`swim.registry.POLICIES`, for :func:`swim.evaluate`.

    Args:
        name: such as ``"marginal"``.
        budget: normalised write cycles to spend, 1 is what verifying everything is expected to
            take.
        scores: weight name -> ``H_ii * max|W_layer|^2``, as :func:`swim.sensitivity` gives them.

    Raises:
        SettingError: no policy has the name, or the budget is negative.
    """
    found = registry.find("policy", registry.canonical("policy", name))
    make = found if callable(found) else functools.partial(Greedy, found)
    policy: Budgeted = make(budget, scores)
    return policy
