"""The paper's stop rule, against a chip that is walked by hand."""

import numpy as np
import pandas as pd
import pytest

from swim.errors import DataError, SettingError
from swim.evaluation.monte_carlo import COLUMNS
from swim.reports import stopping_rule
from swim.runtime import files
from tests.unit.cli.test_commands import run

POINTS = {  # three chips each
    "none/0": ([0.80, 0.70, 0.60], 0.0),
    "swim/0.1": ([0.89, 0.88, 0.70], 0.1),
    "swim/0.5": ([0.90, 0.86, 0.80], 0.5),
    "all/1": ([0.90, 0.90, 0.85], 1.0),
    "compensate/0.1": ([0.88, 0.85, 0.80], 0.11),
    "reslice/0": ([0.91, 0.87, 0.50], 0.0),
    "reslice/0.1": ([0.90, 0.89, 0.88], 0.1),
    "in_situ/1": ([0.90, 0.90, 0.90], 0.9),
}


@pytest.fixture
def folder(tmp_path):
    at = tmp_path / "chips/release/sigma-0.3"
    for point, (accuracies, nwc) in POINTS.items():
        reads = 0 if point == "none/0" else 1 + nwc
        rows = [(r, a, 1.0, nwc + r / 1000, reads, 1000) for r, a in enumerate(accuracies)]
        files.write_rows(at / f"{point}.csv", COLUMNS, rows)
    files.write_rows(at / "clean.csv", ("accuracy", "loss"), [(0.91, 0.1)])
    return tmp_path / "chips"


def table_of(folder, drop):
    return stopping_rule.stops(sorted(folder.glob("*/*/**/*.csv")), drop).set_index("method")


def test_each_chip_stops_at_the_first_point_within_the_bound(folder):
    table = table_of(folder, 0.03)  # at least 0.88
    assert list(table.index) == ["compensate", "reslice", "swim"]
    swim = table.loc["swim"]
    # Chips 0 and 1 stop at 0.1; that the second drops again at 0.5 is not seen. The third never.
    assert (swim["chips"], swim["stopped"]) == (3, pytest.approx(2 / 3))
    assert swim["nwc"] == pytest.approx(np.mean([0.1, 0.101]))
    assert swim["nwc_p95"] == pytest.approx(np.percentile([0.1, 0.101], 95))
    # A policy that does something at no cycle begins there, one that compensates has no end "all".
    assert table.loc["reslice", "nwc"] == pytest.approx(np.mean([0.0, 0.101, 0.102]))
    assert table.loc["reslice", "reads"] == pytest.approx(np.mean([1, 1.1, 1.1]))
    assert table.loc["compensate", "stopped"] == pytest.approx(1 / 3)


def test_who_reads_first_has_read_where_nothing_is_rewritten(folder):
    table = table_of(folder, 0.32)  # which every chip meets from the start
    assert table.loc[["compensate", "swim"], "reads"].tolist() == [1, 0]


def test_a_bound_that_nothing_meets(folder):
    table = table_of(folder, 0.0)
    assert table.loc["swim", "stopped"] == 0
    assert np.isnan(table.loc["swim", "nwc"])
    assert "0% of 3 | – | – | –" in stopping_rule.markdown(table.reset_index(), 0.0)


def test_the_command_prints_and_writes(folder, tmp_path):
    text = run("budget", folder, "--max-drop", 0.03, "--out", tmp_path / "stops.csv")
    assert "at most 3 percentage points of accuracy" in text
    assert "| release | 0.3 | swim | 67% of 3 | 0.1005 |" in text
    assert list(pd.read_csv(tmp_path / "stops.csv")) == stopping_rule.COLUMNS


def test_wrong_files_and_bounds_are_refused(folder, tmp_path):
    with pytest.raises(SettingError, match="max_drop must be between 0 and 1"):
        table_of(folder, -0.1)
    with pytest.raises(DataError, match=r"clean\.csv is missing"):
        stopping_rule.stops([folder / "release/sigma-0.3/swim/0.1.csv"], 0.1)
