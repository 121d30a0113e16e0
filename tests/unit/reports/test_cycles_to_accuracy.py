"""Cycles to accuracy: from chips files to a table, and what it says where there is no number."""

import numpy as np
import pandas as pd
import pytest

from swim.errors import DataError
from swim.reports import accuracy_tables, crossings, cycles_to_accuracy
from swim.runtime import files
from swim.settings import policies

COLUMNS = ("chip", "accuracy", "loss", "nwc", "reads", "images")
# Means of every chip: crossings of 0.97 - w are exact.
POINTS = {
    "none/0": (0.60, 0.0, 0.0), "all/1": (0.97, 1.0, 3.0),
    "swim/0.1": (0.95, 0.1, 0.5), "swim/0.5": (0.97, 0.5, 1.5),
    "random/0.5": (0.80, 0.5, 1.5),
    "read_first/0.01": (0.96, 0.01, 1.01), "read_first/0.1": (0.94, 0.12, 1.2),
    "reslice/0": (0.968, 0.0, 1.0), "reslice/0.01": (0.97, 0.01, 1.01),
    "reslice/0.1": (0.975, 0.1, 1.1),
    "compensate/0.1": (0.9, 0.1, 1.3),
}  # fmt: skip


def write(folder, points, chips=12, spread=0.0, seed=0):
    """Chips files, and their paths; a chip's luck is the same at all points."""
    luck = np.random.default_rng(seed).normal(0, spread, chips)
    paths = []
    for point, (mean, nwc, reads) in points.items():
        path = folder / "d" / "sigma-0.3" / f"{point}.csv"
        rows = [(r, min(mean + e, 1.0), 1.0, nwc, reads, 1000) for r, e in enumerate(luck)]
        files.write_rows(path, COLUMNS, rows)
        paths.append(path)
    return paths


def made(paths, within=("1", "0.1"), **options):
    found = cycles_to_accuracy.table([paths], "mine", within, resamples=200, **options)
    return found, found.set_index(["within", "method"])


def test_a_table_of_known_crossings(tmp_path):
    found, rows = made(write(tmp_path, POINTS))
    assert list(found)[:9] == [
        "experiment", "sigma", "within", "method", "nwc", "nwc_low", "nwc_high", "reads",
        "ratio_to_swim",
    ]  # fmt: skip
    assert list(found) == cycles_to_accuracy.COLUMNS
    assert found["method"].tolist()[:5] == ["swim", "compensate", "random", "read_first", "reslice"]
    swim = rows.loc["1", "swim"]  # half way from 0.95 to 0.97, from 0.1 to 0.5
    assert (swim["nwc"], swim["reads"]) == (pytest.approx(0.3), pytest.approx(1.0))
    # Chips that agree leave nothing open.
    assert swim[["nwc_low", "nwc_high"]].tolist() == pytest.approx(2 * [swim["nwc"]])
    assert swim["ratio_to_swim"] == 1
    random = rows.loc["1", "random"]
    assert random["nwc"] == pytest.approx(0.5 + 0.5 * 16 / 17)
    assert random["ratio_to_swim"] == pytest.approx(random["nwc"] / 0.3)
    # 0.96 and 0.94 after it are 0.95 both, and between 0.1 and 1 others have a point at 0.5.
    first = rows.loc["1", "read_first"]
    assert first[["nwc", "reads", "ratio_to_swim"]].isna().all()
    assert first[["between_low", "between_high"]].tolist() == pytest.approx([0.12, 1])
    assert first[["nwc_low", "nwc_high"]].tolist() == pytest.approx([0.12, 1])
    assert first[["ratio_low", "ratio_high"]].tolist() == pytest.approx([0.12 / 0.3, 1 / 0.3])
    assert first["reached"] == 1
    assert rows.loc["1", ["between_low", "between_high"]].drop("read_first").isna().all(axis=None)
    reslice = rows.loc["1", "reslice"]
    assert (reslice["nwc"], reslice["reads"], reslice["ratio_to_swim"]) == (0, 1, 0)
    assert rows.loc["0.1", "reslice"]["nwc"] == pytest.approx(0.005)
    never = rows.loc["1", "compensate"]
    assert never[["nwc", "nwc_low", "nwc_high", "reads", "ratio_to_swim"]].isna().all()
    assert (never["reached"], never["seeds"], never["last"]) == (0, 1, pytest.approx(0.1))


