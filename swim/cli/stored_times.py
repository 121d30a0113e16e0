"""Measured parts of a run, kept from one command to the next in the user's cache folder."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swim.errors import SettingError
from swim.runtime import digests, files, machine
from swim.runtime.code_digest import digest_of
from swim.runtime.progress_bar import meter

Part = dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """What parts are measured on: a network, images like a data set's, and threads.

    Attributes:
        request: model, shape, classes, augmentation, test, batch and compute, as
            :mod:`swim.cli.part_process` reads them.
        network: the network's name, or its import.
        environment: variables of the process beside those of this one, such as a limit of
            instruction sets.
    """

    request: Mapping[str, Any]
    network: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def key(self, part: Part) -> str:
        """Of the part, code, versions and machine: what its seconds depend on."""
        code = digest_of("swim.evaluation.part_times", network=self.network, **_code(part))
        hardware = {**machine.hardware(), "gpu": _gpu()}
        content = [dict(self.request), part, dict(self.environment), code, machine.versions(),
                   hardware]  # fmt: skip
        return digests.of_json(content)


def _code(part: Part) -> dict[str, str]:
    """The code that a part's settings choose."""
    chosen = {}
    if part["kind"] == "sensitivity":
        chosen["estimator"] = part["job"]["estimator"]
    if part["kind"] == "program" and part["method"] not in ("none", "all", "mask"):
        chosen["policy"] = part["method"]
    variation = part.get("device", {}).get("variation")
    if variation and (name := variation.get("name") or variation.get("import")):
        chosen["variation"] = name
    return chosen


def _gpu() -> str:
    """Whether this machine shows an NVIDIA GPU, and which of them to processes."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    return shown if os.path.exists("/dev/nvidiactl") else "none"


def folder() -> Path:
    """Where measured parts are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "swim" / "part-times"


def stored(subject: Subject, part: Part) -> dict[str, Any] | None:
    """A part that was measured before on this machine with this code; None if it was not."""
    try:
        found: dict[str, Any] = json.loads((folder() / f"{subject.key(part)}.json").read_bytes())
    except (OSError, ValueError):
        return None
    return found


def measure(
    subject: Subject, parts: Sequence[Part], name: str, copies: int = 1
) -> list[dict[str, Any]]:
    """Measure parts in a process of their own, and keep what they take.

    Args:
        subject: what they are measured on.
        parts: at least one.
        name: of the experiment, for messages.
        copies: processes that measure the same at once, as many jobs run; the slowest counts.

    Returns:
        What :mod:`swim.evaluation.part_times` gives for each, with ``start``, seconds that a
        process takes to start, ``runs_on`` and ``cores``, the processor time over the time.

    Raises:
        SettingError: a part cannot be measured; the message says which, and why.
    """
    with contextlib.ExitStack() as stack:
        runs = [stack.enter_context(_Process(subject, parts)) for _ in range(copies)]
        others = [threading.Thread(target=list, args=(run.lines(),)) for run in runs[1:]]
        for other in others:
            other.start()
        kinds = ["", *(part["kind"] for part in parts), ""]
        answers = runs[0].answers
        with meter(
            name, len(parts), "parts", beside=lambda: kinds[min(len(answers), len(parts))]
        ) as count:
            for line in runs[0].lines():
                if "runs_on" not in line:
                    count(1)
        for other in others:
            other.join()
        found = [run.results(name) for run in runs]
    results = [_slowest(list(each)) for each in zip(*found, strict=True)]
    if copies == 1:
        for part, result in zip(parts, results, strict=True):
            with contextlib.suppress(OSError):  # without a place to keep it, it is measured again
                files.write_json(folder() / f"{subject.key(part)}.json", result)
    return results


class _Process:
    """A process that measures parts; it is ended with the block."""

    def __init__(self, subject: Subject, parts: Sequence[Part]):
        self._parts = parts
        self.answers: list[dict[str, Any]] = []
        # Snakemake sets the same for a job, from its threads.
        threads = str(subject.request["compute"]["arithmetic_threads"])
        environment = {**os.environ, "OMP_NUM_THREADS": threads, **subject.environment}
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 # closed with the block
        self._run = subprocess.Popen(
            [sys.executable, "-m", "swim.cli.part_process"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True,
            env=environment,
        )  # fmt: skip
        assert self._run.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, and says why
            self._run.stdin.write(json.dumps({**subject.request, "parts": list(parts)}))
            self._run.stdin.close()

    def __enter__(self) -> "_Process":
        return self

    def __exit__(self, *_: Any) -> None:
        self._run.kill()
        self._run.wait()
        assert self._run.stdout is not None
        self._run.stdout.close()
        self._errors.close()

    def lines(self) -> Iterator[dict[str, Any]]:
        """Its answers as they come; they are kept, too."""
        assert self._run.stdout is not None
        for line in self._run.stdout:
            self.answers.append(json.loads(line))
            yield self.answers[-1]

    def results(self, name: str) -> list[dict[str, Any]]:
        """The answer to each part, with where it was measured.

        Raises:
            SettingError: there is none; the message says why.
        """
        first, *rest = self.answers or [{}]
        if len(rest) == len(self._parts) and not any("error" in answer for answer in rest):
            return [{**answer, "runs_on": first["runs_on"]} for answer in rest]
        done = sum("error" not in answer for answer in rest)
        what = self._parts[done]["kind"] if "runs_on" in first else "start"
        message = [answer["error"] for answer in self.answers if "error" in answer]
        if message:
            raise SettingError(f"{name}: part {what!r} cannot be measured: {message[0]}")
        self._errors.seek(0)
        said = self._errors.read().strip().splitlines()
        raise SettingError(
            f"{name}: the process that measures part {what!r} ended with status "
            f"{self._run.wait()}{': ' + said[-1] if said else ''} (-9 is a lack of memory)"
        )


def _slowest(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The largest number of each kind, over copies."""
    one = dict(found[0])
    return {
        key: max(other[key] for other in found) if isinstance(value, float) else value
        for key, value in one.items()
    }
