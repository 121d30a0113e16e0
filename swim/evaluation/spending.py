"""Where a method spends its write cycles: rewritten devices by layer and slice."""

from collections.abc import Mapping
from typing import Protocol

import pandas as pd
import torch
from torch import Tensor

from swim.devices.bit_sliced import Device
from swim.programming.chip import Chip


class Spending(Protocol):
    """A mask or policy that says how many cycles it spends on each device of a chip."""

    def spent(self, chip: Chip) -> Mapping[str, Tensor]:
        """Cycles of each device beyond its first write, layer -> (slices, weights)."""


def table(
    methods: Mapping[str, Spending],
    targets: Mapping[str, Tensor],
    *,
    device: Device,
    seed: int,
    chips: int,
) -> pd.DataFrame:
    """Program chips, without evaluating them, and count cycles.

    Args:
        methods: name -> mask or policy; each spends its own budget.
        targets: layer -> ideal weight.
        device: the memory device.
        seed: seed of the noise; the chips are those of ``swim evaluate``.
        chips: number of chips.

    Returns:
        One row per method, layer and slice (0 is the most significant): the number of devices,
        the fraction of them with at least one cycle beyond the first (rewritten), and the mean
        number of these cycles (cycles), averaged over chips. In the closed form, whose cycles are
        expected values, ``rewritten`` is the fraction that is verified.
    """
    records = []
    for method, spending in methods.items():
        sums: dict[str, Tensor] = {}
        for index in range(chips):
            with torch.no_grad():
                spent = spending.spent(Chip(targets, device, seed, index))
            for layer, cycles in spent.items():
                means = torch.stack([(cycles > 0).double().mean(1), cycles.double().mean(1)])
                sums[layer] = sums[layer] + means if layer in sums else means
        for layer, total in sums.items():
            for number, (rewritten, cycles) in enumerate((total / chips).T.tolist()):
                row = {"method": method, "layer": layer, "slice": number}
                row["devices"] = targets[layer].numel()
                records.append({**row, "rewritten": rewritten, "cycles": cycles})
    return pd.DataFrame(records)
