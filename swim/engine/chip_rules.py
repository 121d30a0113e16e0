"""Operations without weights on activations that hold all chips, (N, R x C, ...).

A rule is called with the operation and its arguments and returns what the operation gives on each
chip. An operation that is not listed here has no rule.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from swim.engine.activations import mark_of, require
from swim.engine.kernels import SUBSTITUTES
from swim.networks.weights.operations import operation_name, tensors_in

Rule = Callable[..., Tensor]

# Operations on each element or channel by itself.
_EACH = {
    torch.relu, torch.relu_, F.relu, F.relu_, Tensor.relu, Tensor.relu_,
    F.relu6, F.hardtanh, F.leaky_relu, F.elu, F.gelu, F.silu, F.hardswish, F.hardsigmoid, F.mish,
    torch.sigmoid, Tensor.sigmoid, torch.tanh, Tensor.tanh, F.softplus,
    torch.clone, Tensor.clone, Tensor.contiguous, F.embedding,
}  # fmt: skip
_POOLS = {
    F.max_pool1d: 1, F.avg_pool1d: 1, F.adaptive_avg_pool1d: 1, F.adaptive_max_pool1d: 1,
    F.max_pool2d: 2, F.avg_pool2d: 2, F.adaptive_avg_pool2d: 2, F.adaptive_max_pool2d: 2,
    torch.max_pool2d: 2,
    F.max_pool3d: 3, F.avg_pool3d: 3, F.adaptive_avg_pool3d: 3, F.adaptive_max_pool3d: 3,
}  # fmt: skip
_ARITHMETIC = {
    torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__radd__, Tensor.__iadd__,
    torch.sub, Tensor.sub, Tensor.__sub__, Tensor.__rsub__,
    torch.mul, Tensor.mul, Tensor.mul_, Tensor.__mul__, Tensor.__rmul__, Tensor.__imul__,
    torch.div, Tensor.div, Tensor.__truediv__,
    torch.clamp, Tensor.clamp, Tensor.clamp_,
    torch.fake_quantize_per_tensor_affine,
}  # fmt: skip


def rule_for(func: Any, chips: int) -> Rule:
    """The rule of an operation.

    Raises:
        NotBatchableError: it has none.
    """
    if func in _EACH:
        return _each
    if func in _POOLS:
        return pool
    if func in _ARITHMETIC:
        return _arithmetic
    name = operation_name(func)
    if name in _BY_CHIPS:
        return partial(_BY_CHIPS[name], chips)
    require(name in _BY_NAME, f"there is no rule for {name}")
    return _BY_NAME[name]


def _each(func: Any, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    result: Tensor = SUBSTITUTES.get(func, func)(input, *args, **kwargs)
    return result


def pool(func: Any, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Pooling, channel by channel."""
    require(input.dim() == 2 + _POOLS[func], "pooling without a batch")
    result = _each(func, input, *args, **kwargs)
    require(isinstance(result, Tensor), "pooling with indices")
    return result


def _arithmetic(func: Any, *args: Any, **kwargs: Any) -> Tensor:
    """Between activations of all chips, and with single numbers."""
    tensors = list(tensors_in([args, kwargs]))
    shapes = {(t.dim(), t.size(1)) for t in tensors if mark_of(t)}
    require(len(shapes) == 1, "arithmetic between other shapes")
    require(all(mark_of(t) or t.numel() == 1 for t in tensors), "arithmetic with a vector")
    return _each(func, *args, **kwargs)


def _flatten(func: Any, input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    require(start_dim >= 1, "flattening the batch")
    return torch.flatten(input, start_dim, end_dim)


def _view(func: Any, input: Tensor, *shape: Any) -> Tensor:
    """Only as a way to flatten."""
    sizes = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
    require(len(sizes) == 2, "reshaping to more than two dimensions")
    require(sizes[0] == input.size(0) or sizes[1] == input[0].numel(), "reshaping the batch")
    return input.reshape(input.size(0), -1)


def _reduce(func: Any, input: Tensor, dim: Any = None, *args: Any, **kwargs: Any) -> Tensor:
    dims = [dim] if isinstance(dim, int) else list(dim or [0])
    require(all(d % input.dim() >= 2 for d in dims), "reducing over channels or images")
    return _each(func, input, dim, *args, **kwargs)


def _dropout(
    func: Any, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    require(not training, "dropout in training mode")
    return input


_BY_NAME: dict[str, Callable[..., Tensor]] = {
    "flatten": _flatten,
    "view": _view,
    "reshape": _view,
    "mean": _reduce,
    "sum": _reduce,
    **{name: _dropout for name in ("dropout", "dropout1d", "dropout2d", "dropout3d")},
}


def _batch_norm(
    chips: int,
    func: Any,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    require(not training, "batch-norm over the batch")
    values = (running_mean, running_var, weight, bias)
    mean, var, scale, shift = (None if v is None else v.repeat(chips) for v in values)
    return F.batch_norm(input, mean, var, scale, shift, False, momentum, eps)


def _concatenate(chips: int, func: Any, tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """The channels of each chip, not of all chips, one after the other."""
    require(all(mark_of(t) for t in tensors), "chips joined with a constant")
    require(dim == 1, "joining other dimensions than channels")
    split = [t.unflatten(1, (chips, -1)) for t in tensors]
    return torch.cat(split, 2).flatten(1, 2)


_BY_CHIPS: dict[str, Rule] = {"batch_norm": _batch_norm, "cat": _concatenate}
