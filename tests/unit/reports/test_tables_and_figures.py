"""Tables and figures: what is drawn is what the table says, and the table what the chips say."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from swim.errors import DataError, SettingError
from swim.evaluation import statistics
from swim.reports import accuracy_tables, cycles_to_accuracy
from swim.reports.plots import accuracy_figure, cycles_figure, style
from swim.runtime import files

POINTS = {"none/0": 0.6, "all/1": 0.97, "swim/0.1": 0.95, "swim/0.5": 0.96,
          "random/0.1": 0.65, "random/0.5": 0.8, "own/0.1": 0.7}  # fmt: skip
COLUMNS = ("chip", "accuracy", "loss", "nwc", "reads", "images")
CONSTANTS = {"experiment": "mine", "model": "lenet", "dataset": "mnist5k"}


@pytest.fixture
def chips(tmp_path):
    """Chips files of two sigmas, and their paths."""
    generator = np.random.default_rng(0)
    paths = []
    for sigma in ("0.3", "0.1"):
        folder = tmp_path / "chips" / "release" / f"sigma-{sigma}"
        for point, mean in POINTS.items():
            values = np.clip(generator.normal(mean, 0.02, 20), 0, 1)
            nwc = float(point.split("/")[1])
            rows = [(r, value, 1.0, nwc, 2 * nwc, 1000) for r, value in enumerate(values)]
            files.write_rows(folder / f"{point}.csv", COLUMNS, rows)
            paths.append(folder / f"{point}.csv")
        files.write_rows(folder / "clean.csv", ("accuracy", "loss"), [(0.98, 0.1)])
        paths.append(folder / "clean.csv")
    return paths


@pytest.fixture
def table(chips, tmp_path):
    made = accuracy_tables.accuracy_table(chips, CONSTANTS)
    files.write_table(tmp_path / "accuracy.csv", made.to_csv(index=False))
    return accuracy_tables.read_accuracy(tmp_path / "accuracy.csv")


def test_statistics_against_scipy():
    from scipy.stats import sem, t

    values = np.random.default_rng(1).random(17)
    found = statistics.summarise(values)
    low, high = t.interval(0.95, 16, loc=values.mean(), scale=sem(values))
    assert found.ci95 == pytest.approx((high - low) / 2)
    assert found.std == pytest.approx(values.std(ddof=1))
    assert np.isnan(statistics.summarise([0.5]).ci95)


def test_percentiles_need_60_and_300_chips():
    for count, there in ((59, []), (60, ["p05"]), (299, ["p05"]), (300, ["p05", "p01"])):
        found = statistics.summarise(np.random.default_rng(1).random(count))
        for name in ("p05", "p01"):
            own = getattr(found, name)
            assert np.isfinite([own.value, own.low, own.high]).all() == (name in there)
    values = np.arange(301.0)
    found = statistics.summarise(values[::-1])
    assert (found.p05.value, found.p01.value) == pytest.approx((15, 3))
    assert found.p01.low < 3 < found.p01.high


@pytest.mark.parametrize(("count", "part"), [(60, 0.05), (100, 0.05), (317, 0.05), (300, 0.01)])
def test_ranks_of_a_percentiles_interval_are_the_closest_that_cover(count, part):
    """All pairs of ranks, with the binomial probability of each summed term by term."""
    from math import comb

    terms = [comb(count, k) * part**k * (1 - part) ** (count - k) for k in range(count + 1)]
    pairs = {
        (low, high): sum(terms[low:high])
        for low in range(1, 40)
        for high in range(low + 1, min(count, 70) + 1)
    }
    enough = [pair for pair, covered in pairs.items() if covered >= 0.95]
    expected = min(enough, key=lambda pair: (pair[1] - pair[0], -pairs[pair]))
    assert statistics._ranks(count, part) == expected


def test_intervals_of_percentiles_cover_whatever_the_distribution():
    """2,000 samples each of a skewed one; the count is binomial; false alarm below 1e-6."""
    from scipy.stats import binom, gamma

    generator = np.random.default_rng(3)
    for count, name, part in ((60, "p05", 0.05), (100, "p05", 0.05), (300, "p01", 0.01)):
        truth = 1 - gamma.ppf(1 - part, 2)
        found = [
            getattr(statistics.summarise(1 - generator.gamma(2, 1, count)), name)
            for _ in range(2000)
        ]
        covered = sum(own.low <= truth <= own.high for own in found)
        assert covered >= binom.ppf(5e-7, 2000, 0.95)
        assert covered < 2000


def test_the_interval_covers_the_mean_95_times_in_100():
    """4,000 samples of 10: the count is binomial; false alarm below 1e-6."""
    from scipy.stats import binom

    samples = np.random.default_rng(2).normal(0.9, 0.05, (4000, 10))
    found = [statistics.summarise(sample) for sample in samples]
    covered = sum(abs(s.mean - 0.9) <= s.ci95 for s in found)
    low, high = binom.ppf([5e-7, 1 - 5e-7], 4000, 0.95)
    assert low <= covered <= high


def test_the_table_holds_every_point_once(table, chips):
    assert list(table.columns) == accuracy_tables.COLUMNS
    assert len(table) == len(chips)
    for path in chips:
        values = pd.read_csv(path)["accuracy"]
        place = accuracy_tables.place_of(path)
        row = table[(table[list(place)] == pd.Series(place)).all(axis=1)]
        assert len(row) == 1
        assert row["mean"].item() == values.mean()
        if place["method"] != "clean":
            assert row["nwc"].item() == pytest.approx(float(place["fraction"]))
            assert row["std"].item() == pytest.approx(values.std(), rel=1e-12)
    assert list(dict.fromkeys(table["sigma"])) == ["0.1", "0.3"]


def test_low_percentiles_are_in_the_table_from_enough_chips_on(chips, tmp_path):
    assert (
        accuracy_tables.accuracy_table(chips, CONSTANTS)[["p05", "p05_low", "p01"]]
        .isna()
        .all(axis=None)
    )
    values = np.random.default_rng(0).random(100)
    rows = [(r, value, 1.0, 0.1, 0.2, 1000) for r, value in enumerate(values)]
    files.write_rows(chips[2], COLUMNS, rows)
    table = accuracy_tables.accuracy_table(chips, CONSTANTS)
    row = table[table["p05"].notna()].squeeze()
    assert (row["method"], row["fraction"]) == ("swim", "0.1")
    assert row["p05"] == pytest.approx(np.quantile(values, 0.05))
    # Ranks 1 and 10 of 100 sorted chips.
    assert row[["p05_low", "p05_high"]].tolist() == np.sort(values)[[0, 9]].tolist()
    assert row[["p01", "p01_low", "p01_high"]].isna().all()


def test_accuracy_table_of_an_earlier_version_keeps_no_percentile_of_few_chips(table, tmp_path):
    earlier = table.drop(columns=list(accuracy_tables.ADDED)).assign(p05=0.5)
    earlier.loc[table["method"] == "swim", "chips"] = 60
    files.write_table(tmp_path / "earlier.csv", earlier.to_csv(index=False))
    read = accuracy_tables.read_accuracy(tmp_path / "earlier.csv")
    assert list(read) == accuracy_tables.COLUMNS
    assert set(read.loc[read["p05"].notna(), "method"]) == {"swim"}


def test_chips_measured_on_samples_of_the_images_have_no_spread(chips):
    sampled = pd.read_csv(chips[2])
    sampled.loc[10:, "images"] = 100
    files.write_table(chips[2], sampled.to_csv(index=False))
    table = accuracy_tables.accuracy_table(chips, CONSTANTS)
    place = accuracy_tables.place_of(chips[2])
    row = table[(table[list(place)] == pd.Series(place)).all(axis=1)].iloc[0]
    assert row[["std", "p05"]].isna().all()
    assert row[["mean", "ci95", "chips"]].notna().all()
    assert f"| {100 * row['mean']:.2f} |" in accuracy_tables.markdown(table)
    assert "samples of images" in accuracy_tables.markdown(table)


def test_the_order_of_the_files_does_not_matter(chips):
    one, other = (
        accuracy_tables.accuracy_table(order, CONSTANTS) for order in (chips, chips[::-1])
    )
    pd.testing.assert_frame_equal(one, other)


def test_differences_are_paired_by_chip(chips):
    table = accuracy_tables.paired_table(chips, CONSTANTS)
    assert list(table.columns) == accuracy_tables.PAIRED
    pairs = list(zip(table["method"], table["other"], strict=True))
    at_a_tenth = [("swim", "own"), ("swim", "random"), ("own", "random")]
    assert sorted(pairs) == sorted(2 * [*at_a_tenth, ("swim", "random")])
    folder = chips[0].parents[1]
    one, other = (pd.read_csv(folder / m / "0.5.csv")["accuracy"] for m in ("swim", "random"))
    row = table[(table["sigma"] == "0.3") & (table["fraction"] == "0.5")].iloc[0]
    expected = statistics.summarise(one - other)
    assert (row["difference"], row["ci95"]) == (expected.mean, expected.ci95)
    assert row["chips"] == 20
    text = accuracy_tables.paired_markdown(table)
    cell = f"{100 * expected.mean:+.2f} ± {100 * expected.ci95:.2f}"
    (line,) = [s for s in text.splitlines() if s.startswith("| 0.3 | swim − random |")]
    assert line.endswith(f" | {cell} |")
    (line,) = [s for s in text.splitlines() if s.startswith("| 0.3 | swim − own |")]
    assert line.endswith(" | – |")


def test_pairs_are_matched_by_the_chips_number(chips):
    """Rows in another order, and chips that only one method has."""
    one, other = chips[2], chips[4]
    assert (one.parent.name, other.parent.name) == ("swim", "random")
    before = accuracy_tables.paired_table([one, other], CONSTANTS)
    shuffled = pd.read_csv(one).iloc[::-1]
    shuffled = pd.concat([shuffled, shuffled.iloc[[0]].assign(chip=99, accuracy=0.0)])
    files.write_table(one, shuffled.to_csv(index=False))
    pd.testing.assert_frame_equal(before, accuracy_tables.paired_table([one, other], CONSTANTS))


def test_one_method_has_no_pairs(chips):
    table = accuracy_tables.paired_table(chips[:3], CONSTANTS)
    assert table.empty
    assert accuracy_tables.paired_markdown(table) == ""


def test_incomplete_files_are_named(tmp_path, chips):
    files.write_table(chips[0], "")
    with pytest.raises(DataError, match=chips[0].name):
        accuracy_tables.accuracy_table(chips, CONSTANTS)
    files.write_table(chips[0], "chip,accuracy,loss,nwc\n0,0.5,1,0\n1,")
    with pytest.raises(DataError, match="not a complete chips file"):
        accuracy_tables.accuracy_table(chips, CONSTANTS)
    with pytest.raises(DataError, match="expected"):
        accuracy_tables.place_of(tmp_path / "a" / "b.csv")
    files.write_table(tmp_path / "t.csv", "experiment\n1\n")
    with pytest.raises(DataError, match="lacks the columns model"):
        accuracy_tables.read_accuracy(tmp_path / "t.csv")


def test_the_markdown_table(table):
    text = accuracy_tables.markdown(table)
    rows = [[cell.strip() for cell in line.strip("|").split("|")]
            for line in text.splitlines() if line.startswith("| 0.3 | swim")]  # fmt: skip
    assert len(rows) == 1
    at = table[table["sigma"] == "0.3"].set_index(["method", "fraction"])
    ends = [at.loc[("none", "0")], at.loc[("swim", "0.1")], at.loc[("swim", "0.5")],
            at.loc[("all", "1")]]  # fmt: skip
    assert rows[0] == ["0.3", "swim"] + [
        f"{100 * r['mean']:.2f} ± {100 * r['std']:.2f}" for r in ends
    ]
    assert "| 0.3 | own |" in text
    assert "20 chips" in text
    assert "before programming 98.00%" in text
    assert "NWC is the verified fraction of the weights." in text
    spent = table.assign(method=table["method"].replace("own", "marginal"))
    assert "or a policy's budget of write cycles" in accuracy_tables.markdown(spent)


@pytest.mark.parametrize("sigma", ["0.1", "0.3"])
def test_the_figure_draws_the_table(table, sigma):
    figure = accuracy_figure.accuracy_figure(table, sigma)
    (axes,) = figure.axes
    lines = {line.get_gid(): line for line in axes.lines}
    assert set(lines) == {"swim", "random", "own", "none", "all", "clean"}
    rows = table[table["sigma"] == sigma]
    bands = iter(axes.collections)
    for method in style.order(("swim", "random", "own")):
        points = rows[rows["method"].isin([method, "none", "all"])].sort_values("nwc")
        drawn = lines[method].get_xydata()
        drawn = drawn[~np.isnan(drawn[:, 0])]
        np.testing.assert_array_equal(drawn[:, 0], points["nwc"])
        np.testing.assert_array_equal(drawn[:, 1], 100 * points["mean"])
        corners = np.concatenate([path.vertices for path in next(bands).get_paths()])
        for _, point in points.iterrows():
            at = corners[np.isclose(corners[:, 0], point["nwc"]), 1]
            if not len(at):  # alone between two gaps
                continue
            assert at.min() == pytest.approx(100 * (point["mean"] - point["ci95"]))
            assert at.max() == pytest.approx(100 * (point["mean"] + point["ci95"]))
    for end in ("none", "all", "clean"):
        mean = rows.loc[rows["method"] == end, "mean"].item()
        assert set(lines[end].get_ydata()) == {100 * mean}
    drawn = [lines[name] for name in ("swim", "random", "own")]
    assert len({to_hex(line.get_color()) for line in drawn}) == 3
    assert len({line.get_marker() for line in drawn}) == 3


def test_two_devices_are_two_panels(table):
    other = table.assign(device="another")
    figure = accuracy_figure.accuracy_figure(pd.concat([table, other]), "0.1")
    assert [axes.get_title() for axes in figure.axes] == ["release", "another"]


@pytest.mark.long
def test_files_are_written_and_reproducible(table, tmp_path):
    first = list(accuracy_figure.draw_all(table, tmp_path / "a"))
    names = [path.name for path in first]
    figures = accuracy_figure.fitting(table)
    assert {"accuracy", "accuracy-log"} <= set(figures)
    assert names == [
        f"{f}-sigma-{s}.{x}" for s in ("0.1", "0.3") for f in figures for x in ("png", "svg", "pdf")
    ]
    second = list(accuracy_figure.draw_all(table, tmp_path / "b"))
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    with pytest.raises(SettingError, match=r"it has 0\.1, 0\.3"):
        list(accuracy_figure.draw_all(table, tmp_path, ["0.2"]))


def test_training_on_the_chip_has_budgets_and_an_axis_beyond_one(chips, tmp_path):
    """It starts where nothing is verified, ends by itself and is in no pair."""
    folder = tmp_path / "chips/release/sigma-0.3/in_situ"
    spent = {"0.5": 0.38, "1": 0.94, "10": 9.98}
    for budget, nwc in spent.items():
        rows = [(r, 0.6 + r / 100, 1.0, nwc, 0.0, 1000) for r in range(20)]
        files.write_rows(folder / f"{budget}.csv", COLUMNS, rows)
    paths = [*chips, *(folder / f"{budget}.csv" for budget in spent)]
    table = accuracy_tables.accuracy_table(paths, CONSTANTS)
    rows = table[table["sigma"] == "0.3"]
    curve = accuracy_tables.curve(rows, "in_situ")
    np.testing.assert_allclose(curve["nwc"], [0.0, 0.38, 0.94, 9.98])
    np.testing.assert_allclose(accuracy_tables.curve(rows, "swim")["nwc"], [0.0, 0.1, 0.5, 1.0])
    assert (
        not (accuracy_tables.paired_table(paths, CONSTANTS)[["method", "other"]] == "in_situ")
        .any()
        .any()
    )
    assert "in_situ spends the whole steps that fit" in accuracy_tables.markdown(table)
    axes = accuracy_figure.accuracy_figure(table, "0.3").axes[0]
    assert axes.get_xlim()[1] > 9.98
    drawn = {line.get_gid(): line.get_xdata() for line in axes.get_lines()}
    drawn = drawn["in_situ"]
    np.testing.assert_allclose(drawn[~np.isnan(drawn)], curve["nwc"])
    assert accuracy_figure.accuracy_figure(table, "0.1").axes[0].get_xlim()[1] == 1.02


def lines_of(figure):
    return {line.get_gid(): line for line in figure.axes[0].lines}


def test_few_cycles_are_drawn_on_a_logarithmic_axis_that_shows_zero(table):
    figure = accuracy_figure.accuracy_figure(table, "0.3", log=True)
    axes, lines = figure.axes[0], lines_of(figure)
    plain = lines_of(accuracy_figure.accuracy_figure(table, "0.3"))
    assert set(lines) == set(plain)
    for name, line in lines.items():
        np.testing.assert_array_equal(line.get_xydata(), plain[name].get_xydata())
    assert axes.get_xscale() == "symlog"
    assert axes.get_xlim()[0] < 0
    assert axes.get_xlim()[1] > 1
    ticks = dict(
        zip(axes.get_xticks(), (t.get_text() for t in axes.get_xticklabels()), strict=True)
    )
    assert ticks == {0.0: "0", 0.1: "0.1", 1.0: "1"}
    assert axes.get_xlabel().endswith("linear below 0.1")


@pytest.fixture
def with_policies(chips, tmp_path):
    """Two policies beside masks: one reads all devices first, one costs no cycle to begin with."""
    folder = tmp_path / "chips/release/sigma-0.3"
    points = {"read_first/0.01": (0.9, 1.02), "read_first/0.1": (0.96, 1.2),
              "reslice/0": (0.94, 1.0), "reslice/0.1": (0.97, 1.3)}  # fmt: skip
    for point, (mean, reads) in points.items():
        nwc = float(point.split("/")[1])
        rows = [(r, mean + r / 1e4, 1.0, nwc, reads, 1000) for r in range(20)]
        files.write_rows(folder / f"{point}.csv", COLUMNS, rows)
    paths = [*chips, *(folder / f"{point}.csv" for point in points)]
    made = accuracy_tables.accuracy_table(paths, CONSTANTS)
    return made[made["sigma"] == "0.3"]


def test_the_figure_of_reads_draws_the_table(with_policies):
    table = with_policies
    lines = lines_of(accuracy_figure.reads_figure(table, "0.3"))
    for method in ("swim", "random", "own", "read_first", "reslice"):
        rows = table[table["method"] == method].sort_values("nwc")
        own = lines[method].get_xydata()
        own = own[~np.isnan(own[:, 0])]
        drawn = [point for point in own if point[0] in set(rows["reads"])]
        np.testing.assert_array_equal(np.array(drawn)[:, 0], rows["reads"])
        np.testing.assert_array_equal(np.array(drawn)[:, 1], 100 * rows["mean"])
    none = 100 * table.loc[table["method"] == "none", "mean"].item()
    # What decides by reading has read each device once where it rewrites none.
    assert lines["read_first"].get_xydata()[0].tolist() == [1.0, none]
    assert lines["swim"].get_xydata()[0].tolist() == [0.0, none]
    x = lines["reslice"].get_xdata()
    assert x[~np.isnan(x)].tolist() == pytest.approx([1.0, 1.3])


def test_reads_are_drawn_where_a_policy_reads(with_policies, table):
    assert "reads" in accuracy_figure.fitting(with_policies)
    assert "reads" not in accuracy_figure.fitting(table)


def test_training_on_the_chip_is_not_drawn_against_reads(with_policies):
    row = with_policies[with_policies["method"] == "swim"].assign(method="in_situ", reads=0.0)
    figure = accuracy_figure.reads_figure(pd.concat([with_policies, row]), "0.3")
    assert "in_situ" not in lines_of(figure)


def test_curves_break_off_where_the_grid_was_not_measured(table):
    """`own` has a point at 0.1 and none at 0.5, where the others have one."""
    lines = lines_of(accuracy_figure.accuracy_figure(table, "0.3"))
    x = lines["own"].get_xdata()
    np.testing.assert_allclose(x[[0, 1, 3]], [0, 0.1, 1])
    assert np.isnan(x).tolist() == [False, False, True, False]
    for method in ("swim", "random"):
        assert not np.isnan(lines[method].get_xdata()).any()
    axes = accuracy_figure.accuracy_figure(table, "0.3").axes[0]
    bands = [path.vertices[:, 0] for path in axes.collections[-1].get_paths()]
    ends = [(min(band), max(band)) for band in bands]
    assert ends == [(0, pytest.approx(0.1)), (1, 1)]


CYCLES = pd.DataFrame([
    {"experiment": "mine", "sigma": "0.3", "device": "d", "within": within, "method": method,
     "nwc": nwc, "nwc_low": low, "nwc_high": high, "reads": 0.5, "ratio_to_swim": np.nan,
     "ratio_low": np.nan, "ratio_high": np.nan, "seeds": 3, "chips": 20, "reached": reached,
     "seeds_low": 0.0, "seeds_high": 0.4, "first": 0.01, "last": 0.2,
     "between_low": low if gap else np.nan, "between_high": high if gap else np.nan}
    for within in ("0.5", "1")
    for method, nwc, low, high, reached, gap in (
        ("swim", 0.1, 0.05, 0.2, 3, False), ("random", 0.9, 0.8, np.nan, 3, False),
        ("reslice", 0.0, 0.0, 0.0, 3, False), ("compensate", np.nan, 0.1, np.nan, 1, False),
        ("read_first", np.nan, 0.2, 0.5, 3, True))
])[cycles_to_accuracy.COLUMNS]  # fmt: skip


def panels_of(figure):
    """The pairs of panels of each within: cycles, and over SWIM's."""
    return list(zip(figure.axes[::2], figure.axes[1::2], strict=True))


