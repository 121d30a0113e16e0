"""Pages to read: tables with their colours, the report's first page, the learning curve."""

import re

import numpy as np
import pandas as pd
import pytest
from docutils.core import publish_parts

from swim.errors import DataError
from swim.reports import accuracy_tables, cycles_to_accuracy, html_page, landing, tables_page
from swim.reports.plots import learning_figure
from swim.reports.plots.titles import Words
from swim.runtime import files
from swim.settings import PlotJob, layout

UNSAFE = 'a<b>&"`c`_ **d** |e| \\'


def accuracy(**changed):
    rows = [
        {"method": "none", "fraction": "0", "nwc": 0.0, "mean": 0.8, "ci95": 0.01},
        {"method": "swim", "fraction": "0.1", "nwc": 0.1, "mean": 0.95, "ci95": 0.0023},
        {"method": UNSAFE, "fraction": "0.1", "nwc": 0.1, "mean": 0.9, "ci95": np.nan},
        {"method": "all", "fraction": "1", "nwc": 1.0, "mean": 0.97, "ci95": 0.0},
        {"method": "clean", "fraction": "", "mean": 0.98},
    ]
    same = {"experiment": "e", "model": "lenet", "dataset": "mnist", "device": "d", "sigma": "0.3",
            "chips": 20}  # fmt: skip
    return pd.DataFrame([same | row | changed for row in rows], columns=accuracy_tables.COLUMNS)


def paired(difference=0.05, half=0.01):
    row = {"device": "d", "sigma": "0.3", "fraction": "0.1", "method": "swim", "other": "random",
           "chips": 20, "difference": difference, "ci95": half}  # fmt: skip
    return pd.DataFrame([row], columns=accuracy_tables.PAIRED)


def cycles(nwc=0.05, **changed):
    row = {"experiment": "e", "sigma": "0.3", "within": "0.5", "method": "swim", "nwc": nwc,
           "nwc_low": 0.04, "nwc_high": np.nan, "device": "d", "seeds": 1, "reached": 1,
           "first": 0.01, "last": 1.0}  # fmt: skip
    return pd.DataFrame([row | changed], columns=cycles_to_accuracy.COLUMNS)


def page(accuracy=accuracy(), paired=paired(), cycles=cycles()):  # noqa: B008
    return tables_page.page("mine", accuracy, paired, cycles, Words("LeNet", "MNIST"))


def heat(text, words):
    """How strong a cell's colour is, in per cent."""
    return int(re.search(rf'--heat: (\d+)%">{re.escape(words)}<', text)[1])


def test_tables_are_rounded_with_intervals_and_coloured_by_worth():
    text = page()
    assert "<h1>Tables: mine</h1>" in text
    assert "LeNet, MNIST, 20 chips" in text
    assert "Before programming 98.00 %" in text
    assert [heat(text, words) for words in ("80.00 ± 1.00", "95.00 ± 0.23", "97.00 ± 0.00")] == [
        0, 88, 100,
    ]  # fmt: skip
    assert heat(text, "90.00") == 59  # without an interval
    assert "0.05<small>[0.04, …]</small>" in text
    assert UNSAFE not in text
    assert html_page.text(UNSAFE) in text


@pytest.mark.parametrize(
    ("difference", "mark"), [(0.05, ' class="more"'), (-0.05, ' class="less"'), (0.009, "")]
)
def test_a_difference_is_coloured_where_its_interval_has_one_sign(difference, mark):
    assert f"<td{mark}>{100 * difference:+.2f} ± 1.00</td>" in page(paired=paired(difference))


def test_fewer_cycles_have_the_stronger_colour_and_none_has_a_remark():
    many = pd.concat([cycles(), cycles(0.5, sigma="0.2"), cycles(1.0, sigma="0.1")])
    text = page(cycles=many)
    assert [heat(text, words) for words in ("0.05", "0.5", "1")] == [100, 23, 0]
    text = page(cycles=cycles(np.nan, reached=0))
    assert "<td>–<small>[0.04, …]; not reached by NWC 1</small></td>" in text


