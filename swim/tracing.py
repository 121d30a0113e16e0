"""Which parameters of a model are programmed into memory devices, found by watching it run.

A programmed weight is a parameter that reaches a linear or convolution call, directly or
through quantisers. Nothing is assumed about modules: only the calls are watched, through
``torch.overrides``, so the model needs no rewriting and is never changed.
"""

import contextlib
import random
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from swim.batches import arguments, shown
from swim.errors import UnsupportedOperationError

# Calls whose second argument is a weight that the accelerator's devices hold.
WEIGHTED: frozenset[Any] = frozenset(
    {
        F.linear,
        F.conv1d,
        F.conv2d,
        F.conv3d,
        F.conv_transpose1d,
        F.conv_transpose2d,
        F.conv_transpose3d,
    }
)
# Products that would also run on the accelerator, but whose weights are not found this way.
_OTHER_PRODUCTS: frozenset[Any] = frozenset(
    {
        F.bilinear,
        torch.matmul,
        torch.mm,
        torch.bmm,
        torch.addmm,
        torch.einsum,
        torch.lstm,
        torch.gru,
        torch.rnn_tanh,
        torch.rnn_relu,
        Tensor.matmul,
        Tensor.__matmul__,
        Tensor.__rmatmul__,
        Tensor.mm,
    }
)

# These only tell about a tensor.
_ASKING = {
    Tensor.size, Tensor.dim, Tensor.numel, Tensor.stride, Tensor.__len__, Tensor.ndimension,
    Tensor.is_contiguous, Tensor.is_floating_point, Tensor.element_size, Tensor.get_device,
    torch.is_tensor, torch.is_floating_point, torch.numel, Tensor.nelement, Tensor.type,
}  # fmt: skip
_ATTRIBUTES = {
    "shape", "dtype", "device", "ndim", "layout", "requires_grad", "is_leaf", "is_cuda",
    "is_sparse", "is_quantized", "is_meta", "is_mps", "is_mkldnn", "itemsize", "nbytes", "names",
    "T", "mT", "is_nested",
}  # fmt: skip


@dataclass(frozen=True)
class Call:
    """One linear or convolution call of the forward pass.

    Attributes:
        name: the weight's plain name, ``conv1.weight``; None if it is no parameter.
        parameter: its name in ``named_parameters()``.
        weight: the tensor that reached the call (after quantisers).
        direct: whether that tensor is the parameter itself, which enters nothing but such calls.
    """

    name: str | None
    parameter: str | None
    weight: Tensor
    direct: bool


def operation_name(func: Any) -> str:
    """A function's name as a user knows it."""
    name = getattr(func, "__name__", repr(func))
    owner = getattr(func, "__self__", None)
    if name == "__get__":
        return f"Tensor.{getattr(owner, '__name__', '?')}"
    return {"boolean_dispatch": "F.max_pool with return_indices"}.get(name, name)


def asks(func: Any) -> bool:
    """Whether a call only tells about a tensor."""
    if getattr(func, "__name__", "") == "__get__":
        return getattr(func.__self__, "__name__", "") in _ATTRIBUTES
    return func in _ASKING


def tensors_in(arguments: Any) -> Iterator[Tensor]:
    """All tensors in nested lists, tuples and mappings."""
    if isinstance(arguments, Tensor):
        yield arguments
    elif isinstance(arguments, list | tuple):
        for item in arguments:
            yield from tensors_in(item)
    elif isinstance(arguments, Mapping):
        yield from tensors_in(list(arguments.values()))


