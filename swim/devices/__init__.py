"""Memory devices: how a weight is sliced over them and how their conductance varies."""

from swim.devices.gaussian import Device
from swim.devices.settings import of_settings
from swim.devices.variance import at_equal_variance, relative_variance

__all__ = ["Device", "at_equal_variance", "of_settings", "relative_variance"]
