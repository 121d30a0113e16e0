"""Which code a step's result depends on, as one digest.

A step's sources are what its command imports, found by reading import statements through, and
the code of what its settings choose: a method, a network, also one of the user's own. The digest
is of the syntax trees without docstrings, so comments, formatting and help texts change nothing.

:data:`INERT` modules are left out: they carry settings from the user to the step, which reach it
resolved and are part of what it depends on by their values, write messages and records that are no
part of a result, or fetch files whose checksums the step knows.
"""

import ast
import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from swim import registry
from swim.errors import SettingError

ROOT = Path(__file__).parent

INERT = frozenset(
    {
        "swim",
        "swim.__main__",
        "swim.cli",
        "swim.cli.console",
        "swim.cli.options",
        "swim.decimals",
        "swim.download",
        "swim.errors",
        "swim.faults",
        "swim.machine",
        "swim.meter",
        "swim.progress",
        "swim.registry",
        "swim.sources",
        "swim.spec",
        "swim.spec.experiments",
        "swim.spec.inputs",
        "swim.spec.jobs",
        "swim.spec.loading",
        "swim.spec.origin",
        "swim.spec.sections",
        "swim.spec.studies",
        "swim.spec.text",
        "swim.spec.yaml_nodes",
    }
)


def digest(step: str, **chosen: str) -> str:
    """A digest of the code that a step of the command line runs.

    Args:
        step: a subcommand.
        chosen: what its settings choose, as kind=name; kinds are those of
            :data:`swim.registry.KINDS`, with ``_`` for a space.

    Raises:
        SettingError: a name is not in the registry.
    """
    return _digest(sources(f"swim.cli.{step}", **chosen))


def digest_of(*modules: str, **chosen: str) -> str:
    """A digest of the code of some modules, with all that they import; else as :func:`digest`."""
    return _digest(sources(*modules, **chosen))


def sources(*modules: str, **chosen: str) -> tuple[str, ...]:
    """Names of the modules that the digests cover, sorted."""
    found: set[str] = set()
    for module in modules:
        found |= set(_reachable(module))
    for kind, name in chosen.items():
        found |= set(_reachable(registry.home(kind.replace("_", " "), name).partition(":")[0]))
    return tuple(sorted(found))


@functools.cache
def _digest(modules: tuple[str, ...]) -> str:
    contents = {name: _content(name) for name in modules}
    return hashlib.blake2b(json.dumps(contents).encode(), digest_size=8).hexdigest()


@functools.cache
def _content(name: str) -> Any:
    """What a module adds to a digest: most are part of many."""
    return _release(name) or _skeleton(_tree(name))


@functools.cache
def _reachable(start: str) -> tuple[str, ...]:
    """The module, what it imports of ours and of its own package, and so on.

    Raises:
        SettingError: there is no such module.
    """
    if not _path(start):
        raise SettingError(
            f"there is no module {start!r}: it must be installed, or lie in the folder that the "
            f"command runs in ({os.getcwd()})"
        )
    tops = {"swim", start.partition(".")[0]}
    found: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name in found or name in INERT or name.partition(".")[0] not in tops or not _path(name):
            continue
        found.add(name)
        if not _release(name):
            waiting += _imports(_tree(name), _package(name))
            waiting.append(name.rpartition(".")[0])  # importing a module runs its package
    return tuple(found)


@functools.cache
def _release(name: str) -> str:
    """The version of the installed package that a module is of; nothing for code that may change.

    A package's release stands for its code, which may be large.
    """
    path = _path(name)
    if path is None or "site-packages" not in path.parts:
        return ""
    with contextlib.suppress(PackageNotFoundError):
        return version(name.partition(".")[0])
    return ""


@functools.cache
def _path(name: str) -> Path | None:
    top, *parts = name.split(".")
    bases = [ROOT] if top == "swim" else _own(top)
    for base in bases:
        base = base.joinpath(*parts)
        for path in (base / "__init__.py", base.with_suffix(".py")):
            if path.is_file():
                return path
    return None


def _own(top: str) -> list[Path]:
    """Where a package of the user's is, the folder that commands run in before all others."""
    here = Path.cwd() / top
    if here.is_dir() or here.with_suffix(".py").is_file():
        return [here]
    found = find_spec(top) if top else None
    if found is None:
        return []
    if found.submodule_search_locations is not None:
        return [Path(place) for place in found.submodule_search_locations]
    return [Path(found.origin).with_suffix("")] if found.origin else []


@functools.cache
def _tree(name: str) -> ast.Module:
    path = _path(name)
    assert path is not None
    return ast.parse(path.read_text(encoding="utf-8"))


def _package(name: str) -> list[str]:
    """The package that relative imports of a module start from."""
    path = _path(name)
    parts = name.split(".")
    return parts if path is not None and path.name == "__init__.py" else parts[:-1]


def _imports(tree: ast.AST, package: list[str]) -> Iterator[str]:
    """Absolute module names in import statements, those for type checkers alone excepted."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)
        else:
            yield from _imports(node, package)


def _skeleton(node: Any) -> Any:
    """A tree as nested lists that no formatting and no Python version's defaults change."""
    if isinstance(node, list):
        return [_skeleton(item) for item in node if not _is_docstring(item)]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [[name, _skeleton(value)] for name, value in ast.iter_fields(node)
              if value is not None and value != []]  # fmt: skip
    return [type(node).__name__, *fields]


def _is_docstring(node: Any) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
