"""Classes of torch functions by name: how each uses a weight.

A *contraction* sums products over an axis: a linear, convolution or recurrent layer, a matrix
product, ``einsum``. Other operations move values (views, copies), work entry by entry, or read
rows. A function that is not named here and combines weights with activations is refused
(:mod:`swim.networks.weights.tracing`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch._ops import OpOverload, OpOverloadPacket

# Where a tensor lies in a call: an index or a name, then indices into nested lists.
Path = tuple[int | str, ...]
Arguments = tuple[tuple[Any, ...], Mapping[str, Any]]

# Return facts about a tensor, not its values.
_ASKING = {
    "size", "dim", "numel", "stride", "__len__", "ndimension", "is_contiguous",
    "is_floating_point", "is_complex", "element_size", "get_device", "is_tensor", "nelement",
    "type", "storage_offset", "data_ptr", "untyped_storage", "storage", "is_nonzero", "is_shared",
    "is_pinned", "is_same_size", "is_set_to", "is_inference", "is_conj", "is_neg", "is_signed",
    "is_storage", "has_names", "__hash__", "__repr__", "__format__", "__dir__", "dim_order",
    "_is_view", "result_type", "can_cast", "get_default_dtype", "is_grad_enabled", "__set__",
    "broadcast_shapes",
}  # fmt: skip
_ATTRIBUTES = {
    "shape", "dtype", "device", "ndim", "layout", "requires_grad", "is_leaf", "is_cuda",
    "is_sparse", "is_quantized", "is_meta", "is_mps", "is_mkldnn", "itemsize", "nbytes", "names",
    "is_nested", "grad_fn", "_version", "retains_grad", "output_nr", "name", "is_cpu", "is_xpu",
    "is_xla", "is_vulkan", "is_sparse_csr",
}  # fmt: skip

# Move values, and copy or convert them between floating types.
MOVES = {
    "view", "reshape", "t", "transpose", "permute", "Tensor.T", "Tensor.mT", "Tensor.data",
    "adjoint", "flatten", "ravel", "unflatten", "squeeze", "unsqueeze", "expand", "expand_as",
    "broadcast_to", "contiguous", "clone", "detach", "detach_", "alias", "lift_fresh",
    "requires_grad_", "chunk", "split", "split_with_sizes", "tensor_split", "unbind", "narrow",
    "select", "__getitem__", "index_select", "cat", "concat", "concatenate", "stack", "hstack",
    "vstack", "dstack", "column_stack", "row_stack", "movedim", "moveaxis", "swapaxes", "swapdims",
    "repeat", "repeat_interleave", "tile", "roll", "flip", "fliplr", "flipud", "rot90", "view_as",
    "reshape_as", "pad", "constant_pad_nd", "unfold", "diagonal", "to", "float", "double", "half",
    "bfloat16", "type_as", "cpu", "cuda", "positive", "as_subclass", "slice", "_to_copy", "hsplit",
    "vsplit", "dsplit", "unsafe_chunk", "unsafe_split", "atleast_1d", "atleast_2d", "atleast_3d",
    "as_tensor", "__deepcopy__", "as_strided", "block_diag", "squeeze_", "unsqueeze_", "t_",
    "transpose_", "swapaxes_", "pin_memory", "type", "embedding", "gather", "take",
    "take_along_dim",
}  # fmt: skip
# Of these, those that only cut autograd's graph: nothing to repeat on another tensor.
CUTS = {"detach", "detach_", "Tensor.data", "requires_grad_", "lift_fresh", "alias"}
# Take no more from their other tensor than its shape or type.
_LIKE_ANOTHER = {"expand_as", "view_as", "reshape_as", "type_as", "to"}
# Make tensors whose values come from no tensor.
FACTORIES = {
    "new_zeros", "new_ones", "new_empty", "new_full", "new_tensor", "new_empty_strided",
    "zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like",
    "randint_like",
}  # fmt: skip

_CONVOLUTIONS = {
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
    "convolution", "_convolution", "conv_tbc", "mkldnn_convolution", "cudnn_convolution",
    "convolution_overrideable", "thnn_conv2d", "_slow_conv2d_forward", "slow_conv3d",
    "conv_depthwise3d", "_conv_depthwise2d", "slow_conv_transpose2d", "slow_conv_transpose3d",
    "slow_conv_dilated2d", "slow_conv_dilated3d",
}  # fmt: skip
_WEIGHT_SECOND = _CONVOLUTIONS | {"linear", "mkldnn_linear"}
_RECURRENT = {"lstm", "gru", "rnn_tanh", "rnn_relu"}
_CELLS = {"lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"}
_PRODUCTS = {
    "matmul", "__matmul__", "__rmatmul__", "__imatmul__", "mm", "bmm", "mv", "dot", "vdot",
    "inner", "tensordot", "einsum", "linalg_matmul", "linalg_vecdot", "vecdot", "chain_matmul",
    "linalg_multi_dot", "bilinear", "_trilinear", "scaled_dot_product_attention", "sparse_mm",
    "_sparse_mm", "smm", "hspmm", "dsmm", "spmm", "_int_mm", "_scaled_mm", "_weight_int8pack_mm",
    "_weight_int4pack_mm", "cosine_similarity", "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_attention_math", "flex_attention", "convolve", "grouped_mm",
    "_grouped_mm", "scaled_mm", "scaled_grouped_mm",
}  # fmt: skip
# Products that add to their first argument.
_ADDING = {"addmm", "addmv", "addbmm", "baddbmm", "sspaddmm", "addmm_", "addmv_", "addbmm_",
           "baddbmm_", "_addmm_activation"}  # fmt: skip
_ADDED = {0, "input", "self", "bias"}
_MASKS = {3, "attn_mask", "attn_bias", "block_mask", "score_mod"}
_NOT_FACTORS = {"out"}

_LOOK_UPS = {
    "embedding", "embedding_bag", "getitem", "index_select", "gather", "take", "take_along_dim",
    "index", "embedding_renorm", "select", "narrow",
}  # fmt: skip
_NORMS = {
    "batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm", "native_batch_norm",
    "native_layer_norm", "native_group_norm", "local_response_norm", "fused_rms_norm",
    "_native_batch_norm_legit_no_training", "cudnn_batch_norm",
}  # fmt: skip
_ENTRY_BY_ENTRY = {
    "add", "sub", "subtract", "rsub", "mul", "multiply", "div", "divide", "true_divide", "truediv",
    "floor_divide", "floordiv", "remainder", "mod", "fmod", "pow", "maximum", "minimum", "fmax",
    "fmin", "max", "min", "where", "clamp", "clip", "clamp_min", "clamp_max", "lerp", "addcmul",
    "addcdiv", "prelu", "hypot", "atan2", "arctan2", "copysign", "eq", "ne", "lt", "le", "gt", "ge",
    "not_equal", "greater", "greater_equal", "less", "less_equal", "logical_and", "logical_or",
    "logical_xor", "bitwise_and", "bitwise_or", "bitwise_xor", "and", "or", "xor", "masked_fill",
    "masked_scatter", "masked_select", "fake_quantize_per_tensor_affine",
    "fake_quantize_per_channel_affine", "_fake_quantize_learnable_per_tensor_affine",
    "_fake_quantize_learnable_per_channel_affine", "fused_moving_avg_obs_fake_quant", "cat",
    "concat", "concatenate", "stack", "hstack", "vstack", "dstack", "column_stack", "index_add",
    "index_copy", "index_put", "index_fill", "scatter", "scatter_add", "scatter_reduce", "outer",
    "ger", "kron", "addr", "setitem", "copy", "searchsorted", "bucketize", "isin", "isclose",
    "allclose", "equal", "cross", "xlogy", "logaddexp", "logaddexp2", "complex", "polar",
    "heaviside", "fill", "ldexp", "nextafter", "float_power", "bitwise_left_shift",
    "bitwise_right_shift", "lshift", "rshift", "softshrink", "threshold", "apply_rotary_emb",
    "dropout", "broadcast_tensors", "meshgrid", "block_diag", "slice_scatter", "select_scatter",
    "diagonal_scatter", "rad2deg", "swiglu", "glu", "pad",
}  # fmt: skip
# Those that keep a product of a weight and an activation a product, up to factors.
_KEEP_PRODUCTS = {
    "add", "sub", "subtract", "rsub", "mul", "multiply", "div", "divide", "true_divide", "truediv",
    "neg", "negative", "where", "masked_fill", "cat", "concat", "concatenate", "stack",
    "index_add", "addcmul", "dropout", "real", "imag", "view_as_real", "view_as_complex", "conj",
}  # fmt: skip
_TIMES = {"mul", "multiply", "div", "divide", "true_divide", "truediv", "addcmul", "addcdiv",
          "outer", "ger", "kron", "addr", "einsum", "lerp"}  # fmt: skip
_SUMS = {"sum", "mean", "nansum", "nanmean", "cumsum", "trace", "sum_to_size", "logcumsumexp",
         "segment_reduce", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d",
         "adaptive_avg_pool2d", "adaptive_avg_pool3d", "einsum", "norm", "linalg_vector_norm",
         "var", "std", "fold"}  # fmt: skip
_JUMPS = {"round", "floor", "ceil", "trunc", "frac", "sign", "sgn", "fmod", "remainder"}
_TO_PYTHON = {
    "item", "tolist", "numpy", "__bool__", "__int__", "__float__", "__index__", "__complex__",
    "__array__", "__contains__", "equal", "allclose", "is_nonzero", "__dlpack__", "__iter__",
    "all_close", "_local_scalar_dense",
}  # fmt: skip
_SHAPED_BY_VALUES = {
    "nonzero", "masked_select", "unique", "unique_consecutive", "argwhere", "bincount",
    "_unique2", "unique_dim", "histc", "masked_scatter", "repeat_interleave", "nonzero_static",
}  # fmt: skip


def operation_name(func: Any) -> str:
    """A function's name as a user knows it."""
    if isinstance(func, OpOverload | OpOverloadPacket):
        return str(func.__name__).partition(".")[0]
    name = getattr(func, "__name__", repr(func))
    owner = getattr(func, "__self__", None)
    if name == "__get__":
        return f"Tensor.{getattr(owner, '__name__', '?')}"
    return {"boolean_dispatch": "F.max_pool with return_indices"}.get(name, name)


