"""Scores by a method of the registry or by a function of the user's own, with their inputs checked.

The one place for the commands and for :func:`swim.select`.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from swim.errors import SettingError
from swim.selection.scores.base import Inputs, Layers, Method, Needs
from swim.settings import CustomScore, registry
from swim.settings.arguments import call_custom


class CustomMethod:
    """A selection method by a function of the user's own, whose results are checked.

    Attributes:
        NEEDS: ``weights``, ``curvature``, or the name of an estimator, as those of a method's file
            (:mod:`swim.selection.scores`).
    """

    def __init__(
        self,
        label: str,
        function: Callable[..., Any],
        needs: Needs,
        arguments: Mapping[str, Any] | None = None,
    ):
        """A method.

        Args:
            label: the function's import, or what else messages call it.
            function: of :class:`swim.selection.scores.base.Inputs` and the arguments, that returns
                one array per weight tensor, shaped like it.
            needs: see :attr:`NEEDS`.
            arguments: keyword arguments of the function.
        """
        self.NEEDS = needs
        self._label, self._function, self._arguments = label, function, dict(arguments or {})

    def score(self, inputs: Inputs) -> Layers:
        """The function's scores, as float64 in the order of the weights.

        The function is called twice, with arrays that it cannot write to.

        Raises:
            SettingError: it raises, changes its inputs, returns something other than one finite
                number per weight, or returns other scores when it is asked again.
        """
        scores, again = self._scores(inputs), self._scores(inputs)
        for name, layer in scores.items():
            if not np.array_equal(layer, again[name]):
                raise SettingError(
                    f"{self._label} gives other scores of {name!r} when asked again; let it draw "
                    "from numpy.random.default_rng(inputs.seed), so that masks can be made again"
                )
        return scores

    def _scores(self, inputs: Inputs) -> Layers:
        curvature = None if inputs.curvature is None else _read_only(inputs.curvature)
        own = Inputs(_read_only(inputs.weights), curvature, inputs.seed)
        result = call_custom(self._label, partial(self._function, own), self._arguments)
        if not isinstance(result, Mapping):
            raise SettingError(
                f"{self._label} gave {type(result).__name__}; it must give a mapping, weight name "
                "-> array of scores"
            )
        missing = [name for name in inputs.weights if name not in result]
        unknown = [str(name) for name in result if name not in inputs.weights]
        if missing or unknown:
            lacks = f"gave no scores of {', '.join(missing)}" if missing else ""
            adds = f"gave scores of {', '.join(unknown)}, which no device holds" if unknown else ""
            raise SettingError(f"{self._label} {' and '.join(filter(None, (lacks, adds)))}")
        return {name: self._layer(name, result[name], w) for name, w in inputs.weights.items()}

    def _layer(self, name: str, values: Any, weight: np.ndarray) -> np.ndarray:
        plain = values.detach().cpu() if hasattr(values, "detach") else values
        try:
            layer = np.asarray(plain)
        except Exception as error:  # numpy's, or that of the user's class
            raise SettingError(
                f"{self._label}: scores of {name!r} are no array ({error})"
            ) from error
        if layer.dtype.kind not in "biuf":
            raise SettingError(f"{self._label}: scores of {name!r} are {layer.dtype}, not numbers")
        if layer.shape != weight.shape:
            raise SettingError(
                f"{self._label}: scores of {name!r} have the shape {layer.shape}, its weights "
                f"{weight.shape}"
            )
        layer = layer.astype(np.float64)
        if wrong := int((~np.isfinite(layer)).sum()):
            raise SettingError(
                f"{self._label}: {wrong} of {layer.size} scores of {name!r} are not finite, which "
                "cannot be ranked"
            )
        return layer


def _read_only(layers: Layers) -> Layers:
    views = {name: layer.view() for name, layer in layers.items()}
    for view in views.values():
        view.flags.writeable = False
    return views


def imported(name: str, needs: Needs, arguments: Mapping[str, Any]) -> CustomMethod:
    """A method by the import of its function, ``package.module:function``.

    Raises:
        SettingError: it cannot be imported, or is no function.
    """
    function = registry.find("selection method", name)
    if not callable(function):
        raise SettingError(f"{name} is no function of inputs, but {function!r}")
    return CustomMethod(name, function, needs, arguments)


def method(name: str, score: CustomScore | None = None) -> Method:
    """A selection method, by a name of the registry or with a score of the user's own.

    Raises:
        SettingError: there is no such method, or the user's own cannot be imported.
    """
    if score is not None:
        return imported(score.factory, score.needs, score.arguments)
    known: Method = registry.find("selection method", name)
    return known


def scores(method: Method, inputs: Inputs) -> Layers:
    """A method's scores, in the order of the weights."""
    found = method.score(inputs)
    return {name: found[name] for name in inputs.weights}