def test_points_and_intervals_are_the_table():
    table = CYCLES.assign(ratio_to_swim=CYCLES["nwc"] / 0.1)
    table.loc[table["method"] == "random", ["ratio_low", "ratio_high"]] = [8.0, 9.5]
    figure = cycles_figure.cycles_figure(table, "0.3")
    pairs = panels_of(figure)
    titles = [axes.get_title(loc="left") for axes, _ in pairs]
    assert titles == ["within 0.5 points", "within 1 point"]
    for axes, over in pairs:
        assert axes.get_xscale() == over.get_xscale() == "log"
        assert not axes.patches  # no bars: a logarithmic axis has no zero to begin at
        lines = {line.get_gid(): line.get_xdata() for line in axes.lines}
        at = {name: lines[name] for name in ("swim", "random", "reslice")}
        assert at == {"swim": [0.1], "random": [0.9], "reslice": [axes.get_xlim()[0]]}
        np.testing.assert_allclose(lines["swim nwc"], [0.05, 0.2])
        # An open interval goes on beyond everything, one from 0 starts at the edge.
        assert lines["random nwc"][0] == pytest.approx(0.8)
        assert 1 < lines["random nwc"][1] < axes.get_xlim()[1]
        np.testing.assert_allclose(lines["swim seeds"], [axes.get_xlim()[0], 0.4])
        # In a gap there is a line between its ends, and no point.
        np.testing.assert_allclose(lines["read_first gap"], [0.2, 0.5])
        assert not {"read_first", "compensate"} & set(lines)
        assert lines["compensate beyond"][0] == 0.2
        texts = [text.get_text() for text in axes.texts]
        assert texts == ["0.1", "0.9", "0.2 to 0.5", "> 0.2 (2 of 3 seeds)", "0"]
        ratios = {line.get_gid(): line.get_xdata() for line in over.lines}
        np.testing.assert_allclose(ratios["random ratio"], [9])
        np.testing.assert_allclose(ratios["random over ratio"], [8, 9.5])
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["SWIM", "random", "read first", "compensate", "reslice"]


def test_points_far_below_the_first_points_do_not_stretch_the_axis():
    low = CYCLES.assign(nwc_low=CYCLES["nwc_low"] * 1e-9)
    low.loc[low["method"] == "swim", "nwc"] = 1e-7
    axes = cycles_figure.cycles_figure(low, "0.3").axes[0]
    assert axes.get_xlim()[0] == pytest.approx(0.01 / 20)
    (point,) = [line for line in axes.lines if line.get_gid() == "swim"]
    assert point.get_xdata() == [axes.get_xlim()[0]]
    assert "1e-07" in {text.get_text() for text in axes.texts}


@pytest.mark.long
def test_points_are_reproducible_and_sigmas_checked(tmp_path):
    one, other = (list(cycles_figure.draw_all(CYCLES, tmp_path / name)) for name in "ab")
    assert [path.name for path in one] == [
        f"cycles-sigma-0.3.{suffix}" for suffix in ("png", "svg", "pdf")
    ]
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]
    with pytest.raises(SettingError, match=r"it has 0\.3"):
        list(cycles_figure.draw_all(CYCLES, tmp_path, ["0.1"]))
