"""Devices from settings: the one place where names, files and imports are resolved."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from swim.devices import custom, known
from swim.devices.bit_sliced import Device
from swim.settings import DeviceSettings, VariationSettings, registry, validation


def of_settings(settings: DeviceSettings | Mapping[str, Any], sigma: str | float) -> Device:
    """The device that settings describe.

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
    if chosen is not None and chosen.name is not None:
        known.variation(chosen.name, settings.K)  # refuses a K by the device's name
    return Device(
        sigma=float(sigma),
        **settings.model_dump(exclude={"variation"}),
        variation=None if chosen is None else _variation(chosen),
        equal_variance=chosen is not None and chosen.equal_variance,
    )


def variation(name: str, arguments: Mapping[str, Any] | None = None) -> Callable[[Tensor], Tensor]:
    """How a device's error depends on its level, by the name that ``config.yaml`` knows it by.

    Args:
        name: a key of :data:`swim.settings.registry.VARIATIONS`, such as ``"rram4"``, or the import
            of a function or class of your own, ``"package.module:function"``.
        arguments: of that function or class.

    Returns:
        A function of levels, for the argument ``variation`` of :class:`swim.Device`, which tries it
        at every level.

    Raises:
        SettingError: no device has the name, or the import cannot be made.
    """
    key = "import" if ":" in str(name) else "name"
    content = {key: name, "arguments": dict(arguments or {})}
    return _variation(validation.parse(VariationSettings, content, "variation"))


def _variation(settings: VariationSettings) -> Callable[[Tensor], Tensor]:
    if settings.factory is not None:
        return custom.make(settings.factory, settings.arguments)
    if settings.name is not None:
        found: Callable[[Tensor], Tensor] = registry.find("variation", settings.name)
        return found
    table: Callable[[Tensor], Tensor] = registry.find("variation", settings.source)(settings.table)
    return table