def test_the_notes_say_what_a_number_does_not(tmp_path):
    text = cycles_to_accuracy.markdown(made(write(tmp_path, POINTS))[0])
    lines = [line for line in text.splitlines() if line.startswith("| 0.3 |")]
    assert lines[:5] == [
        "| 0.3 | swim | 0.3 [0.3, 0.3] | 1 | 1 |  |",
        "| 0.3 | compensate | – | – | – | not reached by NWC 0.1 |",
        "| 0.3 | random | 0.971 [0.971, 0.971] | 2.91 | 3.24 [3.24, 3.24] |  |",
        "| 0.3 | read_first | between 0.12 and 1 | – | – | not measured there |",
        "| 0.3 | reslice | 0 [0, 0] | 1 | 0 [0, 0] | within at no rewrite |",
    ]
    assert "below the first point, 0.01" in lines[9]
    assert "Within 1 point:" in text
    assert "12 chips" in text


def test_what_reads_all_devices_first_has_read_them_where_nothing_is_rewritten(tmp_path):
    """The straight line to its first budget starts at one read a device, swim's at none."""
    points = {**POINTS, "read_first/0.01": (0.97, 0.01, 1.02), "read_first/0.1": (0.97, 0.1, 1.2),
              "swim/0.01": (0.637, 0.01, 0.05), "swim/0.1": (0.97, 0.1, 0.5)}  # fmt: skip
    rows = made(write(tmp_path, points))[1]
    part = 36 / 37
    assert rows.loc["1", "read_first"]["reads"] == pytest.approx(1 + 0.02 * part)
    assert rows.loc["1", "swim"]["reads"] == pytest.approx(0.5 * part)


@pytest.mark.parametrize(("heights", "place"), [
    ([-1, 1], 0.5), ([-1, -0.5, 0.5], 1.5), ([-1, 0, 1], 1.0), ([0, 1], 0.0), ([1, 2], 0.0),
    ([-1, -1], np.inf), ([-1, -1, 1, 1], 1.5), ([1], 0.0), ([-1], np.inf), ([-1, 0, 0, 0], 1.0),
    ([-1, np.nan], np.nan),
])  # fmt: skip
def test_where_a_rising_curve_crosses(heights, place):
    found = crossings.crossing(np.array([heights], dtype=float))
    assert found == pytest.approx([place], nan_ok=True)


def test_gap_is_a_step_within_which_the_grid_has_a_value():
    grid = [0.0, 0.01, 0.1, 0.2, 0.5, 1.0]
    assert cycles_to_accuracy.gaps(["0", "0.1", "0.2", "1"], grid).tolist() == [True, False, True]
    assert cycles_to_accuracy.gaps(["0"], grid).tolist() == []
    places = np.array([0.0, 0.3, 1.0, 1.5, 2.2, 3.0, np.inf, np.nan])
    low, high = crossings.around_gaps(places, np.array([True, False, True]))
    np.testing.assert_array_equal(low, [0, 0, 1, 1.5, 2, 3, np.inf, np.nan])
    np.testing.assert_array_equal(high, [0, 1, 1, 1.5, 3, 3, np.inf, np.nan])


def test_budgets_and_fractions_are_one_grid_and_training_on_the_chip_is_not_part(tmp_path):
    """A policy's small budget opens a gap in a mask's curve; one of training does not."""
    coarse = {point: row for point, row in POINTS.items() if not point.endswith("/0.01")}
    trained = {**coarse, "swim/0.1": (0.965, 0.1, 0.5), "in_situ/0.02": (0.7, 0.015, 0.0)}
    assert made(write(tmp_path / "a", trained))[1].loc["1", "swim"]["nwc"] > 0
    finer = {**trained, "read_first/0.01": (0.96, 0.01, 1.01)}
    row = made(write(tmp_path / "b", finer))[1].loc["1", "swim"]
    assert np.isnan(row["nwc"])
    assert row[["between_low", "between_high"]].tolist() == pytest.approx([0.0, 0.1])
    # With a point of its own at that budget it has a number again.
    shared = {**finer, "swim/0.01": (0.7, 0.01, 0.05)}
    assert 0.01 < made(write(tmp_path / "c", shared))[1].loc["1", "swim"]["nwc"] < 0.1


