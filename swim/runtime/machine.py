"""What this process runs on: for the record, never part of a result."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from swim import __version__

if TYPE_CHECKING:
    import torch

PACKAGES = ("torch", "torchvision", "numpy", "pandas", "scipy", "safetensors", "snakemake")


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of what numbers depend on."""
    found = {"python": platform.python_version(), "swim": __version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def cores() -> int:
    """How many cores this process may use."""
    available = getattr(os, "sched_getaffinity", None)
    return len(available(0)) if available else (os.cpu_count() or 1)


def hardware() -> dict[str, str | int]:
    """Processor, cores that this process may use, and operating system."""
    return {
        "processor": _processor(),
        "cores": cores(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def runs_on(place: "torch.device") -> str:
    """The GPU, or the processor, that computes; on another one the last bits may differ."""
    if place.type == "cuda":
        import torch

        return str(torch.cuda.get_device_name(place))
    return _processor()


def bfloat16_units(place: "torch.device") -> str | None:
    """What multiplies bfloat16 numbers faster than float32 ones on a torch device, if anything."""
    import torch

    if place.type == "cuda":
        return "tensor cores" if torch.cuda.get_device_capability(place) >= (8, 0) else None
    if torch.cpu._is_amx_tile_supported():
        return "AMX"
    return "AVX-512" if torch.cpu._is_avx512_bf16_supported() else None


def _processor() -> str:
    """Its name as Linux or else Python knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def line(accelerator: str, threads: int) -> str:
    """One line for a job's log."""
    facts = versions()
    return (
        f"on {accelerator}, {threads} arithmetic thread{'s' if threads > 1 else ''}, "
        f"torch {facts['torch']}, Python {facts['python']}, {hardware()['processor']}"
    )
