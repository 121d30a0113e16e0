"""A user-defined device: factors of sigma by level from the user's code."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from swim.errors import SettingError, SwimError
from swim.settings import registry
from swim.settings.arguments import call_custom, call_text


class Own:
    """A user's function of levels, whose results are checked."""

    def __init__(self, name: str, function: Callable[[Tensor], Any]):
        self._name, self._function = name, function

    def __call__(self, levels: Tensor) -> Tensor:
        """Factors of sigma at levels, in the same shape.

        Raises:
            SettingError: the function raises, or returns something other than factors.
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
    made = call_custom(name, found, arguments)
    if not callable(made):
        call = call_text(name, arguments)
        raise SettingError(f"{call} cannot be called with levels; give it __call__")
    return Own(name, made)