def _plain(name: str) -> str:
    """The same for an operator, its reflection, and what writes in place: ``__radd__`` is add."""
    bare = name.strip("_") if name.startswith("__") else name.removesuffix("_")
    if name.startswith("__") and bare not in _ENTRY_BY_ENTRY and bare[1:] in _ENTRY_BY_ENTRY:
        return bare[1:]
    return bare


def asks(func: Any) -> bool:
    """Whether a call only tells about a tensor."""
    name = getattr(func, "__name__", "")
    if name == "__get__":
        return getattr(func.__self__, "__name__", "") in _ATTRIBUTES
    return name in _ASKING


def sets_data(func: Any) -> bool:
    """Whether a call is ``tensor.data = values``."""
    owner = getattr(func, "__self__", None)
    return getattr(func, "__name__", "") == "__set__" and getattr(owner, "__name__", "") == "data"


def leaves_torch(name: str) -> bool:
    """Whether an operation hands a tensor's values to Python."""
    return name in _TO_PYTHON


def depends_on_values(name: str, args: Sequence[Any]) -> bool:
    """Whether the shape of a result, or what Python does next, depends on values."""
    if name == "__getitem__" and len(args) > 1:
        index = args[1] if isinstance(args[1], tuple | list) else (args[1],)
        return any(isinstance(i, Tensor) and not i.dtype.is_floating_point
                   and str(i.dtype) in ("torch.bool", "torch.uint8") for i in index)  # fmt: skip
    if name == "where":
        return len(args) == 1
    return name in _SHAPED_BY_VALUES or name in _TO_PYTHON


