"""Memory devices: how a weight is sliced over them and how their conductance varies."""

from swim.devices.gaussian import Device

__all__ = ["Device"]
