"""What a computing step runs on."""

import os
from typing import TYPE_CHECKING

import click

from swim.errors import SettingError
from swim.runtime import machine
from swim.settings import Compute

if TYPE_CHECKING:
    import torch


def start(settings: Compute) -> "torch.device":
    """Fix the arithmetic of this process and say where networks run.

    Raises:
        SettingError: a GPU is asked for and there is none.
    """
    import torch

    torch.set_num_threads(settings.arithmetic_threads)
    # On a GPU: full float32, and products that sum in a fixed order.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    # As use_deterministic_algorithms(True, warn_only=True), without its import of the compiler that
    # nothing here uses, which takes as long as that of torch.
    torch.set_deterministic_debug_mode("warn")
    # Else every fresh tensor would be filled with NaN first, which costs time and changes nothing.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    wanted = settings.accelerator
    if wanted == "cuda" and not torch.cuda.is_available():
        raise SettingError("accelerator 'cuda': this process sees no GPU; use 'auto' or 'cpu'")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if wanted == "cuda" else wanted
    click.echo(machine.line(name, settings.arithmetic_threads))
    return torch.device(wanted)


def say_bfloat16(place: "torch.device") -> None:
    """A line of the log on what computes bfloat16 here, or that nothing is gained by it."""
    units = machine.bfloat16_units(place)
    if units:
        click.echo(f"arithmetic bfloat16, on {units}")
        return
    click.echo(
        "warning: arithmetic bfloat16: this machine has no units for it and computes it more "
        "slowly than float32; the numbers are as good",
        err=True,
    )
