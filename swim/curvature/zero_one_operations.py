"""Operations whose Jacobian holds only zeros and ones: autograd's backward is the recursion.

Two lists guard the same door from both sides: functions, as the forward calls them, and nodes,
as autograd's graph names them. Both say yes only to what has been checked.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from swim.networks.weights.operations import asks, operation_name

_PIECEWISE = {
    torch.relu, torch.relu_, F.relu, F.relu_, Tensor.relu, Tensor.relu_,
    F.relu6, F.hardtanh, F.hardtanh_, torch.clamp, Tensor.clamp, Tensor.clamp_,
    F.max_pool1d, torch.max_pool1d, F.max_pool2d, torch.max_pool2d, F.max_pool2d_with_indices,
    F.max_pool3d, torch.max_pool3d, F.adaptive_max_pool1d, torch.adaptive_max_pool1d,
    F.adaptive_max_pool2d, F.adaptive_max_pool2d_with_indices, F.adaptive_max_pool3d,
    torch.fake_quantize_per_tensor_affine, torch.fake_quantize_per_channel_affine,
}  # fmt: skip
_MOVING = {
    torch.flatten, Tensor.flatten, torch.unflatten, Tensor.unflatten,
    torch.reshape, Tensor.reshape, Tensor.view, Tensor.view_as, Tensor.reshape_as,
    torch.squeeze, Tensor.squeeze, torch.unsqueeze, Tensor.unsqueeze,
    torch.permute, Tensor.permute, torch.transpose, Tensor.transpose, torch.t, Tensor.t,
    torch.cat, torch.concat, torch.concatenate, torch.stack,
    torch.chunk, Tensor.chunk, torch.split, Tensor.split, torch.unbind, Tensor.unbind,
    torch.narrow, Tensor.narrow, torch.select, Tensor.select, Tensor.__getitem__,
    Tensor.expand, Tensor.expand_as, Tensor.contiguous, torch.clone, Tensor.clone,
    Tensor.to, Tensor.float, Tensor.double, Tensor.half, Tensor.bfloat16, Tensor.type_as,
    torch.movedim, Tensor.movedim, torch.swapaxes, Tensor.swapaxes, Tensor.repeat,
    torch.roll, Tensor.roll, torch.flip, Tensor.flip,
    F.pixel_shuffle, F.pixel_unshuffle, torch.channel_shuffle,
    torch.sum, Tensor.sum,
    F.pad,
    torch.masked_fill, Tensor.masked_fill, torch.where, Tensor.where,
    torch.tril, Tensor.tril, torch.triu, Tensor.triu,
    torch.index_select, Tensor.index_select, torch.repeat_interleave, Tensor.repeat_interleave,
    Tensor.unfold, F.unfold, F.fold,
}  # fmt: skip
# Give no floating-point numbers: their derivative is zero wherever there is one.
_COMPARISONS = {
    "gt", "ge", "lt", "le", "eq", "ne", "greater", "greater_equal", "less", "less_equal",
    "not_equal", "__gt__", "__ge__", "__lt__", "__le__", "__eq__", "__ne__", "isnan", "isinf",
    "isfinite", "argmax", "argmin", "argsort", "signbit",
}  # fmt: skip
_DROPOUTS = {
    F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout,
    torch.dropout,
}  # fmt: skip

FUNCTIONS = frozenset(_PIECEWISE | _MOVING)

NODES = frozenset(
    {
        "ReluBackward0", "HardtanhBackward0", "ClampBackward0", "ClampBackward1",
        "MaxPool2DWithIndicesBackward0", "MaxPool3DWithIndicesBackward0",
        "AdaptiveMaxPool2DBackward0", "AdaptiveMaxPool3DBackward0",
        "FakeQuantizePerTensorAffineCachemaskBackward0",
        "FakeQuantizePerTensorAffineCachemaskTensorQparamsBackward0",
        "FakeQuantizePerChannelAffineCachemaskBackward0",
        "ViewBackward0", "UnsafeViewBackward0", "ReshapeAliasBackward0", "AliasBackward0",
        "SqueezeBackward0", "SqueezeBackward1", "SqueezeBackward2", "UnsqueezeBackward0",
        "PermuteBackward0", "TransposeBackward0", "TBackward0",
        "CatBackward0", "StackBackward0", "SplitBackward0", "SplitWithSizesBackward0",
        "UnbindBackward0", "SliceBackward0", "SelectBackward0", "IndexBackward0",
        "ExpandBackward0", "CloneBackward0", "ToCopyBackward0", "SumBackward0", "SumBackward1",
        "ConstantPadNdBackward0", "RepeatBackward0", "RollBackward0", "FlipBackward0",
        "MaskedFillBackward0", "WhereBackward0", "TrilBackward0", "TriuBackward0",
        "IndexSelectBackward0", "UnfoldBackward0", "Im2ColBackward0", "Col2ImBackward0",
        "PixelShuffleBackward0", "PixelUnshuffleBackward0", "ChannelShuffleBackward0",
        "ReflectionPad1DBackward0", "ReflectionPad2DBackward0", "ReflectionPad3DBackward0",
        "ReplicationPad1DBackward0", "ReplicationPad2DBackward0", "ReplicationPad3DBackward0",
        "torch::autograd::CopyBackwards",
    }
)  # fmt: skip


def function(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call may run as it is, with autograd's own backward."""
    name = operation_name(func)
    if asks(func) or name in ("Tensor.T", "Tensor.mT") or name in _COMPARISONS:
        return True
    if func in _DROPOUTS:
        # In eval mode it hands its input on.
        training = kwargs.get("training", args[2] if len(args) > 2 else True)
        return training is False
    if func in (torch.clamp, Tensor.clamp, Tensor.clamp_):
        limits = [*args[1:], *kwargs.values()]
        return not any(isinstance(limit, Tensor) for limit in limits)
    return func in FUNCTIONS


def node(node: Any) -> bool:
    """Whether a node of autograd's graph has a Jacobian of zeros and ones."""
    name = node.name()
    if name in ("AddBackward0", "AddBackward1"):
        return getattr(node, "_saved_alpha", 1) == 1
    return name in NODES
