"""Progress: shown on a terminal; in logs, nothing or lines."""

import ast
import sys

from swim.runtime.progress_bar import Bars, meter, progress_bar
from tests import ROOT


def imported(tree):
    """Top-level packages that a module imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def test_one_module_alone_draws_bars():
    users = {
        str(file.relative_to(ROOT))
        for folder in ("swim", "rules")
        for file in (ROOT / folder).rglob("*.py")
        if "tqdm" in imported(ast.parse(file.read_text()))
    }
    assert users == {"swim/runtime/progress_bar.py"}


def test_a_log_has_no_bars(capsys):
    with progress_bar(3, "chips", done=1) as bar:
        bar.update(2)
    bars = Bars()
    for done in (1, 2):
        bars("training", done, 2)
    assert capsys.readouterr() == ("", "")


def test_steps_one_after_the_other_have_a_bar_each_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    bars = Bars()
    for step, done in (("training", 1), ("training", 2), ("chips", 2)):
        bars(step, done, 2)
    assert bars._bar is None
    shown = capsys.readouterr().err
    assert "training" in shown
    assert "chips" in shown


def test_a_meter_writes_its_first_and_its_last_line_to_a_log(capsys):
    with meter("download", 2000, "B", done=500) as update:
        update(1500)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["download: 500 of 2,000 B", "download: 2,000 of 2,000 B"]
