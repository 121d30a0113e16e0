"""From scores to masks: which weights are write-verified.

Numpy on arrays; :func:`swim.select` wraps the same function for tensors.
"""

from collections.abc import Iterable, Mapping
from decimal import ROUND_FLOOR, Decimal, InvalidOperation

import numpy as np

from swim.errors import SettingError, short


def count(fraction: str | float | Decimal, total: int) -> int:
    """The number of ``total`` weights in a fraction: ``floor(fraction * total + 1/2)``, exactly.

    Raises:
        SettingError: the fraction is not a number in [0, 1].
    """
    plain = fraction.item() if getattr(fraction, "ndim", None) == 0 else fraction  # type: ignore[union-attr]
    try:
        exact = Decimal("nothing" if isinstance(plain, bool) else str(plain))
    except (InvalidOperation, ValueError):
        raise SettingError(f"fraction {short(fraction)} is not a number") from None
    if not (exact.is_finite() and 0 <= exact <= 1):
        raise SettingError(
            f"fraction {short(fraction)} is out of range: it must be between 0 and 1"
        )
    return int((exact * total + Decimal("0.5")).to_integral_value(rounding=ROUND_FLOOR))


def relative_magnitude(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """``|W| / max|W_layer|`` of each layer: the tie-break; zero for a layer of zeros."""
    sizes = {name: np.abs(weight) for name, weight in weights.items()}
    return {name: size / (size.max(initial=0) or 1) for name, size in sizes.items()}


def mask_of(
    scores: Mapping[str, np.ndarray],
    fraction: str | float | Decimal,
    ties: Mapping[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """The mask, True = write-verify, with exactly :func:`count` weights over all layers.

    Weights are chosen by score, then by ``ties`` (both falling), then by position: layers in the
    mapping's order, row-major within a layer. Time and memory are linear in the number of weights.

    Args:
        scores: name -> array, in the network's order.
        fraction: fraction of all weights to verify, in [0, 1].
        ties: name -> array of the same shape that orders equal scores.

    Raises:
        SettingError: there are no scores, one is not a number, or a tie-break's shape differs.
    """
    if not scores:
        raise SettingError("there are no scores to select by")
    for name, layer in scores.items():
        if np.isnan(layer).any():
            raise SettingError(f"the scores of {name!r} hold {int(np.isnan(layer).sum())} NaN")
        if ties is not None and (name not in ties or np.shape(ties[name]) != np.shape(layer)):
            found = np.shape(ties[name]) if name in ties else "nothing"
            raise SettingError(
                f"tie_break has {found} for {name!r}, whose scores have shape {np.shape(layer)}"
            )
    ends = np.cumsum([np.size(layer) for layer in scores.values()], dtype=int)
    total = int(ends[-1]) if scores else 0
    keys = [scores] if ties is None else [scores, ties]
    flat = _largest(count(fraction, total), total, [_joined(key, scores) for key in keys])
    return {
        name: part.reshape(np.shape(layer))
        for (name, layer), part in zip(scores.items(), np.split(flat, ends[:-1]), strict=True)
    }


def _joined(key: Mapping[str, np.ndarray], names: Iterable[str]) -> np.ndarray:
    return np.concatenate([np.zeros(0), *(np.ravel(key[name]) for name in names)])


def _largest(wanted: int, total: int, keys: list[np.ndarray]) -> np.ndarray:
    """Bool (total,): the ``wanted`` largest by the first key, equal ones by the next, then first.

    No sorting: a partition finds each key's threshold, and only ties at it go to the next key.
    """
    chosen = np.zeros(total, dtype=bool)
    positions = np.arange(total)
    for key in keys:
        if not 0 < wanted < len(positions):
            break
        values = key if len(positions) == total else key[positions]
        threshold = np.partition(values, len(values) - wanted)[len(values) - wanted]
        above = positions[values > threshold]
        chosen[above] = True
        wanted -= len(above)
        positions = positions[values == threshold]
    chosen[positions[:wanted]] = True
    return chosen
