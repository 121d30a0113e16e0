"""Matches the weights of a file to a network: by name, or in order where that cannot be wrong.

Training code puts its own prefixes before a network's names (``module.`` of data-parallel training
and of averaged models, ``model.`` of Lightning, ``_orig_mod.`` of compiled models) and other
weights beside them. A prefix is whatever stands before *all* of the network's names.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from swim.errors import DataError
from swim.networks.state_files import State

# Modules that stand around others and add a name of their own.
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
# Counters that no forward in eval mode uses: of batch-norm, and of a profiler (thop).
_COUNTERS = {"num_batches_tracked", "total_ops", "total_params"}
_SHOWN = 20


@dataclass(frozen=True)
class _Found:
    """Tensors that have all of the network's names.

    Attributes:
        where: the entries of the file that lead to them.
        prefix: before each name.
        state: by the network's names.
        beside: names in the file that are of none of these, nor under the prefix.
        more: names under the prefix that the network does not have.
    """

    where: str
    prefix: str
    state: State
    beside: list[str]
    more: list[str]

    @property
    def home(self) -> str:
        """Where they are, in words."""
        return f"entry {self.where!r}, names {self.prefix}..." if self.where else self.prefix


def matched(
    model: nn.Module, states: Mapping[str, State], fault: str, report: Callable[[str], None]
) -> State:
    """The tensors of a file by the network's own names.

    Args:
        model: the network.
        states: the state dicts of the file, see :func:`swim.networks.state_files.states`.
        fault: how a message begins.
        report: called with each line that tells what was taken, or left out.

    Returns:
        All of the network's state, its counters of batches included.

    Raises:
        DataError: names or shapes differ, several fit, or the order leaves two readings.
    """
    own = model.state_dict()
    wanted = {
        name: value
        for name, value in own.items()
        if isinstance(value, Tensor) and _last(name) not in _COUNTERS
    }
    if not wanted:
        raise DataError(f"{fault}: the network has no weights")
    partners = _shared(wanted)
    found = [f for where, state in states.items() for f in _by_name(where, state, wanted, partners)]
    if len(found) > 1:
        found = [f for f in found if _shapes(f.state) == _shapes(wanted)] or found[:1]
    if found:
        chosen = _only(found, fault)
        if chosen.more:
            raise DataError(f"{fault}:\n" + _cut(_differences(wanted, _under(chosen, states))))
        _tell(chosen, report)
        given = chosen.state
    else:
        given = _in_order(wanted, states, fault, report)
    _check(wanted, given, fault)
    _check_shared(partners, given, fault)
    return {**own, **given}


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _shapes(state: State) -> list[torch.Size]:
    return [value.shape for value in state.values()]


def _shared(wanted: State) -> dict[str, list[str]]:
    """Each name's others, that are the same tensor in the network."""
    places: dict[object, list[str]] = {}
    for name, value in wanted.items():
        place = (value.data_ptr(), value.shape, value.stride()) if value.numel() else name
        places.setdefault(place, []).append(name)
    return {name: names for names in places.values() for name in names}


def _variants(state: State) -> Iterator[State]:
    """The state by its own names, and without the traces of wrappers."""
    yield state
    plain = [".".join(p for p in name.split(".") if p not in _WRAPPERS) for name in state]
    if plain != list(state) and len(set(plain)) == len(plain):
        yield dict(zip(plain, state.values(), strict=True))
    # In the paper's first release a layer is wrapped in a module that keeps it as ``op``, beside
    # helpers such as ``weightS``, ``noise`` and ``mask``.
    if any(".op." in name for name in plain):
        renamed = zip(plain, state.values(), strict=True)
        yield {n.replace(".op.", "."): v for n, v in renamed if ".op." in n}


