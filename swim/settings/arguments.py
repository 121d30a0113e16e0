"""Numbers that Python callers pass: of the right kind, in range, and numpy's taken as Python's.

A bool is no number here, text neither, and NaN compares false with any limit: each is refused by
the argument's name before it reaches a formula or the key of a random generator.
"""

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from swim.errors import SettingError, short

LARGEST = 2**63 - 1


def number(
    name: str,
    value: Any,
    low: float,
    high: float = math.inf,
    *,
    above: bool = False,
    infinite: bool = False,
) -> float:
    """A finite number in ``[low, high]``, or in ``(low, high]`` with ``above``, as a float.

    Args:
        name: of the argument.
        value: what was passed for it.
        low: the least.
        high: the most.
        above: whether ``low`` itself is too little.
        infinite: whether infinity will do.

    Raises:
        SettingError: it is none; the message has the name, the value and what is allowed.
    """
    plain = _scalar(value)
    kind = "a number, "
    if isinstance(plain, int | float) and not isinstance(plain, bool):
        kind = ""
        found = _as_float(plain)
        inside = low < found if above else low <= found
        if inside and found <= high and (infinite or math.isfinite(found)):
            return found
    limits = _limits(low, high, above)
    if not infinite and high == math.inf:
        limits = f"finite and {limits}" if plain == math.inf else limits
    raise SettingError(f"{name} must be {kind}{limits}, not {short(value)}")


def _as_float(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of more than 308 digits
        return math.inf


def whole(name: str, value: Any, low: int = 0, high: int = LARGEST) -> int:
    """A whole number in ``[low, high]``, as Python's int.

    Raises:
        SettingError: it is none; the message has the name, the value and what is allowed.
    """
    plain = _scalar(value)
    kind = "a whole number, "
    if isinstance(plain, int) and not isinstance(plain, bool):
        kind = ""
        if low <= plain <= high:
            return plain
    most = high if high < LARGEST or (not kind and plain > high) else math.inf
    raise SettingError(f"{name} must be {kind}{_limits(low, most)}, not {short(value)}")


def flag(name: str, value: Any) -> bool:
    """True or False, numpy's too.

    Raises:
        SettingError: it is something else, such as the text "no", which Python takes for true.
    """
    plain = _scalar(value)
    if isinstance(plain, bool):
        return plain
    raise SettingError(f"{name} must be True or False, not {short(value)}")


def _scalar(value: Any) -> Any:
    """A scalar of numpy or torch as Python's; anything else as it is."""
    if not isinstance(value, int | float | str) and getattr(value, "ndim", None) == 0:
        return value.item()
    if type(value) is not bool and isinstance(value, int):
        return operator.index(value)
    return value


def _limits(low: float, high: float, above: bool = False) -> str:
    least = f"at least {low:g}"
    if above:
        least = "positive" if low == 0 and high == math.inf else f"above {low:g}"
    return least if high == math.inf else f"{least} and at most {high:g}"


def call_text(name: str, arguments: Mapping[str, Any]) -> str:
    """A call with keyword arguments as a message shows it: ``name(key=value)``."""
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"


def call_custom(name: str, function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """The result of a user's function.

    Args:
        name: of the function, for the message.
        function: the user's.
        arguments: its keyword arguments.

    Raises:
        SettingError: the function raises.
    """
    try:
        return function(**arguments)
    except Exception as error:  # whatever a user's code raises
        raise SettingError(f"{call_text(name, arguments)} raised {error!r}") from error
