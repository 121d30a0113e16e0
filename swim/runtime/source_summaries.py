"""What :mod:`swim.runtime.code_digest` takes from a source: its imports, and its syntax as text.

Of our sources this is kept beside their compiled code, in ``__pycache__`` or where Python keeps it:
to parse 170 modules takes a second, which every start of Snakemake and every job of a chips file
would spend. Nothing is kept with ``PYTHONDONTWRITEBYTECODE``, or in a folder that cannot be
written. A file counts only for the very bytes of the source, this module's code and Python's
version, which its check covers with its own content: anything else is read from the source again.
"""

import ast
import contextlib
import functools
import hashlib
import json
import os
import secrets
import sys
from collections.abc import Iterator
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any, TypedDict

Import = tuple[int, str, str]  # its dots, the module, and what of it is asked for, if anything


class Summary(TypedDict):
    """What digests take from a source.

    Attributes:
        imports: of each import its level (dots), module and attribute; empty where there is none.
        exports: name -> module, of a package whose names are imported when they are first used.
        skeleton: the syntax tree without docstrings, as JSON.
    """

    imports: list[Import]
    exports: dict[str, str]
    skeleton: str


def summary_of_ours(source: Path) -> Summary:
    """The summary of a file of ours, from the last time if nothing has changed since.

    Raises:
        OSError, SyntaxError: it cannot be read.
    """
    content = source.read_bytes()
    path = Path(cache_from_source(str(source))).with_suffix(".summary")
    with contextlib.suppress(OSError):
        check, _, text = path.read_bytes().partition(b"\n")
        if check == _check(content, text):
            kept: Summary = json.loads(text)
            return kept
    summary = summarise(content, ast.parse(content), source.name == "__init__.py")
    if not sys.dont_write_bytecode:
        text = json.dumps(summary).encode()
        with contextlib.suppress(OSError):
            _write(path, b"%b\n%b" % (_check(content, text), text))
    return summary


def _check(content: bytes, text: bytes) -> bytes:
    found = hashlib.blake2b(_summarising(), digest_size=16)
    for part in (content, text):
        found.update(b"%d " % len(part))
        found.update(part)
    return found.hexdigest().encode()


@functools.cache
def _summarising() -> bytes:
    """What a summary depends on beside the source: this code, and Python."""
    return hashlib.blake2b(Path(__file__).read_bytes() + sys.version.encode()).digest()


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all; nobody waits until it is on the disk, since its check is read."""
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def summarise(source: bytes, tree: ast.Module, exports: bool = False) -> Summary:
    """What digests take from a source: a function of its bytes alone.

    Args:
        source: the bytes.
        tree: their syntax tree.
        exports: whether to read what the package offers by :func:`swim.runtime.lazy.exports`.
    """
    # Another spelling of these names has letters beyond ASCII.
    calls = not source.isascii() or any(call.encode() in source for call in _CALLS)
    return {
        "imports": list(_imports(tree, calls)),
        "exports": _exports(tree) if exports else {},
        "skeleton": _skeleton(tree),
    }


_CALLS = ("import_module", "__import__", "run_module")
# What statements are in; expressions have calls, but no import statements.
_BLOCKS = (ast.stmt, ast.excepthandler, ast.match_case)


def _imports(node: ast.AST, calls: bool) -> Iterator[Import]:
    """What import statements name, those for type checkers alone excepted.

    Args:
        node: whose children are looked through.
        calls: whether calls of :data:`_CALLS` may be there, so that expressions are read as well.
    """
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and _last_name(child.test) == "TYPE_CHECKING":
            yield from _imports(ast.Module(child.orelse, []), calls)
        elif isinstance(child, ast.Import):
            yield from ((0, alias.name, "") for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            # The module, and each name of it, which may be a module, too.
            for name in ("", *(alias.name for alias in child.names)):
                yield child.level, child.module or "", name
        elif calls or isinstance(child, _BLOCKS):
            if isinstance(child, ast.Call):
                yield from _imported_by_call(child)
            yield from _imports(child, calls)


def _exports(tree: ast.Module) -> dict[str, str]:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    homes = [c.args[1] for c in calls if _last_name(c.func) == "exports"]
    return {name: home for node in homes for name, home in ast.literal_eval(node).items()}


def _imported_by_call(node: ast.Call) -> Iterator[Import]:
    """The module of ``import_module("name")`` and its like, where the name is written out."""
    if _last_name(node.func) in _CALLS and node.args:
        (first, *_) = node.args
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            name = first.value.lstrip(".")
            yield len(first.value) - len(name), name, ""


def _last_name(node: ast.expr) -> str:
    """``c`` of ``c`` and of ``a.b.c``."""
    return getattr(node, "attr", "") or getattr(node, "id", "")


quoted = json.encoder.encode_basestring_ascii


def _skeleton(node: Any) -> str:
    """A tree as nested lists that no formatting and no Python version's defaults change, in JSON.

    Written as text at once, since it takes the most time of a summary.
    """
    if isinstance(node, list):
        return f"[{', '.join([_skeleton(item) for item in node if not _is_docstring(item)])}]"
    if not isinstance(node, ast.AST):
        return quoted(repr(node))
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
