"""Errors that a user can act on."""


class SwimError(Exception):
    """Base of all errors that SWIM raises on bad input; the message says what to do."""


class SettingError(SwimError, ValueError):
    """A setting or argument is unknown, out of range or misspelt."""


class DataError(SwimError, ValueError):
    """A file or data set is missing, incomplete or of the wrong kind."""


class UnsupportedOperationError(SwimError, NotImplementedError):
    """The network contains an operation that the sensitivity pass has no rule for."""
