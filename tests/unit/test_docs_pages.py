"""Tables of README and docs are those of the stored files; make them again by make docs."""

import shutil

import numpy as np
import pandas as pd
import pytest

from benchmarks import docs_pages, docs_tables, stored_tables
from swim.reports import claims

PAGE = "docs/results.md"


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """The stored files in a folder of their own, and nothing of them in memory."""
    folder = tmp_path / "docs"
    shutil.copytree(stored_tables.DOCS, folder, ignore=shutil.ignore_patterns("*.png", "*.svg"))
    monkeypatch.setattr(stored_tables, "DOCS", folder)
    forget()
    yield folder
    forget()


def forget():
    for value in vars(docs_tables).values():
        if hasattr(value, "cache_clear"):
            value.cache_clear()


def filled(page):
    return docs_tables.filled((docs_pages.ROOT / page).read_text())


@pytest.mark.parametrize("page", docs_pages.PAGES)
def test_tables_of_a_page_are_those_of_its_stored_files(page):
    text = (docs_pages.ROOT / page).read_text()
    assert list(docs_tables.markers(text))
    assert docs_tables.filled(text) == text, f"{page} is stale: run make docs"


def test_page_is_stale_once_a_stored_number_changes(copied):
    path = copied / "mlp3_mnist" / "accuracy.csv"
    table = path.read_text()
    row = next(line for line in table.splitlines() if ",0.3,swim,0.1," in line)
    cells = row.split(",")
    cells[10] = "0.5"  # the mean
    path.write_text(table.replace(row, ",".join(cells)))
    before, after = (docs_pages.ROOT / PAGE).read_text(), filled(PAGE)
    assert after != before
    assert "| 50.00 ± " in after
    assert "| 50.00 ± " not in before


def test_verdict_on_a_page_follows_from_the_stored_tables(copied):
    """SWIM's speedup on MLP4 holds; once it selects no better than chance it does not."""
    row = "| 33.4 [28.6, 36.1] |"
    (line,) = [line for line in filled(PAGE).splitlines() if row in line]
    assert line.endswith("| holds |")
    for name in ("accuracy.csv", "cycles_to_accuracy.csv"):
        table = stored_tables.read(f"mlp4_mnist/{name}")
        chance = table[table["method"] == "random"].assign(method="swim")
        rest = table[table["method"] != "swim"]
        pd.concat([chance, rest]).to_csv(copied / "mlp4_mnist" / name, index=False)
    forget()
    found = {claim["name"]: claim for claim in docs_tables._claims("mlp4_mnist")["claims"]}
    assert found["swim_speedup"]["verdict"] == claims.FAILS


def test_prose_stays_and_tables_are_replaced(monkeypatch):
    monkeypatch.setitem(docs_tables.TABLES, "mine", lambda *words: ["| a |", *words])
    text = "# Head\n\nProse.\n<!-- table: mine x y -->\nold\n<!-- end -->\nMore | prose.\n"
    right = (
        "# Head\n\nProse.\n<!-- table: mine x y -->\n\n| a |\nx\ny\n\n<!-- end -->\nMore | prose.\n"
    )
    assert docs_tables.filled(text) == right
    assert docs_tables.filled(right) == right


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<!-- table: nothing -->\n<!-- end -->\n", "no table 'nothing'; known: all-claims"),
        ("<!-- table: headline -->\n", "has no <!-- end -->"),
        ("<!-- table: headline -->\n<!-- table: headline -->\n<!-- end -->\n", "has no <!-- end"),
    ],
)
def test_marker_without_end_or_table_is_an_error(text, said):
    with pytest.raises(ValueError, match=said):
        docs_tables.filled(text)


def test_crossings_are_of_todays_rule_from_the_stored_means():
    """On a curve that rises: a straight line between the two points around the height."""
    table = stored_tables.accuracy("lenet_mnist/accuracy.csv")
    table = table[table["sigma"] == "0.3"]
    swim = table[table["method"].isin(["none", "swim", "all"])].sort_values("nwc")
    nwc, mean = swim["nwc"].to_numpy(), swim["mean"].to_numpy()
    assert (np.diff(mean) > 0).all()
    (full,) = table.loc[table["method"] == "all", "mean"]
    found = stored_tables.cycles("lenet_mnist").query("method == 'swim' and sigma == '0.3'")
    for _, row in found.iterrows():
        expected = np.interp(full - float(row["within"]) / 100, mean, nwc)
        assert row["nwc"] == pytest.approx(expected, rel=1e-9)
        assert row["nwc_low"] < row["nwc"] < row["nwc_high"]


def test_crossing_in_a_gap_has_no_number_and_its_interval_reaches_to_both_ends():
    found = stored_tables.cycles("lenet_devices")
    row = found.query("device == 'counted_single' and within == '0.1' and method == 'read_first'")
    row = row.iloc[0]
    assert np.isnan(row["nwc"])
    assert row["nwc_low"] <= row["between_low"] < row["between_high"] <= row["nwc_high"]
    swim = found.query("device == 'counted_two_bits' and within == '1' and method == 'swim'").iloc[
        0
    ]
    other = found.query("device == 'counted_two_bits' and within == '1' and method == 'marginal'")
    other = other.iloc[0]
    assert other["ratio_low"] == pytest.approx(other["nwc_low"] / swim["nwc_high"])
    assert other["ratio_high"] == np.inf  # swim may be within at no cycle


def test_check_fails_on_a_stale_page_and_writes_nothing(copied, monkeypatch, capsys):
    path = copied / "correlation" / "lenet_mnist.csv"
    path.write_text(path.read_text().replace(",swim,all,500,0.0", ",swim,all,500,0.1"))
    monkeypatch.setattr("sys.argv", ["docs_pages", "--check"])
    before = (docs_pages.ROOT / "docs/correlation.md").read_bytes()
    with pytest.raises(SystemExit) as ended:
        docs_pages.main()
    assert ended.value.code == 1
    assert "Stale: docs/correlation.md" in capsys.readouterr().out
    assert (docs_pages.ROOT / "docs/correlation.md").read_bytes() == before
