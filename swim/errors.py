"""Errors that a user can act on."""


class SwimError(Exception):
    """Base of all errors that SWIM raises on bad input; the message says what to do."""


class SettingError(SwimError, ValueError):
    """A setting or argument is unknown, out of range or misspelt."""


class DataError(SwimError, ValueError):
    """A file or data set is missing, incomplete or of the wrong kind."""


class UnsupportedOperationError(SwimError, NotImplementedError):
    """The network cannot be measured or programmed without a guess; the message names the cause."""


def short(value: object, most: int = 80) -> str:
    """A value as it appears in messages, shortened if it is long."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no integers of more than 4,300 digits
        return "a number of more than 4,300 digits"
    return text if len(text) <= most else f"{text[: most // 2]}... ({len(text)} characters)"
