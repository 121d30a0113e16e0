"""What the rules' commands run in."""

import os
import sys


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
