"""The peak of the memory that this process holds, over a block; Linux only."""

import math
from pathlib import Path
from typing import Any


class PeakMemory:
    """While active, follows the process's resident memory.

    Attributes:
        bytes: the peak over the block; NaN where the system does not tell it.
        grown: how much of it was not held before the block.
    """

    def __init__(self) -> None:
        self.bytes = self.grown = math.nan

    def __enter__(self) -> "PeakMemory":
        try:
            Path("/proc/self/clear_refs").write_text("5")  # resets the peak, proc(5)
            self._before = _status("VmRSS")
        except OSError:
            self._before = math.nan
        return self

    def __exit__(self, *_: Any) -> None:
        if not math.isnan(self._before):
            self.bytes = _status("VmHWM")
            self.grown = self.bytes - self._before


def _status(key: str) -> float:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return math.nan
    found = [line.split()[1] for line in lines if line.startswith(f"{key}:")]
    return 1024.0 * int(found[0]) if found else math.nan
