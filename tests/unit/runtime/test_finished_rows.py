"""Chips that are finished stay finished: after a kill, and when more are asked for."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from swim.evaluation import statistics, stopping
from swim.runtime.files import load_arrays, save_arrays
from swim.runtime.finished_rows import Progress, progress_file
from tests.unit.conftest import run


def test_rows_come_back_under_the_same_digest_only(tmp_path):
    progress = Progress(tmp_path / "0.1.csv", "a")
    progress.add((0, 0.1 + 0.2, 1e-300, 0.5))
    assert not list(tmp_path.iterdir())
    progress.save()
    assert os.listdir(tmp_path) == [".0.1.progress.json"]
    assert Progress(tmp_path / "0.1.csv", "a").rows == [[0, 0.1 + 0.2, 1e-300, 0.5]]
    assert Progress(tmp_path / "0.1.csv", "b").rows == []


def test_rows_are_written_after_a_while(tmp_path):
    progress = Progress(tmp_path / "x.csv", "a", seconds=0.0)
    progress.add((0, 0.5, 1.0, 0.0))
    assert Progress(tmp_path / "x.csv", "a").rows == progress.rows


@pytest.mark.parametrize("text", ["", "{", "[]", '{"digest": "a"}', '{"digest": "a", "rows": 3}'])
def test_half_a_file_is_no_rows(tmp_path, text):
    (tmp_path / ".x.progress.json").write_text(text)
    assert Progress(tmp_path / "x.csv", "a").rows == []


def arguments(folder, out, chips, *more):
    files = ["--model", folder / "model", "--data", folder / "data", "--out", out]
    options = ["--verify", "none", "--sigma", "0.3", "--test-images", 300, "--chips", chips]
    return ["evaluate", *map(str, [*files, *options, *more])]


def evaluate(folder, out, chips, *more):
    return run(*arguments(folder, out, chips, *more))


@pytest.mark.long
def test_more_chips_extend_and_fewer_cut(folder, tmp_path):
    whole, parts = tmp_path / "whole.csv", tmp_path / "parts.csv"
    evaluate(folder, whole, 9)
    assert "going on" not in evaluate(folder, parts, 4)
    assert len(pd.read_csv(parts)) == 4
    text = evaluate(folder, parts, 9)
    assert "going on after 4 chips" in text
    assert "none 0, sigma 0.3: 4 of 9 chips, accuracy " in text
    mean = 100 * pd.read_csv(parts)["accuracy"].mean()
    assert f"none 0, sigma 0.3: accuracy {mean:.2f} ± " in text
    assert " %, 9 chips, 4 of them of an earlier run, " in text
    assert "Warning" not in text
    assert parts.read_bytes() == whole.read_bytes()
    assert "going on after 9 chips" in evaluate(folder, parts, 4)
    assert parts.read_text() == "".join(whole.read_text().splitlines(keepends=True)[:5])


@pytest.mark.parametrize(
    "changed",
    [["--seed", 1], ["--sigma", "0.2"], ["--verify", "all"], ["--test-images", 200],
     ["--device-K", 2], ["--batch-size", 100], ["--arithmetic-threads", 2]],
    ids=lambda words: words[0],
)  # fmt: skip
def test_another_setting_starts_over(folder, tmp_path, changed):
    evaluate(folder, tmp_path / "x.csv", 2)
    assert "going on" not in evaluate(folder, tmp_path / "x.csv", 2, *changed)


def test_another_network_starts_over(folder, tmp_path):
    evaluate(folder, tmp_path / "x.csv", 2)
    arrays, settings = load_arrays(folder / "model")
    arrays["fc3.bias"] = arrays["fc3.bias"] + np.float32(1e-6)
    save_arrays(tmp_path / "other", arrays, settings)
    out = tmp_path / "x.csv"
    assert "going on" not in evaluate(folder, out, 2, "--model", str(tmp_path / "other"))


@pytest.mark.long
def test_a_killed_evaluation_goes_on(folder, tmp_path):
    """Saved after every chip here; SIGKILL once some are there."""
    whole, killed = tmp_path / "whole.csv", tmp_path / "killed.csv"
    evaluate(folder, whole, 60)
    code = (
        "import sys; from swim.runtime import finished_rows as progress; from swim.cli import cli\n"
        "progress.Progress.__init__.__defaults__ = (0.0,)\n"
        f"cli.main({arguments(folder, killed, 60)!r})"
    )
    job = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    side = tmp_path / ".killed.progress.json"
    while job.poll() is None:
        if side.exists() and len(json.loads(side.read_text())["rows"]) > 4:
            break
        time.sleep(0.005)
    job.send_signal(signal.SIGKILL)
    assert job.wait() == -signal.SIGKILL
    assert not killed.exists()
    assert "going on after" in evaluate(folder, killed, 60)
    assert killed.read_bytes() == whole.read_bytes()


@pytest.mark.long
def test_a_precision_stops_at_a_blocks_end(folder, tmp_path):
    out = tmp_path / "x.csv"
    evaluate(folder, out, 100)
    # About 180 chips' worth.
    precision = 0.75 * statistics.summarise(pd.read_csv(out)["accuracy"]).ci95
    reached = evaluate(folder, out, 100, "--precision", precision, "--max-chips", 400)
    assert "Warning" not in reached
    accuracy = pd.read_csv(out)["accuracy"].to_numpy()
    count = len(accuracy)
    assert 100 < count < 400
    assert (count - 100) % stopping.BLOCK == 0
    assert statistics.summarise(accuracy).ci95 <= precision
    for earlier in range(100, count, stopping.BLOCK):
        assert statistics.summarise(accuracy[:earlier]).ci95 > precision
    # Loosened, it keeps a part; tightened, it goes on.
    evaluate(folder, out, 100, "--precision", 0.5, "--max-chips", 400)
    assert pd.read_csv(out)["accuracy"].tolist() == accuracy[:100].tolist()
    text = evaluate(folder, out, 100, "--precision", 0.0001, "--max-chips", count + 10)
    assert f"going on after {count} chips" in text
    half = stopping.half_width(pd.read_csv(out)["accuracy"])
    assert (
        f"Warning: the precision of 0.0001 was not reached: the 95 % interval of the mean is "
        f"± {half:.2g} after max_chips = {count + 10:,} chips. Raise max_chips or precision"
    ) in text
    assert len(pd.read_csv(out)) == count + 10


def test_the_file_of_a_run_that_has_ended_does_not_say_when_it_ran(tmp_path):
    """Two runs, one of them killed and gone on with, leave the same bytes."""
    rows = [[n, 0.9 + n / 100, 0.5, 0.1] for n in range(5)]
    contents = []
    for name, kills in (("a.csv", 0), ("b.csv", 2)):
        for kill in range(kills + 1):
            progress = Progress(tmp_path / name, "digest", seconds=0.0)
            for row in rows[len(progress.rows) : len(rows) if kill == kills else kill + 1]:
                progress.add(row)
            assert "run" in json.loads(progress_file(tmp_path / name).read_text())
        progress.save()
        contents.append(progress_file(tmp_path / name).read_bytes())
    assert contents[0] == contents[1]
    assert "run" not in json.loads(contents[0])
