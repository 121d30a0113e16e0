"""Which code a step's result depends on, as one digest.

A step's sources are what its command imports, found by reading import statements through, and
the code of what its settings choose: a method, a network, also one of the user's own, with the
modules beside it that it imports. The digest is of the syntax trees without docstrings, so
comments, formatting and help texts change nothing. Of a package of ours, the pages beside its
modules (HTML, CSS, JavaScript) are part of it, as they are.

:data:`INERT` modules are left out: they carry settings from the user to the step, which reach it
resolved and are part of what it depends on by their values, write messages and records that are no
part of a result, or fetch files whose checksums the step knows. A test lists all that other modules
take from them. A release stands for a package that is installed. What a user's code reads, or
imports by names that it makes up as it runs, is not seen.
"""

import ast
import contextlib
import functools
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from swim.errors import SettingError
from swim.settings import registry

ROOT = Path(__file__).parents[1]

INERT = frozenset(
    {
        "swim",
        "swim.__main__",
        "swim.cli",
        "swim.cli.console",
        "swim.cli.estimate",
        "swim.cli.options",
        "swim.cli.part_process",
        "swim.cli.planned_jobs",
        "swim.cli.run_estimate",
        "swim.cli.step_digests",
        "swim.cli.stored_times",
        "swim.cli.targets",
        "swim.settings.decimals",
        "swim.data.download",
        "swim.errors",
        "swim.settings.validation",
        "swim.runtime.lazy",
        "swim.runtime.locks",
        "swim.runtime.machine",
        "swim.runtime.moved",
        "swim.runtime.progress_bar",
        "swim.settings.registry",
        "swim.runtime.code_digest",
        "swim.settings",
        "swim.settings.experiments",
        "swim.settings.inputs",
        "swim.settings.jobs",
        "swim.settings.layout",
        "swim.settings.loading",
        "swim.settings.methods",
        "swim.settings.origin",
        "swim.settings.plan",
        "swim.settings.sections",
        "swim.settings.studies",
        "swim.settings.text",
        "swim.settings.yaml_nodes",
    }
)


def digest(step: str, **chosen: str) -> str:
    """A digest of the code that a step of the command line runs.

    Args:
        step: a subcommand.
        chosen: what its settings choose, as kind=name; kinds are those of
            :data:`swim.settings.registry.KINDS`, with ``_`` for a space.

    Raises:
        SettingError: a name is not in the registry.
    """
    return digest_of(f"swim.cli.{step}", **chosen)


def digest_of(*modules: str, **chosen: str) -> str:
    """A digest of the code of some modules, with all that they import; else as :func:`digest`."""
    homes = tuple(f"{kind} {_home(kind, name)}" for kind, name in sorted(chosen.items()))
    return _digest(sources(*modules, **chosen), homes)


def require(kind: str, name: str) -> None:
    """Refuse an import of the user's own whose module is not there or does not define its name.

    The module is read, not run.

    Args:
        kind: of :data:`swim.settings.registry.KINDS`.
        name: of the registry, or ``package.module:function``.

    Raises:
        SettingError: it is not there, cannot be read, or lacks the name.
    """
    module, _, attribute = registry.home(kind, name).partition(":")
    sources(module)
    defined = _defined(_tree(module))
    if attribute and attribute not in defined and "*" not in defined:
        raise SettingError(
            f"{name}: {_path(module)} defines no {attribute!r}; "
            f"{registry.suggest(attribute, sorted(defined))}"
        )


_SCOPES = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def _defined(tree: ast.AST) -> set[str]:
    """Names that a module binds, also under an `if` or a `try`; ``*`` where others are possible."""
    names: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add("*" if node.name == "__getattr__" else node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif not isinstance(node, _SCOPES):
            names |= _defined(node)
    return names


def _home(kind: str, name: str) -> str:
    return registry.home(kind.replace("_", " "), name)


def sources(*modules: str, **chosen: str) -> tuple[str, ...]:
    """Names of the modules that the digests cover, sorted."""
    found: set[str] = set()
    for module in modules:
        found |= set(_reachable(module))
    for kind, name in chosen.items():
        found |= set(_reachable(_home(kind, name).partition(":")[0]))
    return tuple(sorted(found))


@functools.cache
def _digest(modules: tuple[str, ...], homes: tuple[str, ...]) -> str:
    contents = ", ".join(f"{_quoted(name)}: {_content(name)}" for name in modules)
    text = f"[{{{contents}}}, {json.dumps(homes)}]"
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@functools.cache
def _content(name: str) -> str:
    """What a module adds to a digest, in JSON: most are part of many."""
    release, pages = _release(name), _pages(name)
    own = _quoted(release) if release else _skeleton(_tree(name))
    return f"[{', '.join([own, *map(json.dumps, pages)])}]" if pages else own


# Files beside the code of a package of ours, which it puts into what it writes.
_PAGES = ("*.css", "*.html", "*.js")


def _pages(name: str) -> list[list[str]]:
    """Names and texts of the pages beside a package's ``__init__.py``."""
    path = _path(name)
    if path is None or path.name != "__init__.py" or name.partition(".")[0] != "swim":
        return []
    files = sorted(file for pattern in _PAGES for file in path.parent.glob(pattern))
    return [[file.name, file.read_text(encoding="utf-8")] for file in files]


@functools.cache
def _reachable(start: str) -> tuple[str, ...]:
    """The module, what it imports of ours, and what a user's imports beside; and so on.

    Raises:
        SettingError: there is no such module, or one cannot be read.
    """
    if not _path(start):
        raise SettingError(registry.nowhere(start))
    found: set[str] = set()
    waiting = [(start, start.partition(".")[0])]
    while waiting:
        name, by = waiting.pop()
        top = name.partition(".")[0]
        # Ours import of others only what we depend on; a user's module may import anything.
        if top != by and (by == "swim" or top in _KNOWN) and top != "swim":
            continue
        if name in found or name in INERT or not _path(name):
            continue
        found.add(name)
        if not _release(name):
            waiting += ((other, top) for other in _imported(name))
            waiting.append((name.rpartition(".")[0], top))  # importing a module runs its package
    return tuple(found)


# What belongs to Python, and what SWIM itself stands on: their releases are in settings.json.
_KNOWN = frozenset(
    {*sys.stdlib_module_names, "torch", "torchvision", "numpy", "scipy", "pandas", "matplotlib"}
)


@functools.cache
def _release(name: str) -> str:
    """The version of the installed package that a module is of; nothing for code that may change.

    A package's release stands for its code, which may be large.
    """
    path = _path(name)
    if path is None or not {"site-packages", "dist-packages"} & set(path.parts):
        return ""
    top = name.partition(".")[0]
    with contextlib.suppress(PackageNotFoundError):
        return version(top)
    for package in _packages().get(top, ()):  # of another name, such as yaml of PyYAML
        with contextlib.suppress(PackageNotFoundError):
            return f"{package} {version(package)}"
    return ""


@functools.cache
def _packages() -> Mapping[str, list[str]]:
    return packages_distributions()


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
    found = None
    with contextlib.suppress(ImportError, ValueError):  # such as of `__main__`
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
    try:
        return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError) as error:
        raise SettingError(f"{path}: cannot be read as Python ({error})") from error


