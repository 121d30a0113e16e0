"""Networks by name, built without importing torch until one is asked for."""

from importlib import import_module
from typing import TYPE_CHECKING

from swim.errors import SettingError

if TYPE_CHECKING:
    from torch import nn

# name -> "module:function"; the function takes (in_channels, classes).
NETWORKS = {"lenet": "swim.models.lenet:LeNet"}


def build(name: str, *, in_channels: int, classes: int) -> "nn.Module":
    """A float network of the paper, with torch's default initialisation.

    Raises:
        SettingError: there is no network of that name.
    """
    if name not in NETWORKS:
        raise SettingError(f"unknown network {name!r}; known: {', '.join(NETWORKS)}")
    module, function = NETWORKS[name].split(":")
    network: nn.Module = getattr(import_module(module), function)(in_channels, classes)
    return network
