"""Says where the recursion's scores are far off, and what to take instead."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import Tensor

from swim.curvature.rules.attention import attention
from swim.curvature.rules.averages import adaptive_avg_pool, avg_pool, avg_pool1d, mean
from swim.curvature.rules.base import RULES, active
from swim.curvature.rules.contractions import product
from swim.networks.weights.operations import tensors_in

LOG = logging.getLogger("swim")
_WRITTEN: ContextVar[set[str]] = ContextVar("written")
_AVERAGES = {adaptive_avg_pool, avg_pool, avg_pool1d, mean}


def coherent(func: Any, args: tuple[Any, ...], result: Any) -> str:
    """What a call is, where the recursion drops terms that count; nothing elsewhere.

    Positions that are averaged, and scores of attention, move together with one weight, so that
    the terms between them, which the recursion drops, are as large as those that it keeps.
    """
    rule = RULES.get(func)
    if rule is attention or (rule is product and sum(map(active, tensors_in(args))) > 1):
        return "attention"
    if rule in _AVERAGES and args and isinstance(args[0], Tensor):
        before, after = args[0].shape[2:], result.shape[2:]
        # Of a mean over positions that are no longer there, the shape tells as well.
        if before.numel() > 1 and after.numel() < before.numel() and after.numel() <= 1:
            return "a global average pool"
    return ""


@contextmanager
def once() -> Iterator[None]:
    """Within this, the same advice is written once: a pass at programmed chips has many passes."""
    token = _WRITTEN.set(set())
    try:
        yield
    finally:
        _WRITTEN.reset(token)


def advise(found: set[str]) -> None:
    """One line in the log."""
    written = _WRITTEN.get(set())
    found = found - written
    written |= found
    if found:
        LOG.warning(
            "the recursion (estimator recursion, method swim) meets %s: it drops the terms between "
            "positions there, and the scores of the weights before it may be far off; "
            "gauss_newton_probe, the estimator and the method, keeps them at the same cost",
            " and ".join(sorted(found)),
        )
