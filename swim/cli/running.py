"""What the computing steps share."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from tqdm import tqdm

from swim import machine
from swim.errors import SettingError
from swim.spec import Compute

if TYPE_CHECKING:
    import torch

FILE = click.Path(dir_okay=False)


@contextmanager
def progress_bar(total: int, unit: str, done: int = 0) -> Iterator[Any]:
    """A progress bar on a terminal, nothing in a log."""
    with tqdm(total=total, initial=done, unit=unit, disable=None, leave=False) as bar:
        yield bar


def start(settings: Compute) -> "torch.device":
    """Fix the arithmetic of this process and say where networks run.

    Raises:
        SettingError: a GPU is asked for and there is none.
    """
    import torch

    torch.set_num_threads(settings.arithmetic_threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    wanted = settings.accelerator
    if wanted == "cuda" and not torch.cuda.is_available():
        raise SettingError("accelerator 'cuda': this process sees no GPU; use 'auto' or 'cpu'")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if wanted == "cuda" else wanted
    click.echo(machine.line(name, settings.arithmetic_threads))
    return torch.device(wanted)
