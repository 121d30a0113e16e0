"""The state of a long step, kept beside its output so that a killed job goes on from it.

Snakemake removes the outputs of a job that it starts, but does not know this file. A line of
digests comes before the state, so a step never goes on from a damaged file.
"""

import io
import logging
import os
import time
from pathlib import Path
from typing import Any

import torch

from swim.runtime import digests
from swim.runtime.writing import atomic

LOG = logging.getLogger("swim")


class Unfinished:
    """The last saved state of a step, under a digest of everything that the step depends on."""

    def __init__(self, output: str | os.PathLike[str], digest: str, seconds: float = 60.0):
        """The state that belongs to ``output``, as ``.{stem}.unfinished.pt`` beside it.

        Args:
            output: the file that the step is to make.
            digest: a state with another digest is discarded.
            seconds: time between two saves.
        """
        output = Path(output)
        self._path = output.with_name(f".{output.stem}.unfinished.pt")
        self._digest, self._seconds = digest, seconds
        self._saved = time.monotonic()

    def read(self, place: torch.device | str = "cpu") -> dict[str, Any] | None:
        """The saved state; None if there is none, or if it is damaged or of another digest.

        The log says why a state is discarded.

        Args:
            place: the torch device that its tensors are read to.
        """
        reason = "it is damaged"
        try:
            with self._path.open("rb") as file:
                first, rest = file.readline(), file.read()
            digest, content = first.decode().split()
            if content == digests.of_bytes(rest):
                if digest == self._digest:
                    state: dict[str, Any] = torch.load(
                        io.BytesIO(rest), map_location=place, weights_only=True
                    )
                    return state
                reason = "settings, inputs, code or the machine have changed"
        except FileNotFoundError:
            return None
        except OSError as error:
            reason = f"it cannot be read ({error.strerror})"
        except Exception:  # whatever torch says to another version's file
            pass
        LOG.warning("%s: the state of a killed run is not used, since %s", self._path, reason)
        return None

    def due(self) -> bool:
        """Whether it is time to save."""
        return time.monotonic() - self._saved >= self._seconds

    def write(self, state: dict[str, Any]) -> None:
        """Save, whole or not at all."""
        content = io.BytesIO()
        torch.save(state, content)
        line = f"{self._digest} {digests.of_bytes(content.getbuffer())}\n"
        with atomic(self._path) as temporary, temporary.open("wb") as file:
            file.write(line.encode())
            file.write(content.getbuffer())
        self._saved = time.monotonic()

    def remove(self) -> None:
        """The step is finished."""
        self._path.unlink(missing_ok=True)
