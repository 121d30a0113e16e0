"""Progress: shown on a terminal; in logs, nothing or lines."""

import ast
import sys

from swim.runtime import progress_bar as progress_bar_module
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


def test_a_meter_writes_rate_and_time_left_to_a_log(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress_bar_module.time, "monotonic", lambda: now[0])
    with meter("probe", 5_000, "images", done=1_000, closing=False) as update:
        for _ in range(5):
            now[0] += 5
            update(250)
        now[0] += 3600
        update(1)
    assert capsys.readouterr().err.splitlines() == [
        "probe: 1,000 of 5,000 images",
        # Of this run's 750 images in 15 s.
        "probe: 1,750 of 5,000 images, 50 images/s, 01:05 left",
        "probe: 2,251 of 5,000 images, 0.35 images/s, 2:12:45 left",
    ]


def test_a_meter_says_what_is_known_beside_and_takes_another_total(capsys, monkeypatch):
    now, known = [0.0], []
    monkeypatch.setattr(progress_bar_module.time, "monotonic", lambda: now[0])
    with meter("swim 0.1", 4, "chips", beside=lambda: f"mean of {len(known)}") as count:
        known += [1, 2]
        now[0] = 11.0
        count(2)
        count.total = 50
        known += [3, 4]
        now[0] = 22.0
        count(2)
    assert capsys.readouterr().err.splitlines() == [
        "swim 0.1: 0 of 4 chips",
        "swim 0.1: 2 of 4 chips, mean of 2, 0.18 chips/s, 00:11 left",
        "swim 0.1: 4 of 50 chips, mean of 4, 0.18 chips/s, 04:13 left",
        "swim 0.1: 4 of 50 chips, mean of 4, 0.18 chips/s, 04:13 left",
    ]


def test_a_bar_shows_what_is_known_beside_and_takes_another_total(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with meter("swim 0.1", 2, "chips", beside=lambda: "accuracy 98.10 ± 0.2 %") as count:
        count(2)
        assert count.total == 2
        count.total = 4
        count(2)
    shown = capsys.readouterr().err
    assert "accuracy 98.10 ± 0.2 %" in shown
    assert "4/4" in shown


def test_a_meter_without_a_total_writes_its_rate(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress_bar_module.time, "monotonic", lambda: now[0])
    with meter("file", None, "B") as update:
        now[0] = 20.0
        update(50_000)
    assert capsys.readouterr().err.splitlines()[:2] == ["file: 0 B", "file: 50,000 B, 2,500 B/s"]


def test_a_meter_is_a_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with meter("probe", 4, "images", done=1) as update:
        update(3)
    shown = capsys.readouterr().err
    assert "probe: 100%" in shown
    assert "4/4" in shown
