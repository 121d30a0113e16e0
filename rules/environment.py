"""What the rules' commands run in."""

import os
import re
import sys
from pathlib import Path


def prefer(root: str) -> None:
    """Let ``python -m swim`` in a rule mean the code in ``root``, from any folder.

    Python is the one that runs Snakemake, unless a rule's own environment puts another first.
    """
    before = {"PYTHONPATH": root, "PATH": os.path.dirname(sys.executable)}
    for name, folder in before.items():
        others = os.environ.get(name, "").split(os.pathsep)
        kept = [other for other in others if other and other != folder]
        os.environ[name] = os.pathsep.join([folder, *kept])


def gpu_visible() -> bool:
    """Whether this machine shows an NVIDIA GPU to its processes; asking torch takes seconds."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return os.path.exists("/dev/nvidiactl") and not hidden


def rule_names(root: str) -> frozenset[str]:
    """Names of the rules, which no experiment may have: each experiment is a target."""
    files = [Path(root, "Snakefile"), *Path(root, "rules").glob("*.smk")]
    pattern = re.compile(r"^(?:use )?rule (?:\w+ as )?(\w+)\b", re.MULTILINE)
    return frozenset(name for file in files for name in pattern.findall(file.read_text()))
