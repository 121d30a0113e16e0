"""Sigmas and fractions: quoted decimals in one spelling, since they become parts of file names."""

from decimal import Decimal, InvalidOperation
from typing import Any

from swim.errors import short

# A double tells 15 digits apart; more would be other names of the same number.
MOST_DIGITS = 15


def canonical(value: Any, low: Decimal | None, high: Decimal | None, kind: str) -> str:
    """Check that ``value`` is a quoted decimal in its shortest spelling and in range.

    Raises:
        ValueError: it is not; the message shows the right spelling.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f'a {kind} is a quoted decimal such as "0.1", not {short(value)}')
    try:
        number = Decimal(str(value))
        if not number.is_finite():
            raise InvalidOperation
    except (InvalidOperation, ValueError):  # the latter: an integer of more than 4,300 digits
        raise ValueError(
            f'a {kind} is a quoted decimal such as "0.1", not {short(value)}'
        ) from None
    if (low is not None and number < low) or (high is not None and number > high):
        open_below = high is None or (number < high and high > 100)
        limits = f"at least {low}" if open_below else f"between {low} and {high}"
        raise ValueError(f"{kind} {short(value)} is out of range: it must be {limits}")
    if number and (number.adjusted() >= MOST_DIGITS or _last_digit(number) < -MOST_DIGITS):
        raise ValueError(
            f"{kind} {short(value)} has more than {MOST_DIGITS} digits before or after the point; "
            "write it rounded, as a quoted decimal"
        )
    right = spelt(number)
    if not isinstance(value, str):
        raise ValueError(f'{kind} {short(value)} must be quoted: "{right}"')
    if value != right:
        raise ValueError(f'{kind} "{value[:60]}" must be spelt "{right}"')
    return value


def spelt(number: Decimal) -> str:
    """The one spelling of a finite number."""
    return format(number.normalize(), "f") if number else "0"


def _last_digit(number: Decimal) -> int:
    """Power of ten of the last digit that is not zero."""
    _, digits, exponent = number.as_tuple()
    text = "".join(map(str, digits))
    return int(exponent) + len(text) - len(text.rstrip("0"))
