"""Sigmas and fractions: quoted decimals in one spelling, since they become parts of file names."""

from decimal import Decimal, InvalidOperation
from typing import Any


def canonical(value: Any, low: Decimal | None, high: Decimal | None, kind: str) -> str:
    """Check that ``value`` is a quoted decimal in its shortest spelling and in range.

    Raises:
        ValueError: it is not; the message shows the right spelling.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f'a {kind} is a quoted decimal such as "0.1", not {value!r}')
    try:
        number = Decimal(str(value))
        if not number.is_finite():
            raise InvalidOperation
    except InvalidOperation:
        raise ValueError(f'a {kind} is a quoted decimal such as "0.1", not {value!r}') from None
    if (low is not None and number < low) or (high is not None and number > high):
        limits = f"between {low} and {high}" if high is not None else f"at least {low}"
        raise ValueError(f"{kind} {value!r} is out of range: it must be {limits}")
    right = format(number.normalize(), "f") if number else "0"
    if not isinstance(value, str):
        raise ValueError(f'{kind} {value!r} must be quoted: "{right}"')
    if value != right:
        raise ValueError(f'{kind} "{value}" must be spelt "{right}"')
    return value