def _package(name: str) -> list[str]:
    """The package that relative imports of a module start from."""
    path = _path(name)
    parts = name.split(".")
    return parts if path is not None and path.name == "__init__.py" else parts[:-1]


@functools.cache
def _imported(name: str) -> tuple[str, ...]:
    """What a module imports: most are imported by many."""
    path = _path(name)
    text = path.read_bytes() if path else b""
    # Another spelling of these names has letters beyond ASCII.
    calls = not text.isascii() or any(call.encode() in text for call in _CALLS)
    return tuple(_imports(_tree(name), _package(name), calls))


_CALLS = ("import_module", "__import__", "run_module")
# What statements are in; expressions have calls, but no import statements.
_BLOCKS = (ast.stmt, ast.excepthandler, ast.match_case)


def _imports(node: ast.AST, package: list[str], calls: bool) -> Iterator[str]:
    """Absolute module names in import statements, those for type checkers alone excepted.

    Args:
        node: whose children are looked through.
        package: that relative imports start from.
        calls: whether calls of :data:`_CALLS` may be there, so that expressions are read as well.
    """
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and _last_name(child.test) == "TYPE_CHECKING":
            yield from _imports(ast.Module(child.orelse, []), package, calls)
        elif isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield from _imported_from(child, package)
        elif calls or isinstance(child, _BLOCKS):
            if isinstance(child, ast.Call):
                yield from _imported_by_call(child, package)
            yield from _imports(child, package, calls)


def _imported_from(node: ast.ImportFrom, package: list[str]) -> Iterator[str]:
    """The module, and each name of it, which may be a module, too."""
    above = package[: len(package) + 1 - node.level] if node.level else []
    module = ".".join([*above, *([node.module] if node.module else [])])
    yield module
    homes = _lazy_exports(module)
    for alias in node.names:
        yield homes.get(alias.name, f"{module}.{alias.name}")


@functools.cache
def _lazy_exports(package: str) -> Mapping[str, str]:
    """Name -> module, of what a package of ours offers by :func:`swim.runtime.lazy.exports`."""
    path = _path(package) if package.partition(".")[0] == "swim" else None
    if path is None or path.name != "__init__.py":
        return {}
    calls = [node for node in ast.walk(_tree(package)) if isinstance(node, ast.Call)]
    homes = [c.args[1] for c in calls if _last_name(c.func) == "exports"]
    return {name: home for node in homes for name, home in ast.literal_eval(node).items()}


def _imported_by_call(node: ast.Call, package: list[str]) -> Iterator[str]:
    """The module of ``import_module("name")`` and its like, where the name is written out."""
    if _last_name(node.func) in _CALLS and node.args:
        (first, *_) = node.args
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            name = first.value.lstrip(".")
            level = len(first.value) - len(name)
            above = package[: len(package) + 1 - level] if level else []
            yield ".".join([*above, name])


def _last_name(node: ast.expr) -> str:
    """``c`` of ``c`` and of ``a.b.c``."""
    return getattr(node, "attr", "") or getattr(node, "id", "")


_quoted = json.encoder.encode_basestring_ascii


def _skeleton(node: Any) -> str:
    """A tree as nested lists that no formatting and no Python version's defaults change, in JSON.

    Written as text at once, since every run of Snakemake does this for some 150 modules.
    """
    if isinstance(node, list):
        return f"[{', '.join([_skeleton(item) for item in node if not _is_docstring(item)])}]"
    if not isinstance(node, ast.AST):
        return _quoted(repr(node))
    parts = [f'"{type(node).__name__}"']
    for name in node._fields:
        value = getattr(node, name, None)
        if value is not None and value != []:
            parts.append(f'["{name}", {_skeleton(value)}]')
    return f"[{', '.join(parts)}]"


def _is_docstring(node: Any) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
