"""A user-defined device: factors of sigma by level from the user's code."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor

from swim.errors import SettingError
from swim.settings import registry
from swim.settings.arguments import call_custom, call_text


class Own:
    """A user's function of levels; :class:`swim.Device` checks what it returns.

    Attributes:
        label: its import, for messages.
    """

    def __init__(self, label: str, function: Callable[[Tensor], Any]):
        self.label, self._function = label, function

    def __call__(self, levels: Tensor) -> Any:
        """What the function returns for levels."""
        return self._function(levels)

    @property
    def check(self) -> Callable[[int], Any] | None:
        """The function's own ``check(bits)``, which may refuse a K; None if there is none."""
        check: Callable[[int], Any] | None = getattr(self._function, "check", None)
        return check


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