def test_interval_reaches_to_the_ends_of_a_gap_that_some_resamples_cross(tmp_path):
    """The estimate is below the gap; chips differ enough that resamples cross inside it."""
    paths = write(tmp_path, {**POINTS, "read_first/0.01": (0.94, 0.01, 1.01),
                             "read_first/0.1": (0.9605, 0.12, 1.2)})  # fmt: skip
    uneven = pd.read_csv(tmp_path / "d/sigma-0.3/read_first/0.1.csv")
    uneven["accuracy"] += np.where(uneven["chip"] % 2, 0.004, -0.004)
    files.write_table(tmp_path / "d/sigma-0.3/read_first/0.1.csv", uneven.to_csv(index=False))
    row = made(paths)[1].loc["1", "read_first"]
    assert 0.01 < row["nwc"] < 0.12
    assert np.isnan(row["between_low"])
    assert row["nwc_high"] == 1.0


def test_points_weigh_by_the_precision_of_their_means():
    """n / variance; where chips agree, as the most precise of the others."""
    values = np.array([[0.1, 0.5, 0.9], [0.3, 0.5, 0.9], [0.2, 0.5, np.nan]])
    expected = np.array([3, 3, 2]) / 0.01
    np.testing.assert_allclose(crossings.precision(values), expected)
    np.testing.assert_array_equal(crossings.precision(np.full((4, 2), 0.9)), [4, 4])
    np.testing.assert_array_equal(crossings.precision(np.array([[0.9, 0.8]])), [1, 1])


def test_equal_accuracies_are_equal_whatever_the_rounding(tmp_path):
    """0.97 - 0.96 is more than 0.01 in binary: a point 1 point below counts as within 1."""
    assert 0.96 - 0.97 + 0.01 < 0
    rows = made(write(tmp_path, {**POINTS, "swim/0.1": (0.96, 0.1, 0.5)}))[1]
    assert rows.loc["1", "swim"]["nwc"] == pytest.approx(0.1)


def test_several_seeds_are_averaged(tmp_path):
    """t over the seeds' own values; NWC is empty where one does not reach it."""
    moved = {**POINTS, "swim/0.5": (0.965, 0.5, 1.5), "reslice/0.1": (0.9, 0.1, 1.1)}
    seeds = [write(tmp_path / "a", POINTS), write(tmp_path / "b", moved)]
    alone = [made(paths)[1] for paths in seeds]
    both = cycles_to_accuracy.table(seeds, "mine", ["1"], resamples=50).set_index("method")
    one, other = (rows.loc["1", "swim"]["nwc"] for rows in alone)
    swim = both.loc["swim"]
    assert swim["nwc"] == pytest.approx((one + other) / 2)
    half = 12.7062 * abs(one - other) / 2
    assert swim["seeds_high"] == pytest.approx((one + other) / 2 + half, rel=1e-4)
    assert swim["seeds_low"] == max(0, (one + other) / 2 - half)
    assert both.loc["random"]["ratio_to_swim"] == pytest.approx(
        both.loc["random"]["nwc"] / swim["nwc"]
    )
    reslice = both.loc["reslice"]
    assert np.isnan(reslice["nwc"])
    assert (reslice["reached"], reslice["seeds"]) == (1, 2)
    text = cycles_to_accuracy.markdown(both.reset_index()[cycles_to_accuracy.COLUMNS])
    assert "not reached by NWC 0.1 by 1 of 2 seeds" in text
    assert "over seeds" in text