def _by_name(
    where: str, state: State, wanted: State, partners: Mapping[str, list[str]]
) -> list[_Found]:
    """Every prefix before all of the network's names."""
    for variant in _variants(state):
        found = []
        for prefix in _prefixes(variant, partners[next(iter(wanted))]):
            given = {}
            for name in wanted:
                kept = [n for n in (name, *partners[name]) if prefix + n in variant]
                if not kept:
                    break
                given[name] = variant[prefix + kept[0]]
            else:
                rest = [n for n in variant if _last(n) not in _COUNTERS]
                more = [n for n in rest if n.startswith(prefix) and n[len(prefix) :] not in wanted]
                beside = [n for n in rest if not n.startswith(prefix)]
                found.append(_Found(where, prefix, given, beside, more))
        if found:
            return found
    return []


def _prefixes(state: State, names: list[str]) -> list[str]:
    ends = [(given, name) for given in state for name in names if given.endswith(name)]
    prefixes = {given.removesuffix(name) for given, name in ends}
    return sorted(p for p in prefixes if not p or p.endswith("."))


def _same(one: Tensor, other: Tensor) -> bool:
    return (one.dtype, one.shape) == (other.dtype, other.shape) and torch.equal(one, other)


def _only(found: list[_Found], fault: str) -> _Found:
    """The one that fits, or any if all hold the same."""
    chosen = found[0]
    for other in found[1:]:
        if not all(_same(value, other.state[name]) for name, value in chosen.state.items()):
            homes = "\n".join(f"  {f.home}" for f in found)
            raise DataError(
                f"{fault}: it holds several states that fit and differ, such as a trained one and "
                f"its moving average; write the one that you mean into a file of its own:\n{homes}"
            )
    return chosen


def _under(found: _Found, states: Mapping[str, State]) -> State:
    """All that lies under the prefix, by names without it."""
    for variant in _variants(states[found.where]):
        if all(name in variant for name in found.more):
            return found.state | {n.removeprefix(found.prefix): variant[n] for n in found.more}
    return found.state


def _tell(found: _Found, report: Callable[[str], None]) -> None:
    if found.where:
        report(f"weights taken from the entry {found.where!r}")
    if found.beside:
        report(f"left out, since not under {found.prefix!r}: {', '.join(found.beside[:_SHOWN])}")


def _in_order(
    wanted: State, states: Mapping[str, State], fault: str, report: Callable[[str], None]
) -> State:
    """The tensors in the order of the file, where roles or shapes make that the only reading.

    Raises:
        DataError: names agree in part, shapes differ, or the order may be wrong.
    """
    nearest, agreeing = _nearest(wanted, states)
    orders = [s for s in _all_variants(states) if _shapes(s) == _shapes(wanted)]
    if agreeing or not orders:
        raise DataError(f"{fault}:\n" + _cut(_differences(wanted, nearest)))
    given = orders[0]
    pairs = list(zip(wanted, given, strict=True))
    if not (_shapes_tell(wanted) or _roles_agree(pairs, wanted)):
        lines = [f"  {own} {tuple(wanted[own].shape)} <- {name}" for own, name in pairs]
        raise DataError(
            f"{fault}: no name of the file is one of the network's, and in order tensors of one "
            "shape may be swapped, such as a batch-norm's weight and bias; rename those of the "
            "file. In order they would be\n" + _cut(lines)
        )
    shown = ", ".join(f"{name} as {own}" for own, name in pairs if own.endswith("weight"))
    report(f"no name of the file is one of the network's; taken in order: {shown}")
    return {own: given[name] for own, name in pairs}


def _all_variants(states: Mapping[str, State]) -> list[State]:
    return [
        {n: v for n, v in variant.items() if _last(n) not in _COUNTERS}
        for state in states.values()
        for variant in _variants(state)
    ]


