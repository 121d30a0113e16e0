"""The environment variable that turns machine code made at run time off."""

import os

from swim.errors import SettingError, short

VARIABLE = "SWIM_COMPILED"


def is_on() -> bool:
    """Whether code may be compiled at run time: unless ``SWIM_COMPILED=0`` is in the environment.

    That is passes of networks (:mod:`swim.engine.compiled`) and normals (:mod:`.normals`).

    Raises:
        SettingError: the variable has another value than 0 or 1.
    """
    value = os.environ.get(VARIABLE, "1")
    if value not in ("0", "1"):
        raise SettingError(
            f"the environment variable {VARIABLE} must be 1 (machine code where it is faster, as "
            f"without the variable) or 0 (PyTorch's and numpy's operations alone), not "
            f"{short(value)}"
        )
    return value == "1"
