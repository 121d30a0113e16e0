"""Running a model so that it, and the process, are afterwards as they were."""

import contextlib
import copy
import operator
import random
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

# A pass swaps the model's tensors and the process's random states, so two threads take turns.
_TURN = threading.RLock()
# Of the modules that are run now: what they kept before, innermost last.
_KEPT: list["_Attributes"] = []
_REGISTERED = ("_parameters", "_buffers", "_modules")
_CONTAINERS = (dict, list, set, deque)


@contextlib.contextmanager
def left_alone(model: nn.Module) -> Iterator[None]:
    """Run the block in eval mode; afterwards training flags and random states are as before.

    So are attributes that the forward pass sets, such as counters and what hooks compute. One
    block runs at a time in a process: a second thread waits. :func:`afresh` brings the attributes
    back between two passes.
    """
    with _TURN:
        flags = {module: module.training for module in model.modules()}
        afresh()  # of a block around this one
        kept = _Attributes(model)
        _KEPT.append(kept)
        states = random.getstate(), np.random.get_state()
        devices = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
        try:
            with _autograd(), torch.random.fork_rng(devices=devices):
                # Not model.eval(): a module may override train() and do more than set the flag.
                for module in flags:
                    module.training = False
                yield
        finally:
            _KEPT.remove(kept)
            kept.restore()
            for module, flag in flags.items():
                module.training = flag
            random.setstate(states[0])
            np.random.set_state(states[1])


def _autograd() -> contextlib.AbstractContextManager[None]:
    """Out of the caller's inference mode, which would forbid second derivatives."""
    if torch.is_inference_mode_enabled():
        return torch.inference_mode(False)
    return contextlib.nullcontext()


def afresh() -> None:
    """Bring the attributes of the model that runs back to what they were before the first pass.

    A pass must not find what another one kept (a weight quantised once, a table made for the first
    batch): it was made of other weights.
    """
    if _KEPT:
        _KEPT[-1].restore()


class _Attributes:
    """What modules keep beside their parameters and buffers, contents of containers included."""

    def __init__(self, model: nn.Module):
        self._modules = {module: dict(vars(module)) for module in model.modules()}
        self._registered = [
            (entries, set(entries))
            for held in self._modules.values()
            for key in _REGISTERED
            if isinstance(entries := held.get(key), dict)  # not in scripted modules
        ]
        self._containers: dict[int, tuple[Any, Any]] = {}
        self._tensors: list[tuple[Tensor, int, Tensor]] = []
        self._generators: list[tuple[Any, Any]] = []
        for held in self._modules.values():
            for key, value in held.items():
                if key not in _REGISTERED:
                    self._keep(value, 0)

    def _keep(self, value: Any, depth: int) -> None:
        if isinstance(value, _CONTAINERS):
            if id(value) not in self._containers and depth < 4:
                self._containers[id(value)] = value, copy.copy(value)
                for item in list(value.values() if isinstance(value, dict) else value):
                    self._keep(item, depth + 1)
        elif isinstance(value, Tensor):
            with contextlib.suppress(RuntimeError):  # made in inference mode: no versions
                self._tensors.append((value, value._version, value.detach().clone()))
        elif isinstance(value, torch.Generator):
            self._generators.append((value, value.get_state()))
        elif isinstance(value, np.random.Generator):
            self._generators.append((value, copy.deepcopy(value.bit_generator.state)))
        elif isinstance(value, np.random.RandomState):
            self._generators.append((value, value.get_state()))
        elif isinstance(value, random.Random):
            self._generators.append((value, value.getstate()))

    def restore(self) -> None:
        """Bring all back; what is registered may be replaced for a pass, but no more added."""
        for entries, known in self._registered:
            for key in entries.keys() - known:
                del entries[key]
        for container, before in self._containers.values():
            _refill(container, before)
        for module, held in self._modules.items():
            _restore(vars(module), held)
        for number, (tensor, version, before) in enumerate(self._tensors):
            if tensor._version != version:
                with torch.no_grad():
                    tensor.data.copy_(before)
                self._tensors[number] = tensor, tensor._version, before
        for generator, state in self._generators:
            _rewind(generator, state)


def _refill(container: Any, before: Any) -> None:
    if isinstance(container, dict):
        same = container.keys() == before.keys() and all(container[k] is before[k] for k in before)
    elif isinstance(container, set):
        same = container == before
    else:
        same = len(container) == len(before) and all(map(operator.is_, container, before))
    if not same:
        container.clear()
        extend = container.extend if isinstance(container, list | deque) else container.update
        extend(before)


def _rewind(generator: Any, state: Any) -> None:
    if isinstance(generator, np.random.Generator):
        generator.bit_generator.state = copy.deepcopy(state)
    elif isinstance(generator, random.Random):
        generator.setstate(state)
    else:
        generator.set_state(state)


def _restore(now: dict[str, Any], before: Mapping[str, Any]) -> None:
    for key in now.keys() - before.keys():
        del now[key]
    for key, value in before.items():
        if key != "training" and now.get(key, before) is not value:
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


def under_all_names(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``state`` with the names of tied tensors, once for each module that holds them.

    For ``functional_call`` with ``tie_weights=False``: left to find them itself, it replaces those
    of a module that is registered twice two times, and puts the wrong ones back.
    """
    own = {
        id(tensor): state[name]
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
        if name in state
    }
    found = dict(state)
    for prefix, module in model.named_modules():
        for key, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None and id(tensor) in own:
                found.setdefault(f"{prefix}.{key}" if prefix else key, own[id(tensor)])
    return found


def call(model: nn.Module, state: Mapping[str, Tensor], args: tuple[Any, ...]) -> Any:
    """What the model returns with these parameters and buffers."""
    own = under_all_names(model, state)
    return torch.func.functional_call(model, own, args, tie_weights=False)


def device_of(model: nn.Module) -> torch.device:
    """Where the model's parameters live."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def few(inputs: Any) -> Any:
    """Two images of a batch, the first and the last, to look at a model with."""
    return inputs[:: max(1, len(inputs) - 1)][:2]
