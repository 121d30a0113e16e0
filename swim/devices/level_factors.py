"""What a device's variation returns, checked: the one place for named, measured and custom ones."""

from collections.abc import Callable

import torch
from torch import Tensor

from swim.errors import SettingError, SwimError, short

Variation = Callable[[Tensor], Tensor]
_ROUNDING = 1e-5  # between a function's results for few and for many levels at once


def label(variation: Variation) -> str:
    """What messages call a variation: its ``label``, or its Python name."""
    name = getattr(variation, "label", None) or getattr(variation, "__qualname__", None)
    return str(name or type(variation).__name__)


def factors(variation: Variation, levels: Tensor) -> Tensor:
    """Factors of sigma at levels: what the variation returns, in the levels' shape and type.

    Raises:
        SettingError: the variation raises, or returns something other than factors.
    """
    name = label(variation)
    try:
        result = variation(levels)
    except SwimError:
        raise
    except Exception as error:  # whatever a user's code raises
        raise SettingError(f"{name} raised {error!r}") from error
    wanted = f"it must return a tensor shaped like the levels, {tuple(levels.shape)}"
    if not isinstance(result, Tensor):
        raise SettingError(f"{name} returned {type(result).__name__}; {wanted}")
    if result.shape != levels.shape:
        raise SettingError(f"{name} returned a tensor of shape {tuple(result.shape)}; {wanted}")
    if result.is_complex() or result.dtype == torch.bool:
        raise SettingError(f"{name} returned {result.dtype}; {wanted}, of real numbers")
    if result.numel():
        low, high = result.aminmax()  # both are NaN where one factor is
        if not (low >= 0 and high < torch.inf):
            wrong = ~(torch.isfinite(result) & (result >= 0))
            raise SettingError(
                f"{name} returned the factor {float(result[wrong][0]):g} at level "
                f"{float(levels[wrong][0]):g}; factors of sigma must be finite and not negative"
            )
    return result.to(levels)


def require(variation: Variation, bits: int) -> None:
    """Refuse what is no variation of a device of so many bits; it is tried at every level, on CPU.

    Raises:
        SettingError: it cannot be called or hashed, refuses the number of bits, gives no factors,
            or a factor that depends on something other than its level.
    """
    if not callable(variation):
        raise SettingError(
            f"variation must be a function of levels, or None, not {short(variation)}; "
            "swim.variation(name) returns a known device's, swim.table(path) a measured one's"
        )
    try:
        hash(variation)
    except TypeError:
        raise SettingError(
            f"variation: {label(variation)} cannot be hashed; make it a function, or a dataclass "
            "with frozen=True"
        ) from None
    _check_bits(variation, bits)
    levels = torch.arange(2**bits) / (2**bits - 1)
    result = factors(variation, levels)
    alone = "different factors; a device's sigma must depend on its level alone"
    if not torch.equal(result, factors(variation, levels)):
        raise SettingError(
            f"variation: {label(variation)}: two calls with the same levels returned {alone}"
        )
    for few, expected in zip(levels.chunk(2), result.chunk(2), strict=True):
        if not torch.allclose(factors(variation, few), expected, rtol=_ROUNDING, atol=0):
            raise SettingError(
                f"variation: {label(variation)}: calls with some levels and with all returned "
                f"{alone}"
            )


def _check_bits(variation: Variation, bits: int) -> None:
    """Call a variation's ``check(bits)``, if there is one, which may refuse a K.

    Raises:
        SettingError: it raises.
    """
    check = getattr(variation, "check", None)
    if check is None:
        return
    try:
        check(bits)
    except SwimError:
        raise
    except Exception as error:  # whatever a user's code raises
        raise SettingError(f"{label(variation)}.check({bits}) raised {error!r}") from error
