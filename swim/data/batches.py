"""A caller's batches, read in one place: pairs of inputs and labels as tensors.

Numpy arrays become tensors, several inputs of a network become :class:`Several`, and batches
without samples are left out. Batches that cannot be read without a guess are refused, and the
message says what to pass instead.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard, cast

import numpy as np
import torch
from torch import Tensor, nn

from swim.data.labels import IGNORED
from swim.errors import DataError, UnsupportedOperationError

Keys = str | Sequence[str] | None
_LABELS = ("labels", "label", "targets", "target", "y")
_EMPTY = "batches is empty: (inputs, labels) pairs are needed"
# Exceptions of a network's forward pass on inputs that it does not take.
_RAISED = (RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError)
# Modules that run another module as replicas, or compiled -> attribute with the module inside.
_WRAPPERS = {
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "FullyShardedDataParallel": "module",
    "OptimizedModule": "_orig_mod",
}


@dataclass(frozen=True)
class Several:
    """Several inputs of a network, called as ``model(*tensors)``: each (samples, ...)."""

    tensors: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: Any) -> "Several":
        return self.each(lambda tensor: tensor[index])

    def each(self, change: Callable[[Tensor], Tensor]) -> "Several":
        """A copy in which each tensor is ``change(tensor)``."""
        return Several(tuple(change(tensor) for tensor in self.tensors))

    def to(self, *place: Any) -> "Several":
        """A copy on another torch device, or of another dtype."""
        return self.each(lambda tensor: tensor.to(*place))

    def clone(self) -> "Several":
        """Copies."""
        return self.each(Tensor.clone)

    def split(self, size: int) -> "list[Several]":
        """Parts of at most ``size`` samples."""
        parts = zip(*(tensor.split(size) for tensor in self.tensors), strict=True)
        return [Several(part) for part in parts]


Inputs = Tensor | Several


def arguments(inputs: Any) -> tuple[Any, ...]:
    """Positional arguments of a network's call."""
    return inputs.tensors if isinstance(inputs, Several) else (inputs,)


def each_tensor(inputs: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    """Inputs of the same kind, in which each tensor is ``change(tensor)``."""
    return inputs.each(change) if isinstance(inputs, Several) else change(inputs)


def joined(parts: Sequence[Inputs]) -> Inputs:
    """The samples of several batches as one.

    Raises:
        DataError: their shapes differ.
    """
    if len({_shapes(part) for part in parts}) > 1:
        raise DataError(
            "batches hold inputs or labels of different shapes, which cannot be joined to draw "
            "samples of images from"
        )
    if isinstance(parts[0], Several):
        columns = zip(*(arguments(part) for part in parts), strict=True)
        return Several(tuple(torch.cat(column) for column in columns))
    return torch.cat([part for part in parts if isinstance(part, Tensor)])


def _shapes(inputs: Inputs) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(tensor.shape[1:]) for tensor in arguments(inputs))


def alike(some: Inputs, others: Inputs) -> bool:
    """Whether samples of two batches have the same shapes and types."""
    kinds = [[(t.shape[1:], t.dtype) for t in arguments(inputs)] for inputs in (some, others)]
    return kinds[0] == kinds[1]


def first(
    model: nn.Module, batches: Iterable[Any], inputs: Keys = None
) -> tuple[tuple[Inputs, Any], Iterator[tuple[Inputs, Any]]]:
    """The first batch, and an iterator over all that still begins with it.

    Raises:
        UnsupportedOperationError, DataError: as :func:`read`.
    """
    stream = read(model, batches, inputs)
    batch = next(stream)

    def again() -> Iterator[tuple[Inputs, Any]]:
        yield batch
        yield from stream

    return batch, again()


def read(
    model: nn.Module, batches: Iterable[Any], inputs: Keys = None
) -> Iterator[tuple[Inputs, Any]]:
    """Pairs of inputs and labels, as tensors; batches without samples are left out.

    Args:
        model: the network; arrays of floats become tensors of its dtype.
        batches: an iterable of pairs (inputs, labels), such as a ``DataLoader``; tensors or numpy
            arrays, each with one row per sample. A tuple or list of inputs is several inputs, with
            which the model is called as ``model(*inputs)``. Labels may be None.
        inputs: where inputs, or whole batches, are dicts: the key of the input, or the keys of
            several in the order in which the model takes them. Labels of a batch that is a dict
            are under ``labels``, ``label``, ``targets``, ``target`` or ``y``.

    Raises:
        UnsupportedOperationError: the model runs another module, as ``DataParallel`` does.
        DataError: there are no samples, or a batch is not such a pair; the message says what it is.
    """
    check(model, batches)
    found = any_counts = False
    given = (
        batches if isinstance(batches, Iterable) else map(batches.__getitem__, range(len(batches)))
    )
    for batch in given:
        own, labels = pair(model, batch, inputs)
        if len(own):
            found = True
            any_counts = any_counts or counts(labels)
            yield own, labels
    if not found:
        again = "; an iterator gives its batches only once" if isinstance(batches, Iterator) else ""
        raise DataError(f"{_EMPTY}{again}")
    if not any_counts:
        raise DataError(f"no label counts: all are {IGNORED}")


