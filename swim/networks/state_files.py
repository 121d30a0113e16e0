"""Files of weights as people have them, read without running any code that they may hold."""

import argparse
import collections
import importlib
import pathlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from swim.errors import DataError

State = dict[str, Tensor]

# Entries of a training's checkpoint that hold tensors, but no network's.
_OTHERS = re.compile(r"optimizer|scheduler", re.IGNORECASE)
_DEPTH = 4


def states(path: Path) -> dict[str, State]:
    """The state dicts that a file holds, by the entries that lead to them, such as ``ema.shadow``.

    Args:
        path: safetensors, or what ``torch.save`` wrote: a state dict, or a training's checkpoint
            with one or several among its entries. Numpy's numbers and arrays may stand beside.

    Raises:
        DataError: the file is missing or damaged, holds objects whose reading would run code, or
            no tensors by name; the message says how to write one that can be read.
    """
    if not path.is_file():
        raise DataError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}")
    if path.suffix == ".safetensors":
        return {"": _safetensors(path)}
    content = _torch(path)
    found = dict(_inside(content))
    if not found:
        raise DataError(f"{path}: holds no state dict but {_kind(content)}")
    return found


def _safetensors(path: Path) -> State:
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            shared = file.metadata() or {}
    except Exception as error:  # whatever the reader says to half a file, or to another kind
        raise _unreadable(path, error) from error
    # Of weights that share their memory safetensors keeps one, and notes the others' names.
    return state | {
        n: state[kept] for n, kept in shared.items() if kept in state and n not in state
    }


def _torch(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals(_harmless()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the reader says to half a file, or to another kind
        raise _unreadable(path, error) from error


def _harmless() -> list[Any]:
    """Classes and functions beside torch's own whose reading does no more than make a value."""
    multiarray = importlib.import_module("numpy._core.multiarray")
    found: list[Any] = [np.dtype, np.ndarray, argparse.Namespace, collections.defaultdict]
    found += [pathlib.PosixPath, pathlib.PurePosixPath, importlib.import_module("_codecs").encode]
    found += {type(np.dtype(code)) for code in "?bBhHiIlLqQefdgFDGSU"}
    for name in ("scalar", "_reconstruct"):
        for home in ("numpy.core.multiarray", "numpy._core.multiarray"):  # as numpy 1 and 2 say
            found.append((getattr(multiarray, name), f"{home}.{name}"))
    return found


def _unreadable(path: Path, error: Exception) -> DataError:
    text = str(error)
    object_of = re.search(r"GLOBAL (\S+)|[Uu]nsupported (?:global|class) (\S+)", text)
    if object_of:
        name = (object_of[1] or object_of[2]).rstrip(".")
        return DataError(
            f"{path}: neither safetensors nor a state dict of plain tensors: it holds a pickled "
            f"{name}, and reading that runs code. If you trust the file, write its weights alone: "
            "content = torch.load(path, weights_only=False), then torch.save(content.state_dict(), "
            "new_path) for a whole module, or torch.save(content['state_dict'], new_path)"
        )
    if "TorchScript" in text:
        return DataError(
            f"{path}: neither safetensors nor a state dict of plain tensors but a scripted module; "
            "write its weights with torch.save(torch.jit.load(path).state_dict(), new_path)"
        )
    return DataError(
        f"{path}: neither safetensors nor a state dict of plain tensors "
        f"({text.partition(chr(10))[0]}); write it with torch.save(model.state_dict(), path)"
    )


def _inside(content: Any, where: str = "", depth: int = 0) -> Iterator[tuple[str, State]]:
    """Each dict that holds tensors by name, with the entries that lead to it."""
    if not isinstance(content, Mapping) or depth > _DEPTH:
        return
    named = {key: value for key, value in content.items() if isinstance(key, str)}
    tensors = {name: _tensor(value) for name, value in named.items() if _is_array(value)}
    if tensors:
        yield where, tensors
    for key, value in named.items():
        if not _OTHERS.search(key):
            yield from _inside(value, f"{where}.{key}" if where else key, depth + 1)


def _is_array(value: Any) -> bool:
    numbers = isinstance(value, np.ndarray) and value.dtype.kind in "biuf"
    return numbers or isinstance(value, Tensor)


def _tensor(value: Any) -> Tensor:
    return value.detach() if isinstance(value, Tensor) else torch.from_numpy(np.array(value))


def _kind(content: Any) -> str:
    if isinstance(content, Mapping):
        return f"a dict of {', '.join(sorted({type(v).__name__ for v in content.values()}))}"
    return type(content).__name__
