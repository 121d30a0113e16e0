"""swim watch: every point of an experiment, from its settings, its files and unfinished chips."""

import json
import os
import sys
import time

import click.testing
import pytest

from swim.cli import cli
from swim.evaluation import stopping
from swim.evaluation.monte_carlo import COLUMNS
from swim.reports import running
from swim.runtime import files
from swim.runtime.finished_rows import Progress, progress_file

SETTINGS = {
    "devices": {"one": {}}, "sigmas": ["0.1"], "methods": ["swim", {"name": "mine"}, "marginal"],
    "fractions": ["0.1", "0.5"], "budgets": ["0.01"], "in_situ": None, "chips": 8,
}  # fmt: skip
ROWS = [[n, 0.90 + 0.01 * n, 0.5, 0.1, 0.2, 100] for n in range(8)]


def chips_file(folder, point, rows=ROWS):
    path = folder / "chips" / "one" / "sigma-0.1" / f"{point}.csv"
    files.write_rows(path, COLUMNS, rows, {"settings": {}})
    return path


def unfinished(folder, point, rows, goal=None):
    path = folder / "chips" / "one" / "sigma-0.1" / f"{point}.csv"
    progress = Progress(path, "digest", seconds=0.0)
    progress.goal = goal
    for row in rows:
        progress.add(row)
    return progress_file(folder / "chips" / "one" / "sigma-0.1" / f"{point}.csv")


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "mine"
    (made / "chips" / "one" / "sigma-0.1" / "swim").mkdir(parents=True)
    return made


def by_point(folder):
    return {f"{s.place['method']}/{s.place['fraction']}": s for s in running.states(folder)}


def once(folder, *more):
    found = click.testing.CliRunner().invoke(cli, ["watch", str(folder), "--once", *more])
    assert found.exit_code == 0, found.output
    return found.output


def test_nothing_programmed_yet_is_said_with_what_there_is(tmp_path):
    folder = tmp_path / "mine"
    assert running.states(folder) == []
    assert f"mine: nothing has been programmed yet (no folder {folder} yet)" in once(folder)
    (folder / "sensitivity").mkdir(parents=True)
    assert "mine: nothing has been programmed yet (no network yet)" in once(folder)
    (folder / "model.safetensors").write_bytes(b"")
    (folder / "sensitivity" / "recursion.safetensors").write_bytes(b"")
    (folder / "sensitivity" / ".fisher.safetensors").write_bytes(b"")
    assert "(the network is there; second derivatives by recursion)" in once(folder)


def test_planned_points_are_those_of_the_stored_settings(folder):
    (folder / "settings.json").write_text(json.dumps(SETTINGS))
    found = by_point(folder)
    assert list(found) == [
        "all/1", "marginal/0.01", "mine/0.1", "mine/0.5", "none/0", "swim/0.1", "swim/0.5",
    ]  # fmt: skip
    assert {(s.state, s.goal, s.chips) for s in found.values()} == {("to come", 8, 0)}
    assert "mine: 7 points: 7 to come" in once(folder)
    assert "0 of 8" in once(folder)


def test_finished_and_growing_points_have_chips_mean_interval_rate_and_time_left(folder):
    (folder / "settings.json").write_text(json.dumps(SETTINGS))
    chips_file(folder, "none/0")
    path = unfinished(folder, "swim/0.1", ROWS[:4], goal=10)
    content = json.loads(path.read_text())
    content["run"] |= {"began": time.time() - 8, "first": 0}
    path.write_text(json.dumps(content))
    found = by_point(folder)
    state = found["swim/0.1"]
    assert (state.state, state.chips, state.goal) == ("running", 4, 10)
    assert state.rate == pytest.approx(0.5, rel=0.2)
    assert state.accuracy == (0.90, 0.91, 0.92, 0.93)
    assert found["none/0"].state == "finished"
    half = stopping.half_width([90.0, 91.0, 92.0, 93.0])
    lines = once(folder).splitlines()
    assert lines[0] == "mine: 7 points: 1 finished, 1 running, 5 to come"
    (row,) = [line.split() for line in lines if " swim " in line and " 0.1 " in line[20:]]
    assert row[4:10] == ["4", "of", "10", "91.50", "±", f"{half:.2f}"]
    assert row[-1] == "running"
    assert row[-2].startswith("00:1")