def counts(labels: Any) -> bool:
    """Whether any label of a batch counts; labels that are not class numbers always do."""
    if not isinstance(labels, Tensor) or labels.is_floating_point():
        return True
    return bool((labels != IGNORED).any())


def check(model: nn.Module, batches: Any) -> None:
    """Raise if the model only wraps another one, or if ``batches`` is no iterable of batches."""
    _check_model(model)
    if isinstance(batches, torch.utils.data.Dataset) and not isinstance(
        batches, torch.utils.data.IterableDataset
    ):
        raise DataError(
            f"batches is a {type(batches).__name__}, a data set of single samples; pass "
            "torch.utils.data.DataLoader(dataset, batch_size=...)"
        )
    if isinstance(batches, Tensor | np.ndarray | Mapping | str):
        raise DataError(
            f"batches is {_kind(batches)}; each batch must be a pair (inputs, labels): pass a "
            "list of pairs, [(inputs, labels)], or a DataLoader"
        )
    if not isinstance(batches, Iterable) and not by_number(batches):
        raise DataError(
            f"batches is a {type(batches).__name__}, which cannot be iterated over: pass a list of "
            "(inputs, labels) pairs, or a DataLoader"
        )
    single = isinstance(batches, list | tuple) and len(batches) == 2
    if single and isinstance(batches[0], Tensor | np.ndarray):  # type: ignore[index]
        raise DataError(
            "batches is one pair (inputs, labels); put it into a list: [(inputs, labels)]"
        )


def by_number(batches: Any) -> TypeGuard[Sequence[Any]]:
    """Whether batches can be read by their index."""
    return hasattr(batches, "__getitem__") and hasattr(batches, "__len__")


def _kind(value: Any) -> str:
    """A description of a value for messages."""
    if isinstance(value, Tensor | np.ndarray):
        name = "a tensor" if isinstance(value, Tensor) else "a numpy array"
        return f"{name} {str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return f"a {type(value).__name__} with the keys {', '.join(map(str, value)) or '(none)'}"
    if isinstance(value, list | tuple):
        inside = [type(item).__name__ for item in value]
        return f"a {type(value).__name__} of {len(value)} ({_few(inside)})"
    return f"{type(value).__name__}"


def pair(model: nn.Module, batch: Any, inputs: Keys = None) -> tuple[Inputs, Any]:
    """Inputs and labels of one batch, the same number of each; arguments as for :func:`read`."""
    keys: tuple[str, ...] | None = None
    if inputs is not None:
        several = isinstance(inputs, Iterable) and not isinstance(inputs, str)
        keys = tuple(inputs) if several else (cast(str, inputs),)
    if isinstance(batch, Mapping):
        given, labels = batch, _labels_of(batch, keys)
    elif isinstance(batch, list | tuple) and len(batch) == 2:
        given, labels = batch
    else:
        way = ""
        if isinstance(batch, list | tuple) and len(batch) > 2:
            way = "; leave the others out: [(batch[0], batch[1]) for batch in batches]"
        raise DataError(f"each batch must be a pair (inputs, labels), not {_kind(batch)}{way}")
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), None)
    own = _inputs(given, keys, dtype)
    if labels is not None:
        labels = _labels(labels)
        if len(labels) != len(own):
            raise DataError(
                f"a batch has {len(own)} inputs {_sizes(own)} and {len(labels)} labels "
                f"{tuple(labels.shape)}: both need one row for each sample"
            )
    return own, labels


def _labels_of(batch: Mapping[str, Any], keys: tuple[str, ...] | None) -> Any:
    if keys is None:
        raise DataError(
            f"a batch is {_kind(batch)}: say under which the network's input is, inputs='...', or "
            "inputs=('...', '...') for several, in the order in which the model takes them"
        )
    found = [name for name in _LABELS if name in batch and name not in keys]
    if len(found) != 1:
        raise DataError(
            f"a batch is {_kind(batch)}: its labels must be under one of {', '.join(_LABELS)}; or "
            "pass pairs: [(batch['...'], batch['...']) for batch in batches]"
        )
    return batch[found[0]]


