"""The register of rules, and the error for what is not in it."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from swim.errors import UnsupportedOperationError
from swim.networks.weights.operations import operation_name

RULES: dict[Any, Callable[..., Tensor]] = {}


def rule(*functions: Any) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Register a rule, called as ``rule(func, *args, **kwargs)``, for some functions."""

    def register(handler: Callable[..., Tensor]) -> Callable[..., Tensor]:
        RULES.update(dict.fromkeys(functions, handler))
        return handler

    return register


def refuse(func: Any, why: str) -> UnsupportedOperationError:
    """The error for an operation, or a use of one, that has no rule."""
    return UnsupportedOperationError(
        f"the second-derivative recursion cannot pass through {operation_name(func)}: {why}. "
        'swim.sensitivity(model, batches, estimator="gauss_newton_probe") takes any differentiable '
        "network at the same cost (in a pipeline: the method gauss_newton_probe, or estimator: "
        "gauss_newton_probe); or rewrite that part with operations that docs/sensitivity.md lists"
    )


def active(value: Any) -> bool:
    """Whether second derivatives flow through a value: it depends on a programmed weight."""
    return isinstance(value, Tensor) and value.requires_grad


def owned(out: Tensor) -> Tensor:
    """A result that the model may write to: as a view, autograd would forbid it."""
    return out.clone() if out._is_view() else out
