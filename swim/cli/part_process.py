"""A process of its own that measures parts of a run: ``python -m swim.cli.part_process``.

It reads a request from its input and writes lines of JSON: first what it runs on, then what each
part takes. Its threads and its memory are those of a job.
"""

import contextlib
import io
import json
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

_LARGEST = 64_000_000  # bytes of synthetic images


def main() -> None:
    """Measure the parts of one request, one after the other."""
    request = json.load(sys.stdin)
    sent, sys.stdout = sys.stdout, sys.stderr  # what steps say is no answer
    began = time.perf_counter()
    import torch

    from swim.cli.accelerator import start
    from swim.data import synthetic_images
    from swim.errors import SwimError
    from swim.evaluation import part_times
    from swim.settings import Compute, ModelSettings

    def answer(content: dict[str, Any]) -> None:
        print(json.dumps(content), file=sent, flush=True)

    warnings.simplefilter("ignore")  # advice on results, which are not made here
    imported = time.perf_counter() - began
    shape, said = tuple(request["shape"]), io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            compute = Compute.model_validate(request["compute"])
            place: torch.device = start(compute)
        answer({"runs_on": said.getvalue().strip(), "start": imported})
        with tempfile.TemporaryDirectory() as folder:
            pixels = shape[0] * shape[1] * shape[2]
            images = max(request["batch"], min(request["test"], _LARGEST // pixels))
            data = synthetic_images.synthetic(
                Path(folder), shape, request["classes"], request["augmentation"], images
            )
            model = ModelSettings.model_validate(request["model"])
            subject = part_times.Subject(model, data, request["test"], place)
            for part in request["parts"]:
                wall, cpu = time.perf_counter(), time.process_time()
                found = part_times.PARTS[part["kind"]](subject, part)
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                answer({**found, "start": imported, "cores": cpu / wall})
    except SwimError as error:
        answer({"error": str(error)})


if __name__ == "__main__":
    main()