def _inputs(given: Any, keys: tuple[str, ...] | None, dtype: torch.dtype | None) -> Inputs:
    if isinstance(given, Several):
        return given
    if isinstance(given, Mapping):
        given = _under(given, keys)
    elif keys is not None and not isinstance(given, Tensor):
        raise DataError(f"inputs={keys}: the batches' inputs are no dict but {_kind(given)}")
    if isinstance(given, list | tuple):
        if not given or not all(isinstance(item, Tensor | np.ndarray) for item in given):
            raise DataError(
                f"inputs are {_kind(given)}; they must be a tensor, or a tuple of tensors that the "
                "model is called with as model(*inputs)"
            )
        several = Several(tuple(_tensor("inputs", item, dtype) for item in given))
        if len({tensor.shape[:1] for tensor in several.tensors}) > 1:
            raise DataError(
                f"inputs are a tuple of tensors {_sizes(several)}; each needs one row for each "
                "sample"
            )
        given = several
    tensor = given if isinstance(given, Several) else _tensor("inputs", given, dtype)
    if any(not part.dim() for part in arguments(tensor)):
        raise DataError("inputs are single numbers; they need one row for each sample, (N, ...)")
    return tensor


def _under(given: Mapping[str, Any], keys: tuple[str, ...] | None) -> Any:
    """The inputs of a dict that the user named."""
    if keys is None:
        raise DataError(
            f"inputs are {_kind(given)}: say which the model takes, inputs='...', or "
            "inputs=('...', '...') for several, in the order in which it takes them"
        )
    missing = [key for key in keys if key not in given]
    if missing:
        raise DataError(f"inputs={keys}: {missing[0]!r} is missing; inputs are {_kind(given)}")
    return given[keys[0]] if len(keys) == 1 else tuple(given[key] for key in keys)


def _sizes(inputs: Inputs) -> str:
    return _few([str(tuple(tensor.shape)) for tensor in arguments(inputs)])


def _few(words: Sequence[str]) -> str:
    return ", ".join(words if len(words) < 6 else [*words[:4], "..."])


def _labels(labels: Any) -> Tensor:
    single = isinstance(labels, int | float) or (
        isinstance(labels, Tensor | np.generic | np.ndarray) and not labels.ndim
    )
    if single:
        raise DataError(
            f"the label of a batch is the single number {labels}: these look like samples, not "
            "batches; pass torch.utils.data.DataLoader(dataset, batch_size=...)"
        )
    if isinstance(labels, list) and labels and all(isinstance(v, int | float) for v in labels):
        return torch.tensor(labels)
    if not isinstance(labels, Tensor | np.ndarray):
        raise DataError(
            f"labels must be one tensor, with one row for each sample, not {_kind(labels)}"
        )
    return _tensor("labels", labels)


def _tensor(what: str, value: Any, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor or an array as a plain tensor; floats of an array are converted to ``dtype``."""
    if isinstance(value, Tensor):
        # Neither a subclass that overrides operations, nor a tensor without gradients.
        if value.layout != torch.strided or value.is_nested or value.is_meta:
            raise DataError(
                f"{what} are {str(value.layout).removeprefix('torch.')} tensors on {value.device}, "
                "nested or without data; they must be dense: tensor.to_dense(), or padded"
            )
        plain = value.detach().as_subclass(Tensor)
        return plain.clone() if plain.is_inference() else plain
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise DataError(f"{what} are {_kind(value)}, some of whose values are masked")
    if not isinstance(value, np.ndarray):
        raise DataError(f"{what} must be tensors or numpy arrays, not {_kind(value)}")
    if value.dtype.kind not in "biuf":
        raise DataError(f"{what} are {_kind(value)}; they must be numbers")
    # A copy in native byte order: an array may be read-only or of the other byte order.
    tensor = torch.from_numpy(np.array(value, dtype=value.dtype.newbyteorder("="), order="C"))
    return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor


def _check_model(model: nn.Module) -> None:
    """Raise unless the model computes its own forward pass.

    Raises:
        UnsupportedOperationError: it holds replicas or compiled code.
    """
    for name, module in model.named_modules():
        kinds = [base.__name__ for base in type(module).__mro__ if base.__name__ in _WRAPPERS]
        if kinds:
            inside = _WRAPPERS[kinds[0]]
            raise UnsupportedOperationError(
                f"{name or 'the model'!r} is a {kinds[0]}, which runs another module: pass the "
                f"module inside, {name or 'model'}.{inside}"
            )
    if any(tensor.is_inference() for tensor in (*model.parameters(), *model.buffers())):
        raise UnsupportedOperationError(
            "the model's parameters were made in torch.inference_mode(), so no gradient may pass "
            "them; pass copy.deepcopy(model), made outside of it"
        )


@contextlib.contextmanager
def shown(inputs: Any) -> Iterator[None]:
    """Context of a network's first call: an error of PyTorch then names the inputs.

    Raises:
        DataError: the network raised an error on these inputs.
    """
    try:
        yield
    except Exception as error:
        if type(error) not in _RAISED:  # ours, memory, or one that the user's own code defines
            raise
        several = isinstance(inputs, Several)
        what = f"a tuple of {len(inputs.tensors)} tensors, as model(*inputs)," if several else "the"
        kinds = ", ".join(_kind(tensor) for tensor in arguments(inputs))
        reason = str(error).strip().partition("\n")[0]
        raise DataError(
            f"the model does not take {what} inputs ({kinds}): {type(error).__name__}: {reason}"
        ) from error
