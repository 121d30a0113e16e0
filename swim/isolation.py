"""Running a model so that it, and the process, are afterwards as they were."""

import contextlib
import copy
import random
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

# A pass swaps the model's tensors and the process's random states, so two threads take turns.
_TURN = threading.RLock()
# What a module keeps in its ``__dict__`` that no forward pass replaces.
_FIXED = {"_parameters", "_buffers", "_modules", "training"}


@contextlib.contextmanager
def left_alone(model: nn.Module) -> Iterator[None]:
    """Run the block in eval mode; afterwards training flags and random states are as before.

    So are attributes that the forward pass sets, such as counters and what hooks compute. One
    block runs at a time in a process: a second thread waits.
    """
    with _TURN:
        flags = {module: module.training for module in model.modules()}
        kept = {module: dict(vars(module)) for module in flags}
        states = random.getstate(), np.random.get_state()
        devices = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
        try:
            with torch.random.fork_rng(devices=devices):
                # Not model.eval(): a module may override train() and do more than set the flag.
                for module in flags:
                    module.training = False
                yield
        finally:
            for module, flag in flags.items():
                _restore(vars(module), kept[module])
                module.training = flag
            random.setstate(states[0])
            np.random.set_state(states[1])


def _restore(now: dict[str, Any], before: Mapping[str, Any]) -> None:
    for key in now.keys() - before.keys():
        del now[key]
    for key, value in before.items():
        if key not in _FIXED and now.get(key, before) is not value:
            now[key] = value


def parameters_of(model: nn.Module) -> dict[str, Tensor]:
    """Stand-ins for the model's parameters that share their memory and need no gradient."""
    return {name: p.detach() for name, p in model.named_parameters()}


def buffers_of(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the model's buffers, for a forward pass that may write to them."""
    return {name: b.clone() for name, b in model.named_buffers()}


def copies_of(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the model's parameters and buffers, for a forward pass that may write to them."""
    own = {name: p.clone() for name, p in parameters_of(model).items()}
    return {**own, **buffers_of(model)}


def copy_of(model: nn.Module) -> nn.Module:
    """A copy of a model, of its attributes that hooks have computed too."""
    attributes = (value for module in model.modules() for value in vars(module).values())
    computed = [t for t in attributes if isinstance(t, Tensor) and not t.is_leaf]
    return copy.deepcopy(model, {id(t): t.detach().clone() for t in computed})


def device_of(model: nn.Module) -> torch.device:
    """Where the model's parameters live."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def few(inputs: Any) -> Any:
    """Two images of a batch, the first and the last, to look at a model with."""
    return inputs[:: max(1, len(inputs) - 1)][:2]
