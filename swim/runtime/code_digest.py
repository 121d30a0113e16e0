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

from swim.errors import SettingError
from swim.runtime.source_summaries import Summary, quoted, summarise, summary_of_ours
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
        "swim.runtime.source_summaries",
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
    contents = ", ".join(f"{quoted(name)}: {_content(name)}" for name in modules)
    text = f"[{{{contents}}}, {json.dumps(homes)}]"
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@functools.cache
def _content(name: str) -> str:
    """What a module adds to a digest, in JSON: most are part of many."""
    release, pages = _release(name), _pages(name)
    own = quoted(release) if release else _summary(name)["skeleton"]
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
    with _explained(path):
        return ast.parse(path.read_bytes())


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SyntaxError, ValueError, RecursionError) as error:
        raise SettingError(f"{path}: cannot be read as Python ({error})") from error


def _package(name: str) -> list[str]:
    """The package that relative imports of a module start from."""
    path = _path(name)
    parts = name.split(".")
    return parts if path is not None and path.name == "__init__.py" else parts[:-1]


@functools.cache
def _summary(name: str) -> Summary:
    """What digests take from a module's source; that of a module of ours is kept for next time."""
    path = _path(name)
    assert path is not None
    with _explained(path):
        if name.partition(".")[0] == "swim":
            return summary_of_ours(path)
        return summarise(path.read_bytes(), _tree(name))


@functools.cache
def _imported(name: str) -> tuple[str, ...]:
    """Absolute names of what a module imports: most are imported by many."""
    package = _package(name)
    return tuple(_absolute(package, *found) for found in _summary(name)["imports"])


def _absolute(package: list[str], level: int, module: str, attribute: str) -> str:
    """The module that an import statement names, or the one where its attribute is, or may be."""
    above = package[: len(package) + 1 - level] if level else []
    module = ".".join([*above, *([module] if module else [])])
    if not attribute:
        return module
    return _lazy_exports(module).get(attribute, f"{module}.{attribute}")


@functools.cache
def _lazy_exports(package: str) -> Mapping[str, str]:
    """Name -> module, of what a package of ours offers by :func:`swim.runtime.lazy.exports`."""
    path = _path(package) if package.partition(".")[0] == "swim" else None
    if path is None or path.name != "__init__.py":
        return {}
    return _summary(package)["exports"]