def weight_argument(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """The weight of a linear or convolution call."""
    weight: Tensor = args[1] if len(args) > 1 else kwargs["weight"]
    return weight


def with_weight(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], weight: Tensor
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The call's arguments with another weight."""
    if len(args) > 1:
        return (args[0], weight, *args[2:]), dict(kwargs)
    return args, {**kwargs, "weight": weight}


def plain_name(parameter: str) -> str:
    """The weight's name without the traces of ``torch.nn.utils.parametrize``."""
    return parameter.replace("parametrizations.", "").removesuffix(".original")


def graph_behind(tensor: Tensor) -> Iterator[Any]:
    """Every node of the graph that autograd would go through from a tensor, once."""
    seen, stack = set(), [tensor.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        stack.extend(parent for parent, _ in node.next_functions)


def _packed_projections(
    q: Tensor, k: Tensor, v: Tensor, w: Tensor, b: Tensor | None = None
) -> list[Tensor]:
    """Query, key and value by the whole packed weight: a part of it would have no name."""
    different = {id(x): x for x in (q, k, v)}
    made = {key: F.linear(x, w, b).chunk(3, -1) for key, x in different.items()}
    return [made[id(x)][i].contiguous() for i, x in enumerate((q, k, v))]


# Torch's own attention, without the question whether a mode is active: inside it, the mode sees
# the linear calls that the weights enter.
_attention = types.FunctionType(
    F.multi_head_attention_forward.__code__,
    {
        **vars(F),
        "has_torch_function": lambda tensors: False,
        "_in_projection_packed": _packed_projections,
    },
    argdefs=F.multi_head_attention_forward.__defaults__,
)


class Watch(TorchFunctionMode):
    """While active, every torch function that Python calls goes through :meth:`_call`.

    Multi-head attention does so as the linear layers and products that it consists of.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is F.multi_head_attention_forward:
            with self:
                return _attention(*args, **kwargs or {})
        return self._call(func, args, kwargs or {})

    def _call(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """What the model gets instead of ``func(*args, **kwargs)``."""
        raise NotImplementedError


class Replay(Watch):
    """Follows a model through the weighted calls that :func:`trace` listed, in their order."""

    def __init__(self, calls: Sequence[Call]):
        super().__init__()
        self._calls = calls
        self._done = 0

    def _call(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if func not in WEIGHTED:
            return self._other(func, args, kwargs)
        call = self._calls[self._done] if self._done < len(self._calls) else None
        if call is None or call.weight.shape != weight_argument(args, kwargs).shape:
            raise _other_layers()
        self._done += 1
        return self._weighted(call, func, args, kwargs)

    def _weighted(
        self, call: Call, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        """What the model gets from a weighted call."""
        raise NotImplementedError

    def _other(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """What it gets from any other call."""
        return func(*args, **kwargs)

    def check_complete(self) -> None:
        """Raise unless every call has come.

        Raises:
            UnsupportedOperationError: this pass had fewer.
        """
        if self._done != len(self._calls):
            raise _other_layers()


def _other_layers() -> UnsupportedOperationError:
    return UnsupportedOperationError(
        "the model runs other layers from batch to batch; its weights cannot be told apart"
    )


class _Recorder(Watch):
    """Notes every weighted call and refuses products whose weights would be missed."""

    def __init__(self, parameters: Mapping[str, Tensor]):
        super().__init__()
        self.calls: list[Call] = []
        self.looked_up: set[str] = set()
        self._names = {id(tensor): name for name, tensor in parameters.items()}

    def _call(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if func in WEIGHTED:
            self.calls.append(self._identify(weight_argument(args, kwargs)))
        elif func in (F.embedding, F.embedding_bag):
            self.looked_up |= {
                self._names[id(t)] for t in tensors_in([args, kwargs]) if id(t) in self._names
            }
        elif func in _OTHER_PRODUCTS:
            for tensor in tensors_in([args, kwargs]):
                if id(tensor) in self._names and tensor.dim() > 1:
                    raise UnsupportedOperationError(
                        f"parameter {self._names[id(tensor)]!r} is used in "
                        f"{operation_name(func)}; only the weights of linear and convolution "
                        "calls (torch.nn.functional.linear, conv2d, ...) can be programmed into "
                        "devices"
                    )
        return func(*args, **kwargs)

    def _identify(self, weight: Tensor) -> Call:
        if id(weight) in self._names:
            direct = self._names[id(weight)]
            return Call(plain_name(direct), direct, weight.detach(), True)
        sources = {name for name, leaf in self._leaves(weight) if leaf.shape == weight.shape}
        if len(sources) > 1:
            raise UnsupportedOperationError(
                f"a weight of shape {tuple(weight.shape)} is computed from several parameters "
                f"({', '.join(sorted(sources))}); which one is programmed cannot be told"
            )
        parameter: str | None = sources.pop() if sources else None
        if parameter is None and weight.requires_grad:
            raise UnsupportedOperationError(
                f"a weight of shape {tuple(weight.shape)} is computed from parameters of other "
                "shapes; only a parameter, or its quantised value, can be programmed"
            )
        return Call(parameter and plain_name(parameter), parameter, weight.detach(), False)

    def _leaves(self, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
        for node in graph_behind(tensor):
            leaf = getattr(node, "variable", None)
            if leaf is not None and id(leaf) in self._names:
                yield self._names[id(leaf)], leaf


def parameters_of(model: nn.Module, requires_grad: bool) -> dict[str, Tensor]:
    """Stand-ins for the model's parameters that share their memory."""
    return _stand_ins(dict(model.named_parameters()), requires_grad)


def _stand_ins(parameters: Mapping[str, Tensor], requires_grad: bool) -> dict[str, Tensor]:
    return {
        name: p.detach().requires_grad_(requires_grad and p.is_floating_point())
        for name, p in parameters.items()
    }


def buffers_of(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the model's buffers, for a forward pass that may write to them."""
    return {name: b.clone() for name, b in model.named_buffers()}


def trace(
    model: nn.Module, inputs: Any, parameters: Mapping[str, Tensor] | None = None
) -> list[Call]:
    """Run the model once on ``inputs`` and list its weighted calls, in order.

    Args:
        model: the network.
        inputs: a batch for it.
        parameters: what it runs with, and whose memory the weights are then of; its own if None.

    Raises:
        UnsupportedOperationError: a parameter enters a matrix product in a way that cannot be
            programmed, or the model holds scripted or traced parts, which cannot be watched.
    """
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise UnsupportedOperationError(
                f"{name or 'the model'!r} is a scripted or traced module, whose operations "
                "cannot be seen; pass the original nn.Module"
            )
    given = dict(model.named_parameters()) if parameters is None else parameters
    parameters = _stand_ins(given, requires_grad=True)
    recorder = _Recorder(parameters)
    with shown(inputs), torch.enable_grad(), recorder:
        state = {**parameters, **buffers_of(model)}
        torch.func.functional_call(model, state, arguments(inputs))
    if not any(call.name for call in recorder.calls):
        raise UnsupportedOperationError(
            "the model has no linear or convolutional weights to program"
        )
    return [
        # A table that is also read line by line is digital there: only the call is programmed.
        replace(call, direct=call.direct and call.parameter not in recorder.looked_up)
        for call in recorder.calls
    ]


def weights_of(calls: Iterable[Call]) -> dict[str, Tensor]:
    """The programmed weights by plain name, in the order in which they are first used."""
    return {call.name: call.weight for call in calls if call.name}


@contextlib.contextmanager
def left_alone(model: nn.Module) -> Iterator[None]:
    """Run the block in eval mode; afterwards training flags and random states are as before."""
    flags = {module: module.training for module in model.modules()}
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
            module.training = flag
        random.setstate(states[0])
        np.random.set_state(states[1])


def device_of(model: nn.Module) -> torch.device:
    """Where the model's parameters live."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))