def writes(name: str, kwargs: Mapping[str, Any]) -> bool:
    """Whether an operation may write to one of its arguments."""
    return (
        name in ("__setitem__", "detach_") or "out" in kwargs or kwargs.get("inplace") is True
        or (name.endswith("_") and not name.startswith("__")) or name.startswith("__i")
    )  # fmt: skip


def moves(name: str) -> bool:
    """Whether an operation only moves values."""
    return name in MOVES


def only_shapes(name: str) -> bool:
    """Whether an operation takes no values from its second tensor."""
    return name in _LIKE_ANOTHER


def digital_use(name: str) -> str | None:
    """What a known operation on a weight and an activation does with the weight; None: unknown."""
    plain = _plain(name)
    if plain in _LOOK_UPS:
        return f"read by index ({name})"
    if plain in _NORMS:
        return f"of a normalisation ({name})"
    if plain in _ENTRY_BY_ENTRY or plain == "einsum":
        return f"combined entry by entry ({name})"
    return None


def multiplies(name: str) -> bool:
    """Whether an entry-by-entry operation gives products of its arguments."""
    return _plain(name) in _TIMES


def keeps_products(name: str) -> bool:
    """Whether products of a weight and an activation are still such afterwards."""
    return _plain(name) in _KEEP_PRODUCTS or name in MOVES


def adds_product(name: str) -> bool:
    """Whether an operation adds a product of its later arguments to its first."""
    return _plain(name) in {"addcmul", "addcdiv", "addr"}


def looks_up(name: str) -> bool:
    """Whether an operation reads rows of a table by an index."""
    return _plain(name) in _LOOK_UPS


def sums(name: str) -> bool:
    """Whether an operation sums over axes."""
    return name in _SUMS or name.startswith(("fft_", "stft", "istft"))


def jumps(name: str) -> bool:
    """Whether a difference in the last bits of an operation's input may become a large one."""
    return name.strip("_") in _JUMPS or "quantize" in name