def test_a_learning_curve_shows_every_epoch_and_the_quantised_ones(tmp_path):
    rows = [(1, False, 0.1, 2.0, 0.3), (2, False, 0.1, 1.0, 0.6), (3, True, 0.01, 0.5, 0.9)]
    files.write_rows(tmp_path / "train.csv", learning_figure.COLUMNS, rows)
    table = learning_figure.read(tmp_path / "train.csv")
    figure = learning_figure.learning_figure(table, "words")
    left, right = figure.axes
    for axes, values in ((left, [2.0, 1.0, 0.5]), (right, [30.0, 60.0, 90.0])):
        (line,) = axes.get_lines()
        assert line.get_xydata().tolist() == [[1, values[0]], [2, values[1]], [3, values[2]]]
        (span,) = [patch for patch in axes.patches if patch.get_gid() == "span"]
        assert (span.get_x(), span.get_width()) == (2.5, 1.0)
    made = list(learning_figure.draw(tmp_path / "train.csv", tmp_path, PlotJob(dataset="mnist")))
    assert [path.name for path in made] == ["learning.png", "learning.svg", "learning.pdf"]
    assert "MNIST, training" in (tmp_path / "learning.svg").read_text()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(42.4, "42 s"), (59.9, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_a_time_is_said_as_readers_say_it(seconds, words):
    assert landing.clock(seconds) == words


def settings():
    return {
        "model": {"name": "lenet", "weight_bits": 4, "activation_bits": 4},
        "dataset": "mnist",
        "devices": {"one": {"M": 4, "K": 4}},
        "sigmas": ["0.1", "0.3"],
        "methods": ["swim", {"name": UNSAFE}],
        "chips": 25,
        "precision": None,
        "seed": 3,
        "versions": {"swim": "1.2.3", "torch": "2"},
        "hardware": {"processor": UNSAFE, "cores": 2, "system": "Linux"},
    }


def shown(text):
    """The words of a page, after docutils; nothing in it may be wrong."""
    made = publish_parts(text, writer="html", settings_overrides={"report_level": 1})["html_body"]
    assert "system-message" not in made
    assert "problematic" not in made
    assert "<strong>d" not in made
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]*>", " ", made).split())


def test_the_first_page_has_claims_runs_machine_and_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files.write_json(layout.SETTINGS.format(experiment="run_"), settings())
    for job, seconds in (("train", 100.0), ("evaluate/x/y", 42.0)):
        path = tmp_path / layout.benchmark(job, "run_")
        files.write_text(path, f"s\th:m:s\n{seconds}\t0:00:01\n")
    best = {"network": "n", "dataset": "d", "method": "swim", "device": "one", "sigma": "0.3",
            "within": "1", "measured": "12 [11, 13]", "note": "", "chips": 25,
            "seeds": 1}  # fmt: skip
    claim = {"claim": UNSAFE, "verdict": "holds", "claimed_by": "us", "best": best, "rows": [best],
             "counts": {"holds": 1, "not measured": 0}}  # fmt: skip
    stored = layout.CLAIMS.format(place="run_")
    files.write_json(stored, {"name": "run_", "claims": [claim]})
    text = landing.text(["run_", "not_made"], [stored, "results/none/claims.json"], "commit abc")
    words = shown(text)
    for part in (
        "Claims: run_", "holds", "12 [11, 13]", "n on d, swim, one", "σ = 0.1, 0.3", "25 chips",
        "seed 3", "one (one 4-bit device per weight)", "2 min 22 s in 2 jobs",
        "LeNet, 4-bit, MNIST", "2 cores", "swim 1.2.3, torch 2",
        "report made by commit abc", "a&lt;b&gt;",
    ):  # fmt: skip
        assert part in words, part
    assert "not_made" not in words
    assert words.count("**d**") == 3


def test_a_first_page_without_results_has_its_title_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shown(landing.text(["one"], [])) == "Selective write-verify: what holds here"
    files.write_text(layout.SETTINGS.format(experiment="one"), "{")
    with pytest.raises(DataError, match=r"settings\.json: cannot be read"):
        landing.text(["one"], [])