def _nearest(wanted: State, states: Mapping[str, State]) -> tuple[State, bool]:
    """The tensors that have most in common with the network's, and whether they are meant for it.

    They are if all names of the file begin alike and one agrees, or if more than half agree.
    """
    best: tuple[tuple[int, int, int], State, bool] | None = None
    for state in _all_variants(states):
        prefixes = Counter({"": 0})
        for name in state:
            parts = name.split(".")
            tails = ((i, ".".join(parts[i:])) for i in range(len(parts)))
            prefixes.update("".join(f"{p}." for p in parts[:i]) for i, t in tails if t in wanted)
        for prefix, hits in prefixes.items():
            given = {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
            rank = (hits, -len(prefix), len(given))
            if best is None or rank > best[0]:
                meant = 2 * hits > len(wanted) or (hits > 0 and len(given) == len(state))
                best = rank, given, meant
    assert best is not None
    return best[1:]


def _shapes_tell(wanted: State) -> bool:
    """Whether no two tensors have one shape, so that another order would not fit."""
    return max(Counter(_shapes(wanted)).values()) == 1


def _roles_agree(pairs: list[tuple[str, str]], wanted: State) -> bool:
    """Whether tensors have the same last names, module by module, and no module is another's."""
    if any(_last(own) != _last(name) for own, name in pairs):
        return False
    modules = {(own.rpartition(".")[0], name.rpartition(".")[0]) for own, name in pairs}
    if any(max(Counter(side).values()) > 1 for side in zip(*modules, strict=True)):
        return False
    # conv2 in the place of conv1 means that the file has another order.
    called = {(_last(module), tuple(v.shape)) for module, v in _modules(wanted)}
    return not any(
        _last(theirs) != _last(ours) and not _last(theirs).isdigit()
        and (_last(theirs), tuple(wanted[own].shape)) in called
        for own, name in pairs
        for ours, theirs in [(own.rpartition(".")[0], name.rpartition(".")[0])]
    )  # fmt: skip


def _modules(state: State) -> Iterator[tuple[str, Tensor]]:
    for name, value in state.items():
        yield name.rpartition(".")[0], value


def _check(wanted: State, given: State, fault: str) -> None:
    """Raise for shapes and types that differ, and for what is no number."""
    different = _differences(wanted, given)
    for name, value in given.items():
        own, lines = wanted[name], []
        plain = not (value.is_quantized or value.is_meta or value.is_complex() or value.is_sparse)
        whole_as_own = value.is_floating_point() == own.is_floating_point()
        if not plain or not whole_as_own or (value.is_floating_point() and value.itemsize < 2):
            kinds = [str(dtype).removeprefix("torch.") for dtype in (value.dtype, own.dtype)]
            lines.append(
                f"  {name}: the file has {kinds[0]}, the network {kinds[1]}; write its values as "
                "such numbers first"
            )
        elif not bool(value.isfinite().all()) and bool(own.isfinite().all()):
            lines.append(f"  {name}: not finite, it holds NaN or infinity")
        different += lines
    if different:
        raise DataError(f"{fault}:\n" + _cut(different))


def _check_shared(partners: Mapping[str, list[str]], given: State, fault: str) -> None:
    for name, names in partners.items():
        for other in names:
            if not _same(given[name], given[other]):
                raise DataError(
                    f"{fault}: {name} and {other} are one weight in the network, and differ in the "
                    "file"
                )


def _differences(wanted: State, given: State) -> list[str]:
    """One line a tensor that is missing, too much or of another shape."""
    lines = [f"  missing: {name} {tuple(wanted[name].shape)}" for name in wanted.keys() - given]
    lines += [f"  not in the network: {name} {tuple(given[name].shape)}"
              for name in given.keys() - wanted]  # fmt: skip
    lines += [
        f"  {name}: the file has {tuple(given[name].shape)}, the network {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in given and given[name].shape != value.shape
    ]
    return sorted(lines)


def _cut(lines: list[str]) -> str:
    shown = lines[:_SHOWN]
    if len(lines) > _SHOWN:
        shown = [*shown, f"  and {len(lines) - _SHOWN} more"]
    return "\n".join(shown)
