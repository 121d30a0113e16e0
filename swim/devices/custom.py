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
        wanted = f"it must return a tensor shaped like the levels, {tuple(levels.shape)}"
        if not isinstance(factors, Tensor):
            raise SettingError(f"{self._name} returned {type(factors).__name__}; {wanted}")
        if factors.shape != levels.shape:
            shape = tuple(factors.shape)
            raise SettingError(f"{self._name} returned a tensor of shape {shape}; {wanted}")
        wrong = ~(torch.isfinite(factors) & (factors >= 0))
        if wrong.any():
            raise SettingError(
                f"{self._name} returned the factor {float(factors[wrong][0]):g} at level "
                f"{float(levels[wrong][0]):g}; factors of sigma must be finite and not negative"
            )
        return factors.to(levels)

    def check(self, bits: int) -> None:
        """Call the user's own ``check(bits)``, if there is one, which may refuse a K.

        Raises:
            SettingError: it raises.
        """
        check = getattr(self._function, "check", None)
        if check is None:
            return
        try:
            check(bits)
        except SwimError:
            raise
        except Exception as error:  # whatever code of the user's raises
            raise SettingError(f"{self._name}.check({bits}) raised {error!r}") from error


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
            raise SettingError(f"{name} is neither a function nor a class: {found!r}")
        return Own(name, partial(found, **arguments))
    made = call_custom(name, found, arguments)
    if not callable(made):
        call = call_text(name, arguments)
        raise SettingError(
            f"{call} cannot be called with levels; give its class a method __call__(self, levels)"
        )
    return Own(name, made)
