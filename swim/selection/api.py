"""``swim.select``: a mask from scores, or by a selection method, as the pipeline makes it."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from swim.errors import SettingError, short
from swim.selection import scoring
from swim.selection.chosen import Mask
from swim.selection.masks import mask_of, relative_magnitude
from swim.selection.scores.base import Inputs, Method
from swim.settings import registry
from swim.settings.arguments import whole

if TYPE_CHECKING:
    from torch import Tensor, nn

Layers = dict[str, np.ndarray]


def select(
    scores: "Mapping[str, Tensor] | None" = None,
    fraction: str | float | Decimal | None = None,
    *,
    tie_break: "nn.Module | Mapping[str, Tensor] | None" = None,
    method: str | Callable[[Inputs], Any] | None = None,
    weights: "Mapping[str, Tensor] | None" = None,
    curvature: "Mapping[str, Tensor] | None" = None,
    seed: int = 0,
) -> "Mask":
    """Choose the weights to write-verify: by scores, or by a selection method.

    By scores: ``select(scores, 0.1)``. By a method: ``select(method="fisher", fraction=0.1,
    weights=..., curvature=...)``, the mask that the pipeline makes of the same weights and second
    derivatives, bit for bit.

    Args:
        scores: name -> tensor shaped like the weight, as :func:`swim.sensitivity` returns.
        fraction: fraction of all scored weights, in [0, 1]; a float stands for its shortest
            decimal spelling, so 0.1 is exactly a tenth.
        tie_break: with scores, the model, or its weights by name: equal scores are ordered by
            ``|W| / max|W_layer|``. Without it, and after it, by position. A method's equal scores
            are always ordered so.
        method: instead of scores, a name of :data:`swim.settings.registry.METHODS`, the import of
            a function of your own (``"package.module:function"``), or the function: of
            :class:`swim.selection.scores.base.Inputs`, it returns name -> array of scores.
        weights: what a method ranks, as :func:`swim.programmed_weights` returns them.
        curvature: what a method ranks by, if it needs it: raw second derivatives, as
            :func:`swim.curvature.second_derivative` returns them, by the method's estimator.
        seed: of the methods that draw.

    Returns:
        name -> bool tensor where the scores (or weights) are, a dict whose ``repr`` says how many
        are True: exactly ``floor(fraction * n + 1/2)``.

    Raises:
        SettingError: the fraction is out of range, the method unknown or without what it needs,
            NaN among the scores, or a tie-break, weights or curvature that do not fit.
    """
    if fraction is None:
        raise SettingError(
            "fraction None is not a number; give the part of the weights to verify, in [0, 1]"
        )
    if method is None:
        arrays, like = _given(scores, weights, curvature), scores
        by = getattr(scores, "estimator", None) or "scores"
        ties = None if tie_break is None else relative_magnitude(_weights(tie_break, list(arrays)))
    else:
        if scores is not None or tie_break is not None:
            raise SettingError(
                "give scores (and tie_break) or a method, not both; a method takes weights= and "
                "curvature=, and orders equal scores by |W| / max|W_layer|"
            )
        arrays, ties = ranking(method, weights, curvature, seed)
        like, by = weights, label(method)
    assert like is not None
    return masked(arrays, fraction, ties, like, by)


def ranking(
    method: str | Callable[[Inputs], Any],
    weights: "Mapping[str, Tensor] | None",
    curvature: "Mapping[str, Tensor] | None",
    seed: int = 0,
) -> tuple[Layers, Layers]:
    """What a method's masks of any fraction are made from: its scores, and what orders equal ones.

    Args and errors are those of :func:`select`.
    """
    inputs = _inputs(method, weights, curvature, seed)
    return scoring.scores(_method(method, inputs), inputs), relative_magnitude(inputs.weights)


def masked(
    scores: Layers,
    fraction: str | float | Decimal,
    ties: Layers | None,
    like: "Mapping[str, Tensor]",
    by: str,
) -> "Mask":
    """The mask of one fraction, as tensors on the torch devices of ``like``."""
    import torch

    mask = Mask(
        (name, torch.from_numpy(layer).to(torch.as_tensor(like[name]).device))
        for name, layer in mask_of(scores, fraction, ties).items()
    )
    mask.by = by
    return mask


def _given(scores: Any, weights: Any, curvature: Any) -> Layers:
    if not isinstance(scores, Mapping):
        raise SettingError(
            "scores must be a mapping name -> tensor, as swim.sensitivity returns, not "
            f"{short(scores)}; without scores give a method, of {', '.join(registry.METHODS)}"
        )
    if weights is not None or curvature is not None:
        raise SettingError("weights and curvature are for a method; with scores give tie_break")
    return {name: _array(layer) for name, layer in scores.items()}


def _method(method: Any, inputs: Inputs) -> Method:
    """A method by its name, its import or its function."""
    needs = "weights" if inputs.curvature is None else "curvature"
    if isinstance(method, str) and ":" in method:
        return scoring.imported(method, needs, {})
    if not isinstance(method, str):
        return scoring.CustomMethod(label(method), method, needs)
    return scoring.method(method)


def label(method: Any) -> str:
    """What messages call a method."""
    return (
        method
        if isinstance(method, str)
        else getattr(method, "__qualname__", type(method).__name__)
    )


def _inputs(method: Any, weights: Any, curvature: Any, seed: Any) -> Inputs:
    """What a method receives, checked against what it needs."""
    if not isinstance(method, str) and not callable(method):
        raise SettingError(f"method must be a name or a function, not {short(method)}")
    named = isinstance(method, str) and ":" not in method
    needs = registry.find("selection method", method).NEEDS if named else None
    if not isinstance(weights, Mapping) or not weights:
        raise SettingError(
            "a method needs weights=, a mapping name -> tensor of all programmed weights, as "
            f"swim.programmed_weights(model, batches) returns; not {short(weights)}"
        )
    layers = {name: _array(weight) for name, weight in weights.items()}
    if needs == "weights":
        return Inputs(layers, None, whole("seed", seed))
    if curvature is None:
        if needs is None:
            return Inputs(layers, None, whole("seed", seed))
        raise SettingError(f"method {method!r} needs curvature=, raw second derivatives: "
                           f"{_how_to_make(needs)}")  # fmt: skip
    return Inputs(layers, _curvature(method, needs, curvature, layers), whole("seed", seed))


def _how_to_make(needs: str | None) -> str:
    """The call that makes what a method ranks by."""
    if needs in (None, "curvature"):
        return (
            "swim.curvature.second_derivative(model, batches, estimator=...), by any estimator; "
            "the pipeline's default is 'recursion'"
        )
    return f"swim.curvature.second_derivative(model, batches, estimator={needs!r})"


def _curvature(method: Any, needs: str | None, curvature: Any, layers: Layers) -> Layers:
    """Second derivatives in the order of the weights.

    Raises:
        SettingError: they are none, of another estimator, or do not fit the weights.
    """
    if not isinstance(curvature, Mapping):
        raise SettingError(f"curvature must be a mapping name -> tensor, not {short(curvature)}: "
                           f"{_how_to_make(needs)}")  # fmt: skip
    if getattr(curvature, "scaled", False):
        raise SettingError(
            "curvature is what swim.sensitivity returns, already times max|W_layer|^2; give raw "
            f"second derivatives: {_how_to_make(needs)}"
        )
    made_by = getattr(curvature, "estimator", None)
    if needs not in (None, "curvature") and made_by not in (None, needs):
        raise SettingError(f"method {method!r} needs the estimator {needs!r}, but curvature was "
                           f"made by {made_by!r}: {_how_to_make(needs)}")  # fmt: skip
    if other := [str(name) for name in curvature if name not in layers]:
        raise SettingError(f"curvature has {', '.join(other)}, which weights do not have")
    found = {}
    for name, weight in layers.items():
        if name not in curvature:
            raise SettingError(f"curvature has nothing for {name!r}, of shape {weight.shape}")
        found[name] = _array(curvature[name])
        if found[name].shape != weight.shape:
            raise SettingError(f"curvature of {name!r} has the shape {found[name].shape}, its "
                               f"weights {weight.shape}")  # fmt: skip
        if not np.isfinite(found[name]).all():
            raise SettingError(f"curvature of {name!r} has values that are not finite, which "
                               "cannot be ranked")  # fmt: skip
    return found


def _array(tensor: Any) -> np.ndarray:
    """A tensor as numpy has it, in its own precision; float32 for the halves that numpy lacks."""
    if not hasattr(tensor, "detach"):
        return np.asarray(tensor)
    plain = tensor.detach().cpu()
    return np.asarray(plain.float() if str(plain.dtype) == "torch.bfloat16" else plain)


def _weights(source: Any, names: list[str]) -> Layers:
    if isinstance(source, Mapping):
        return {name: _array(source[name]) for name in names if name in source}
    weights = {}
    for name in names:
        value = source
        for part in name.split("."):
            value = getattr(value, part, None)
        if value is None:
            raise SettingError(f"tie_break: the model has no weight {name!r}")
        weights[name] = _array(value)
    return weights
