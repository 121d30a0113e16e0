"""A device of the user's own code: factors of sigma by level."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from swim.errors import SettingError, SwimError
from swim.settings import registry


class Own:
    """A user's function of levels, whose answers are checked."""

    def __init__(self, name: str, function: Callable[[Tensor], Any]):
        self._name, self._function = name, function

    def __call__(self, levels: Tensor) -> Tensor:
        """Factors of sigma at levels, alike in shape.

        Raises:
            SettingError: the function raises, or gives something else than factors.
        """
        try:
            factors = self._function(levels)
        except SwimError:
            raise
        except Exception as error:  # whatever code of the user's raises
            raise SettingError(f"{self._name} raised {error!r}") from error
        wanted = f"it must give a tensor like the levels, {tuple(levels.shape)}"
        if not isinstance(factors, Tensor):
            raise SettingError(f"{self._name} gave {type(factors).__name__}; {wanted}")
        if factors.shape != levels.shape:
            raise SettingError(f"{self._name} gave the shape {tuple(factors.shape)}; {wanted}")
        if not (torch.isfinite(factors) & (factors >= 0)).all():
            raise SettingError(f"{self._name} gave a factor that is negative or not finite")
        return factors.to(levels)


def make(name: str, arguments: Mapping[str, Any]) -> Own:
    """A device by its import.

    Args:
        name: ``package.module:function``, a function of (levels, **arguments), or a class whose
            instances, made with the arguments, are functions of levels.
        arguments: of it.

    Raises:
        SettingError: it cannot be imported or made.
    """
    found = registry.find("variation", name)
    if not isinstance(found, type):
        if not callable(found):
            raise SettingError(f"{name} is no function and no class: {found!r}")
        return Own(name, partial(found, **arguments))
    given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    try:
        made = found(**arguments)
    except Exception as error:  # whatever code of the user's raises
        raise SettingError(f"{name}({given}) raised {error!r}") from error
    if not callable(made):
        raise SettingError(f"{name}({given}) cannot be called with levels; give it __call__")
    return Own(name, made)
