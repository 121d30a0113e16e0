"""What a row of results depends on beside its job's files and settings."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from swim import settings
from swim.data import level_table
from swim.engine.compiled import is_on
from swim.runtime import code_digest, digests, machine


def circumstances(
    device: settings.DeviceSettings,
    place: torch.device,
    checkpoint: dict[str, Any],
    *home: str,
    **chosen: str,
) -> Iterator[bytes]:
    """The device's table, the machine, and the code of ``home`` and of what is chosen.

    Whether compiled passes are on, too: rows of both kinds differ by rounding, so one file has
    rows of one kind.

    ``chosen``: kind -> name, of the registry, beside the network and the device's variation.
    """
    chosen = chosen | {
        "network": settings.ModelSettings.model_validate(checkpoint["model"]).network
    }
    if device.variation:
        chosen["variation"] = device.variation.source
        if device.variation.table:
            yield json.dumps(level_table.read(device.variation.table)).encode()
    code = code_digest.digest_of(*home, **chosen)
    versions = [torch.__version__, np.__version__, code]
    yield json.dumps([machine.runs_on(place), is_on(), *versions]).encode()


def levels_of(device: settings.DeviceSettings) -> dict[str, str]:
    """A digest of what a measured device's table says, if there is one."""
    table = device.variation.table if device.variation else None
    return {"levels": digests.of_json(level_table.read(table))} if table else {}


def compiled_off() -> dict[str, bool]:
    """What a record says if compiled passes are off: its rows differ from others' by rounding."""
    return {} if is_on() else {"compiled": False}