def test_goal_and_progress_come_from_the_steps_own_progress_file(folder):
    progress = Progress(folder / "x.csv", "a", seconds=0.0)
    progress.goal = 3
    progress.add(ROWS[0])
    watched = running.finished_rows.watch(progress_file(folder / "x.csv"))
    assert (watched.rows, watched.goal) == ([ROWS[0]], 3)
    assert watched.age < 60
    assert Progress(folder / "x.csv", "a").rows == [ROWS[0]]


def test_job_that_adds_no_chips_any_more_is_shown_as_stopped(folder):
    path = unfinished(folder, "swim/0.1", ROWS[:2])
    os.utime(path, (0, time.time() - 3700))
    assert by_point(folder)["swim/0.1"].state == "no chip for 1:01:40"
    assert "1 stopped" in once(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"rows": 3}', "[" * 100_000])
def test_damaged_progress_and_settings_are_shown_without_an_error(folder, text):
    (folder / "settings.json").write_text(text)
    path = unfinished(folder, "swim/0.1", ROWS[:2])
    path.write_text(text)
    (folder / "chips" / "notes.csv").write_text("")
    assert by_point(folder)["swim/0.1"].chips == 0
    once(folder)


def test_damaged_row_of_a_progress_file_and_those_behind_it_do_not_count(folder):
    path = unfinished(folder, "swim/0.1", ROWS[:4])
    content = json.loads(path.read_text())
    content["rows"][2][1] = 0.5
    path.write_text(json.dumps(content))
    assert by_point(folder)["swim/0.1"].accuracy == (0.90, 0.91)


def test_rows_of_another_kind_are_damaged(folder):
    unfinished(folder, "swim/0.1", [["a", "b"]])
    assert by_point(folder)["swim/0.1"].state == "damaged"


def test_damaged_chips_file_is_named_as_such(folder):
    path = chips_file(folder, "swim/0.1")
    path.write_bytes(path.read_bytes()[:-7])
    assert by_point(folder)["swim/0.1"].state == "damaged"
    assert "1 damaged" in once(folder)


def test_long_table_leaves_out_finished_points_first(folder):
    for n in range(30):
        chips_file(folder, f"swim/0.{n + 1}")
    unfinished(folder, "random/0.5", ROWS[:2], goal=9)
    lines = running.lines("mine", running.states(folder), most=12)
    assert len(lines) <= 12
    assert any("random" in line for line in lines)
    assert lines[-1] == "... and 23 more points; --once prints all"
    assert len(once(folder).splitlines()) == 33


def test_watching_ends_when_all_planned_points_are_finished(folder, monkeypatch):
    (folder / "settings.json").write_text(json.dumps(SETTINGS | {"methods": ["swim"]}))
    points = ["none/0", "all/1", "swim/0.1", "swim/0.5"]
    looks = []

    def sleep(seconds):
        looks.append(seconds)
        chips_file(folder, points[len(looks) - 1])

    monkeypatch.setattr("swim.cli.watch.time.sleep", sleep)
    found = click.testing.CliRunner().invoke(cli, ["watch", str(folder), "--every", "2"])
    assert found.exit_code == 0
    assert looks == [2] * 4
    assert "mine: 4 points: 4 to come" in found.output
    assert "mine: 4 points: 4 finished" in found.output


def test_watching_without_settings_goes_on_until_it_is_interrupted(folder, monkeypatch):
    chips_file(folder, "none/0")
    looks = []

    def sleep(_):
        looks.append(1)
        if len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("swim.cli.watch.time.sleep", sleep)
    found = click.testing.CliRunner().invoke(cli, ["watch", str(folder)])
    assert found.exit_code == 0
    assert (
        found.output.count("mine: 1 point: 1 finished") == 1
    )  # a table is printed where it changed


def test_no_time_between_looks_is_refused(folder):
    found = click.testing.CliRunner().invoke(cli, ["watch", str(folder), "--every", "0"])
    assert "above 0" in str(found.exception)


def test_watching_loads_no_torch():
    import subprocess

    code = "import sys, swim.cli.watch; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "False"
