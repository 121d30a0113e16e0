"""The methods of :func:`swim.sweep`: their names, and the masks and policies of their points."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from torch import Tensor, nn

from swim.curvature.estimate import scaled, second_derivative
from swim.curvature.spread import Estimate
from swim.errors import SettingError, short
from swim.programming.chip import Policy
from swim.programming.lookup import policy
from swim.programming.mask import VerifyMask
from swim.selection.api import label, masked, ranking, select
from swim.selection.scores.base import Layers, estimator_of
from swim.settings import decimals, policies, registry

Method = Any  # a name, an import, a function of inputs, or scores


class SweptPolicies:
    """Masks and policies of methods; what several need is computed once."""

    def __init__(
        self,
        model: nn.Module,
        training: Iterable[tuple[Any, Any]],
        estimator: str,
        seed: int,
        digital: tuple[str, ...],
        inputs: str | Sequence[str] | None,
        weights: dict[str, Tensor],
    ):
        self._model, self._estimator, self._seed, self._weights = model, estimator, seed, weights
        self._training = training if isinstance(training, list) else list(training)
        self._rest: dict[str, Any] = {"seed": seed, "digital": digital, "inputs": inputs}
        self._estimates: dict[str, Estimate] = {}

    def of(self, method: Method, parts: list[str]) -> Iterator[tuple[str, Callable[[], Policy]]]:
        """The points of a method that it shares with no other, and what makes each."""
        if isinstance(method, Mapping):
            for part in policies.own_points("", parts):
                yield part, functools.partial(self._of_scores, method, part)
            return
        if isinstance(method, str) and method in registry.POLICIES:
            sensitivities = scaled(self._estimate(self._estimator), self._weights)
            for part in policies.own_points(method, parts):
                yield part, functools.partial(policy, method, float(part), sensitivities)
            return
        needs = (
            "curvature"
            if callable(method) or ":" in method
            else registry.find("selection method", method).NEEDS
        )
        name = estimator_of(needs, self._estimator)
        curvature = None if name is None else self._estimate(name)
        scores, ties = ranking(method, self._weights, curvature, self._seed)
        for part in policies.own_points("", parts):
            yield part, functools.partial(self._of_ranking, scores, ties, part, label(method))

    def _of_scores(self, scores: Mapping[str, Tensor], part: str) -> Policy:
        return VerifyMask(select(scores, part, tie_break=self._weights))

    def _of_ranking(self, scores: Layers, ties: Layers, part: str, by: str) -> Policy:
        return VerifyMask(masked(scores, part, ties, self._weights, by))

    def _estimate(self, name: str) -> Estimate:
        if name not in self._estimates:
            self._estimates[name] = second_derivative(
                self._model, self._training, estimator=name, **self._rest
            )
        return self._estimates[name]


def named(methods: Iterable[Method] | Mapping[str, Method]) -> dict[str, Method]:
    """Methods by name.

    Raises:
        SettingError: there are none, a name is there twice or that of an end point, or a policy
            has a name that is not its own, by which tables know how its curve begins and ends.
    """
    if isinstance(methods, str) or not isinstance(methods, Iterable):
        raise SettingError(f"methods must be names or a mapping, not {short(methods)}")
    named = list(methods.items()) if isinstance(methods, Mapping) else [
        (label(method), method) for method in methods
    ]  # fmt: skip
    if not named:
        raise SettingError(f"methods is empty; known are {', '.join(registry.METHODS)}, and "
                           f"policies {', '.join(registry.POLICIES)}")  # fmt: skip
    found: dict[str, Method] = {}
    for name, method in named:
        if not isinstance(method, Mapping | str) and not callable(method):
            raise SettingError(f"method {name} must be a name, a function or scores, not "
                               f"{short(method)}")  # fmt: skip
        if name in found or name in ("none", "all", "clean", policies.IN_SITU):
            raise SettingError(f"a method's name must be its own, and {name!r} is taken")
        if method != name and {name, method if isinstance(method, str) else ""} & set(
            registry.POLICIES
        ):
            raise SettingError(f"{name!r}: a policy keeps its name, which says how its curve ends")
        found[str(name)] = method
    return found


def decimals_of(name: str, values: Iterable[str | float]) -> list[str]:
    """Numbers in the spelling of tables.

    Raises:
        SettingError: there are none, one is no number of at least zero, or one is there twice.
    """
    if isinstance(values, str | int | float | Decimal):
        values = [values]
    found = [spelt(name, value) for value in values]
    if not found or len(set(found)) < len(found):
        said = f"has {', '.join(found)}" if found else "is empty"
        raise SettingError(f"{name} {said}; give numbers, each once")
    return found


def spelt(name: str, value: Any) -> str:
    """A number in the spelling of tables.

    Raises:
        SettingError: it is no number of at least zero.
    """
    plain = value.item() if getattr(value, "ndim", None) == 0 else value
    try:
        exact = Decimal("nothing" if isinstance(plain, bool) else str(plain))
    except InvalidOperation:
        raise SettingError(f"{name}: {short(value)} is not a number") from None
    if not exact.is_finite() or exact < 0:
        raise SettingError(f"{name}: {short(value)} must be a finite number of at least 0")
    return decimals.spelt(exact)