def test_an_interval_whose_end_is_not_reached_is_open(tmp_path):
    """Some resamples of chips whose own luck decides reach it, others do not."""
    coarse = {point: row for point, row in POINTS.items() if not point.endswith("/0.01")}
    paths = write(tmp_path, coarse)
    uneven = pd.read_csv(paths[-1])
    uneven["accuracy"] = np.where(uneven["chip"] < 10, 0.97, 0.94)
    files.write_table(paths[-1], uneven.to_csv(index=False))
    found, rows = made(paths)
    row = rows.loc["1", "compensate"]
    assert 0 < row["nwc_low"] < row["nwc"] < 0.1
    assert np.isnan(row["nwc_high"])
    assert f"[{row['nwc_low']:.3g}, …]" in cycles_to_accuracy.markdown(found)


def test_the_order_of_files_and_rows_changes_nothing(tmp_path):
    paths = write(tmp_path, POINTS, spread=0.02)
    before = made(paths)[0]
    for path in paths:
        files.write_table(path, pd.read_csv(path).iloc[::-1].to_csv(index=False))
    pd.testing.assert_frame_equal(before, made(paths[::-1])[0])


def test_a_written_table_is_read_as_it_was(tmp_path):
    found = made(write(tmp_path, POINTS))[0]
    files.write_table(tmp_path / "t.csv", found.to_csv(index=False))
    pd.testing.assert_frame_equal(
        cycles_to_accuracy.read(tmp_path / "t.csv"), found, check_dtype=False
    )
    assert cycles_to_accuracy.markdown(
        cycles_to_accuracy.read(tmp_path / "t.csv")
    ) == cycles_to_accuracy.markdown(found)


def test_table_of_an_earlier_version_is_read_without_gaps(tmp_path):
    found = made(write(tmp_path, POINTS))[0]
    earlier = found.drop(columns=list(cycles_to_accuracy.ADDED))
    files.write_table(tmp_path / "t.csv", earlier.to_csv(index=False))
    read = cycles_to_accuracy.read(tmp_path / "t.csv")
    assert list(read) == cycles_to_accuracy.COLUMNS
    assert read[list(cycles_to_accuracy.ADDED)].isna().all(axis=None)


def test_what_is_missing_is_named(tmp_path):
    paths = write(tmp_path, POINTS)
    with pytest.raises(DataError, match=r"mine: d/sigma-0\.3/all/1\.csv is missing"):
        cycles_to_accuracy.table([[p for p in paths if p.parent.name != "all"]], "mine", ["1"])
    with pytest.raises(DataError, match="seeds' chips files are not of the same points"):
        cycles_to_accuracy.table([paths, paths[:-1]], "mine", ["1"])
    files.write_table(tmp_path / "t.csv", "experiment\n1\n")
    with pytest.raises(DataError, match="lacks the columns sigma"):
        cycles_to_accuracy.read(tmp_path / "t.csv")
    with pytest.raises(DataError, match="cannot be read"):
        cycles_to_accuracy.read(tmp_path / "none.csv")


def test_reading_policies_are_those_that_read_before():
    """The registry's word against what each policy reads where it may rewrite nothing."""
    import torch

    from swim.devices.bit_sliced import Device
    from swim.programming.chip import Chip
    from swim.programming.lookup import of_name
    from swim.settings import registry

    device = Device(M=4, K=1, sigma=0.2, write_verify="redraw")
    targets = {"w": torch.linspace(-1, 1, 40).view(5, 8)}
    chip = Chip(targets, device, 0, 0)
    for name in registry.POLICIES:
        made = of_name(name, 0, {"w": torch.ones(5, 8)}).program(chip)
        assert (made.nwc, made.reads) == (0, float(policies.ENTRIES[name].reads_first)), name


def test_methods_and_points_as_the_curves_of_the_figures(tmp_path):
    """NWC of the crossing is on the line that the figure draws of the same table."""
    paths = write(tmp_path, POINTS, spread=0.01)
    constants = {"experiment": "mine", "model": "m", "dataset": "d"}
    accuracy = accuracy_tables.accuracy_table(paths, constants)
    best = accuracy.loc[accuracy["method"] == "all", "mean"].item()
    for method in ("swim", "random"):
        curve = accuracy_tables.curve(accuracy, method)
        nwc = made(paths)[1].loc["1", method]["nwc"]
        assert np.interp(nwc, curve["nwc"], curve["mean"]) == pytest.approx(best - 0.01)
