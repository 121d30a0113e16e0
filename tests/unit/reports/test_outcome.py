"""What the end of a run says of an experiment."""

import pytest

from swim.errors import DataError
from swim.reports import accuracy_tables, outcome
from swim.runtime import files
from swim.settings import layout


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    places = [("none", "0", 100, 0.02), ("swim", "0.1", 150, 0.004), ("all", "1", 100, 0.001)]
    fixed = {"experiment": "mine", "model": "lenet", "dataset": "mnist", "device": "one",
             "sigma": "0.1"}  # fmt: skip
    rows = [
        {**fixed, "method": method, "fraction": part,
         "nwc": float(part), "reads": 0.0, "chips": chips, "mean": 0.9, "ci95": half}
        for method, part, chips, half in places
    ]  # fmt: skip
    rows.append({**fixed, "method": "clean", "fraction": "", "mean": 0.95})
    path = layout.ACCURACY.format(experiment="mine")
    table = accuracy_tables.tidy(rows)
    files.write_table(path, table.to_csv(index=False, lineterminator="\n"), {})


def test_end_of_a_run_has_points_chips_and_where_results_are(made):
    assert outcome.exists("mine")
    assert not outcome.exists("other")
    assert outcome.lines("mine") == [
        "mine: 3 points of 100 to 150 chips: results/mine/accuracy.csv, to read "
        "results/summary/mine.md; figures in results/mine/figures, claims results/mine/claims.html"
    ]
    assert outcome.lines("mine", precision=0.02) == outcome.lines("mine")


def test_points_that_missed_the_precision_are_counted_and_the_widest_is_named(made):
    (_, warning) = outcome.lines("mine", precision=0.003)
    assert warning == (
        "mine: warning: the precision of 0.003 was not reached at 2 of 3 points before max_chips; "
        "the widest interval is ± 0.02 (none 0, one, sigma 0.1)"
    )


def test_end_of_a_run_without_its_table_is_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError):
        outcome.lines("mine")
