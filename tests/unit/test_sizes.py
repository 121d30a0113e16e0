"""A module of swim/ fits into 400 lines and a function into 50, its docstring not counted."""

import ast

from tests import ROOT

MODULE, FUNCTION = 400, 50


def functions(tree):
    """(name, lines without the docstring) of every function, methods and inner ones included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node) is not None:
                lines -= node.body[0].end_lineno - node.body[0].lineno + 1
            yield node.name, lines


def too_long(path):
    """What is too long in a file, with its lines."""
    text = path.read_text()
    lines = len(text.splitlines())
    found = [f"{path.name}: {lines} lines"] if lines > MODULE else []
    named = functions(ast.parse(text))
    return found + [f"{path.name}: {name}: {n} lines" for name, n in named if n > FUNCTION]


def test_no_module_of_swim_is_longer_than_400_lines_and_no_function_than_50():
    files = sorted((ROOT / "swim").rglob("*.py"))
    assert len(files) > 150
    assert [fault for path in files for fault in too_long(path)] == []


def test_what_is_too_long_is_listed_with_its_lines(tmp_path):
    path = tmp_path / "long.py"
    path.write_text(
        'def short():\n    """One.\n\n    Two.\n    """\n' + "    a = 1\n" * 49
        + "def tall():\n" + "    a = 1\n" * 50 + "\n" * 300
    )  # fmt: skip
    assert too_long(path) == ["long.py: 405 lines", "long.py: tall: 51 lines"]
