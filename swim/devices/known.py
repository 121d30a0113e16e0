"""Devices that settings choose by name; no torch, so that a pipeline can ask before any work."""

from typing import Any

from swim.errors import SettingError
from swim.settings import registry


def variation(name: str, bits: int) -> Any:
    """The variation of a name in ``VARIATIONS``, for devices of so many bits.

    Raises:
        SettingError: nothing has the name, or the variation's ``check`` refuses these devices.
    """
    chosen = registry.find("variation", name)
    check = getattr(chosen, "check", None)
    try:
        if check is not None:
            check(bits)
    except SettingError as error:
        raise SettingError(f"variation {name!r}: {error}") from None
    return chosen