def batch_statistics(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a normalisation takes its mean and variance from the batch."""
    if name == "batch_norm":
        return bool(kwargs.get("training", args[5] if len(args) > 5 else False))
    return name in ("native_batch_norm", "_native_batch_norm_legit") and bool(
        kwargs.get("training", args[5] if len(args) > 5 else False)
    )


@dataclass(frozen=True)
class Factors:
    """The tensors of a contraction that may be weights.

    Attributes:
        paths: where they lie in the call.
        layer: whether the call is a layer, which has a place for its weight: a stored tensor there
            is a weight whatever the layer's input.
    """

    paths: tuple[Path, ...]
    layer: bool


def factors(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Factors | None:
    """The factors of a contraction; None for any other operation."""
    if name in _WEIGHT_SECOND:
        return Factors(((1,) if len(args) > 1 else ("weight",),), True)
    if name in _RECURRENT:
        return Factors(tuple(_recurrent_weights(args)), True)
    if name in _CELLS:
        names: tuple[int | str, ...] = (2, 3) if len(args) > 3 else ("w_ih", "w_hh")
        return Factors(tuple((name,) for name in names), True)
    if name in _PRODUCTS or name in _ADDING:
        skipped = _ADDED if name in _ADDING else _NOT_FACTORS
        if name == "bilinear":
            skipped = {3, "bias"}
        elif "attention" in name:
            skipped = _MASKS
        found = [p for p, _ in places(args, kwargs) if p[0] not in skipped and p[0] != "out"]
        if name == "einsum":
            found = [p for p in found if _einsum_sums(args, p)]
        return Factors(tuple(found), False) if found else None
    return None


def _recurrent_weights(args: Sequence[Any]) -> Iterator[Path]:
    """Of ``lstm(input, hx, parameters, ...)``, or with ``batch_sizes`` behind the input."""
    place = 2 if isinstance(args[2], list | tuple) and isinstance(args[3], bool) else 3
    for i, tensor in enumerate(args[place]):
        if tensor.dim() > 1:
            yield (place, i)


def _einsum_sums(args: Sequence[Any], path: Path) -> bool:
    """Whether an operand of ``einsum`` has an index that is summed over."""
    if not isinstance(args[0], str):
        return True
    operands, arrow, result = args[0].replace(" ", "").partition("->")
    terms = operands.split(",")
    number = int(path[-1]) - (1 if len(path) == 1 else 0)
    own = set(terms[number]) - {"."}
    if not arrow:
        result = "".join(c for c in operands if operands.count(c) == 1 and c.isalpha())
    return bool(own - set(result)) or (
        "..." in terms[number] and bool(arrow) and "..." not in result
    )


def tensors_in(arguments: Any) -> Iterator[Tensor]:
    """All tensors in nested lists, tuples and mappings."""
    if isinstance(arguments, Tensor):
        yield arguments
    elif isinstance(arguments, list | tuple):
        for item in arguments:
            yield from tensors_in(item)
    elif isinstance(arguments, Mapping):
        yield from tensors_in(list(arguments.values()))


def places(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[tuple[Path, Tensor]]:
    """All tensors of a call, and where they lie in it."""
    entries: list[tuple[Any, Any]] = [*enumerate(args), *kwargs.items()]
    for key, value in entries:
        if isinstance(value, Tensor):
            yield (key,), value
        elif isinstance(value, list | tuple):
            yield from _nested((key,), value)


def _nested(path: tuple[Any, ...], values: Sequence[Any]) -> Iterator[tuple[Path, Tensor]]:
    for i, value in enumerate(values):
        if isinstance(value, Tensor):
            yield (*path, i), value
        elif isinstance(value, list | tuple):
            yield from _nested((*path, i), value)


def put(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], tensors: Mapping[Path, Tensor]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The call's arguments with other tensors at some places."""
    positional, named = list(args), dict(kwargs)
    for path, tensor in tensors.items():
        into: Any = positional if isinstance(path[0], int) else named
        into[path[0]] = _replaced(into[path[0]], path[1:], tensor)
    return tuple(positional), named


def _replaced(value: Any, path: Path, tensor: Tensor) -> Any:
    if not path:
        return tensor
    items = list(value)
    items[int(path[0])] = _replaced(items[int(path[0])], path[1:], tensor)
    if isinstance(value, tuple):
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return items


def at(args: Sequence[Any], kwargs: Mapping[str, Any], path: Path) -> Any:
    """What lies at a place of a call."""
    value: Any = args[path[0]] if isinstance(path[0], int) else kwargs[path[0]]
    for step in path[1:]:
        value = value[int(step)]
    return value
