"""Where write cycles go: the devices of each layer and slice that a method rewrites."""

from collections.abc import Mapping
from typing import Protocol

import pandas as pd
import torch
from torch import Tensor

from swim.devices.bit_sliced import Device
from swim.programming.chip import Chip


class Spending(Protocol):
    """What says which devices of a chip it rewrites: a mask, or a policy that keeps account."""

    def spent(self, chip: Chip) -> Mapping[str, Tensor]:
        """Cycles of each device, layer by layer: (slices, weights)."""


def table(
    methods: Mapping[str, Spending],
    targets: Mapping[str, Tensor],
    *,
    device: Device,
    seed: int,
    chips: int,
) -> pd.DataFrame:
    """Program chips, without evaluating them, and count.

    Args:
        methods: by name; each spends its own budget.
        targets: layer -> ideal weight.
        device: the memory device.
        seed: of the devices' draws: chips are those of ``swim evaluate``.
        chips: how many.

    Returns:
        One row a method, layer and slice (0 is the most significant): devices, the part of them
        with at least one cycle beyond their first (rewritten), and their mean number of these
        (cycles), averaged over chips. In the closed form, whose cycles are expected ones,
        ``rewritten`` is the part that is verified.
    """
    records = []
    for method, spending in methods.items():
        sums: dict[str, Tensor] = {}
        for index in range(chips):
            with torch.no_grad():
                spent = spending.spent(Chip(targets, device, seed, index))
            for layer, cycles in spent.items():
                own = torch.stack([(cycles > 0).double().mean(1), cycles.double().mean(1)])
                sums[layer] = sums[layer] + own if layer in sums else own
        for layer, own in sums.items():
            for place, (rewritten, cycles) in enumerate((own / chips).T.tolist()):
                row = {"method": method, "layer": layer, "slice": place}
                row["devices"] = targets[layer].numel()
                records.append({**row, "rewritten": rewritten, "cycles": cycles})
    return pd.DataFrame(records)
