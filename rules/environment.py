"""What the rules' commands run in."""

import functools
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

# What a step does with a user's function before it calls it, in a process like a step's.
_IMPORT = """
import sys
from swim.errors import SwimError
from swim.selection.scoring import imported
try:
    imported(sys.argv[1], "weights", {})
except SwimError as error:
    sys.exit(f"\\0{error}")
print("\\0imported")
"""


def prefer(root: str) -> None:
    """Let ``python -m swim`` in a rule mean the code in ``root``, from any folder.

    Python is the one that runs Snakemake, unless a rule's own environment puts another first.
    """
    before = {"PYTHONPATH": root, "PATH": os.path.dirname(sys.executable)}
    for name, folder in before.items():
        others = os.environ.get(name, "").split(os.pathsep)
        kept = [other for other in others if other and other != folder]
        os.environ[name] = os.pathsep.join([folder, *kept])


def commit(root: str) -> str:
    """The commit of the code in a folder, in words; nothing where it is none of git's."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", root, *arguments]
        try:
            return subprocess.run(
                command, check=True, capture_output=True, text=True
            ).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return ""

    found = git("rev-parse", "--short=12", "HEAD")
    if not found or os.path.realpath(git("rev-parse", "--show-toplevel")) != os.path.realpath(root):
        return ""
    changed = " with changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    return f"commit {found}{changed}"


def gpu_visible() -> bool:
    """Whether this machine shows an NVIDIA GPU to its processes; asking torch takes seconds."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return os.path.exists("/dev/nvidiactl") and not hidden


def rule_names(root: str) -> frozenset[str]:
    """Names of the rules, which no experiment may have: each experiment is a target."""
    files = [Path(root, "Snakefile"), *Path(root, "rules").glob("*.smk")]
    pattern = re.compile(r"^(?:use )?rule (?:\w+ as )?(\w+)\b", re.MULTILINE)
    return frozenset(name for file in files for name in pattern.findall(file.read_text()))


@functools.cache
def fault_of_import(place: str) -> str:
    """Why a step could not import a user's score, ``package.module:function``; empty if it can.

    The module runs in a process of its own, in the folder where steps run.
    """
    run = subprocess.run(
        [sys.executable, "-c", _IMPORT, place], capture_output=True, text=True, check=False
    )
    if run.returncode == 0 and run.stdout.endswith("\0imported\n"):
        return ""
    said, _, message = run.stderr.rpartition("\0")
    return message.strip() or f"importing it ended Python: {(said or run.stderr).strip()[-500:]}"


def not_searched(files: Iterable[str]) -> str:
    """What a message adds of the folders of files of settings, where no module is searched."""
    searched = {os.path.realpath(folder or ".") for folder in ("", *_python_path())}
    folders = {os.path.dirname(os.path.realpath(file)): file for file in files}
    others = [f"{file} ({folder})" for folder, file in folders.items() if folder not in searched]
    if not others:
        return ""
    return (
        f"; the folder of {' and of '.join(others)} is not searched: run snakemake there, or put "
        "it into PYTHONPATH"
    )


def _python_path() -> list[str]:
    return [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
