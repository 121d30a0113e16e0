import atexit
import compileall
import functools
import os
import py_compile
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest
import yaml

from swim.runtime.source_summaries import summary_of_ours
from tests import ROOT
from tests.workflow import report_page
from tests.workflow.warm_python import WarmPython

PARTS = ("Snakefile", "config.yaml", "rules", "swim", "profiles", "envs")

# The whole pipeline in about half a minute: one epoch of each kind, few images and chips.
TINY = {
    "model": {"name": "lenet", "weight_bits": 4, "activation_bits": 4},
    "dataset": "mnist5k",
    "training": {"epochs": 2, "quantised_epochs": 1},
    "devices": ["release"],
    "sigmas": ["0.3"],
    "fractions": ["0", "0.1", "1"],
    "methods": ["swim", "random"],
    "chips": 3,
    "test_images": 200,
}


@dataclass
class Project:
    """A copy of the pipeline with a small configuration, in a folder of its own."""

    folder: Path
    experiments: dict = field(default_factory=lambda: {"tiny": dict(TINY)})
    data_sets: dict = field(default_factory=dict)
    devices: dict = field(default_factory=dict)
    comparisons: dict = field(default_factory=dict)
    # Whether its processes start as a user's do, and import everything; see warm_python.py.
    cold: bool = False
    warm: ClassVar[str] = ""

    def write(self):
        shipped = yaml.safe_load((ROOT / "config.yaml").read_text())
        own = {
            "experiments": self.experiments,
            "data_sets": self.data_sets,
            "devices": {**shipped["devices"], **self.devices},
            "comparisons": self.comparisons,
        }
        content = {**shipped, **own, "download": False}
        (self.folder / "config.yaml").write_text(yaml.safe_dump(content))

    def snakemake(self, *arguments, cores=2, cwd=None):
        self.write()
        limit = [] if cores is None else ["--cores", str(cores)]
        python = sys.executable if self.cold else self.warm
        command = [python, "-m", "snakemake", *limit, *arguments]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        # A cache of its own: Snakemake keeps copies of included files there.
        environment["XDG_CACHE_HOME"] = str(self.folder / ".cache")
        return subprocess.run(
            command, cwd=cwd or self.folder, env=environment, capture_output=True, text=True
        )

    def refuses_before_any_work(self, target, parts):
        """Snakemake ends with an error that says these parts, and nothing was made."""
        run = self.snakemake(target)
        assert run.returncode != 0
        text = run.stdout + run.stderr
        for part in parts:
            assert part in text
        assert "Traceback" not in text
        assert not (self.folder / "results").exists()

    def make(self, *arguments, **options):
        run = self.snakemake(*arguments, **options)
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout + run.stderr

    def results(self, pattern="*.csv"):
        found = (self.folder / "results").rglob(pattern)
        return {str(p.relative_to(self.folder)): p.read_bytes() for p in found if p.is_file()}


@functools.cache
def compiled_pipeline():
    """The pipeline with its modules compiled and summarised, which saves each process a second.

    Both are compared with the source by a digest: edits within a second are seen.
    """
    folder = Path(tempfile.mkdtemp(prefix="pipeline-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / part, ignore=ignored)
        else:
            shutil.copy(source, folder / part)
    by_digest = py_compile.PycInvalidationMode.CHECKED_HASH
    assert compileall.compile_dir(folder / "swim", quiet=1, invalidation_mode=by_digest)
    # Python keeps what it compiles on a user's machine, and SWIM what it takes from its sources.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", False)
        for source in (folder / "swim").rglob("*.py"):
            summary_of_ours(source)
    return folder


def copy_of_the_pipeline(folder):
    return shutil.copytree(compiled_pipeline(), folder)


@pytest.fixture(scope="session", autouse=True)
def warm():
    with WarmPython() as started:
        Project.warm = str(started.python)
        yield


@pytest.fixture
def project(tmp_path):
    # A name with a space, which nothing may trip over.
    return Project(copy_of_the_pipeline(tmp_path / "a project"))


@pytest.fixture(scope="session")
def running():
    """A browser."""
    reason = report_page.why_not()
    if reason:
        text = f"pages cannot be opened here: {reason}"
        if os.environ.get("SWIM_REQUIRE_BROWSER") == "1":
            pytest.fail(f"{text}, and SWIM_REQUIRE_BROWSER=1 asks for it")
        pytest.skip(text)
    with report_page.started() as browser:
        yield browser
