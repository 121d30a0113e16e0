"""Devices from settings: the one place where names, files and imports are resolved."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from swim.devices import custom, known
from swim.devices.bit_sliced import Device
from swim.errors import SettingError
from swim.settings import DeviceSettings, VariationSettings, registry, validation


def of_settings(settings: DeviceSettings | Mapping[str, Any], sigma: str | float) -> Device:
    """The device that settings describe; its variation is tried at every level.

    Args:
        settings: a device of ``config.yaml``, such as ``{"K": 2, "variation": {"name": "rram4"}}``.
        sigma: standard deviation of an unverified device, as a fraction of full scale; with a table
            a factor of the measured values.

    Raises:
        SettingError: something is out of range, cannot be imported, or gives no factors.
        DataError: the table is missing or faulty.
    """
    if not isinstance(settings, DeviceSettings):
        settings = validation.parse(DeviceSettings, settings, "device")
    chosen = settings.variation
    variation = None if chosen is None else _variation(chosen, settings.K)
    device = Device(
        sigma=float(sigma),
        **settings.model_dump(exclude={"variation"}),
        variation=variation,
        equal_variance=chosen is not None and chosen.equal_variance,
    )
    if variation is not None:
        _probe(variation, device.K)
    return device


def _variation(settings: VariationSettings, bits: int) -> Callable[[Tensor], Tensor]:
    if settings.factory is not None:
        return custom.make(settings.factory, settings.arguments)
    variation: Callable[[Tensor], Tensor]
    if settings.name is not None:
        variation = known.variation(settings.name, bits)
    else:
        variation = registry.find("variation", settings.source)(settings.table)
    return variation


def _probe(variation: Callable[[Tensor], Tensor], bits: int) -> None:
    """Refuse a variation that returns different factors for the same levels."""
    levels = torch.arange(2**bits) / (2**bits - 1)
    if not torch.equal(variation(levels), variation(levels)):
        raise SettingError(
            "variation: two calls with the same levels returned different factors; a device's "
            "sigma must depend on its level alone"
        )
