"""The explorer of a real run in a real browser: it reads off what the tables say."""

import csv
import io
import json
import re
from collections import Counter
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from swim.reports import crossings, cycles_to_accuracy
from swim.reports.explorer import data, page
from swim.reports.plots.style import display_name
from swim.reports.plots.titles import Words
from swim.runtime import files
from tests.workflow.conftest import TINY, Project, copy_of_the_pipeline
from tests.workflow.report_page import Watched

RUN = {
    **TINY,
    "devices": ["counted_single"],
    "sigmas": ["0.1", "0.3"],
    "fractions": ["0", "0.02", "0.1", "1"],
    "budgets": ["0.02"],
    "methods": ["swim", "random", "read_first"],
    "within": ["0.5", "2", "7.77"],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of an experiment that was run."""
    project = Project(copy_of_the_pipeline(tmp_path_factory.mktemp("explorer") / "p"), {"run": RUN})
    project.make("results/run/explorer.html", "results/run/cycles_to_accuracy.csv",
                 "results/run/accuracy.csv")  # fmt: skip
    return project.folder / "results/run"


@pytest.fixture(scope="module")
def cycles(made):
    return cycles_to_accuracy.read(made / "cycles_to_accuracy.csv")


CELLS = """lines => lines.map(line => [line.dataset.method, [...line.cells].map(cell => [
  cell.dataset.value === undefined ? null : Number(cell.dataset.value), cell.innerText])])"""
FRAMES = "() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))"
TITLE = "document.getElementById('plot').layout.xaxis.title.text"
DRAWN = "document.getElementById('plot').data.filter(line => line.meta)"


class Explorer(Watched):
    """An explorer in a browser."""

    def __init__(self, running, html, **options):
        super().__init__(running, html, **options)
        self.page.wait_for_function("document.body.dataset.ready === 'yes'", timeout=60_000)
        self.settle()

    def settle(self):
        """Wait for the next two frames: what was chosen is then drawn."""
        self.page.evaluate(FRAMES)
        assert self.faults == []

    def choose(self, name, value):
        if self.page.locator(f"#{name}").is_enabled():
            self.page.select_option(f"#{name}", value)
        self.settle()

    def within(self, value):
        self.page.fill("#within", str(value))
        self.settle()

    def rows(self):
        """Method -> its cells: value, text."""
        return dict(self.page.locator("#costs tbody tr").evaluate_all(CELLS))

    def lines(self):
        """Methods whose points are drawn."""
        return self.page.evaluate(f"{DRAWN}.map(line => line.meta)")

    def download(self, button):
        with self.page.expect_download() as download:
            self.page.click(button)
        return download.value.suggested_filename, files_text(download.value.path())


def files_text(path):
    with open(path, encoding="utf-8", newline="") as file:
        return file.read()


@pytest.fixture
def explorer(running, made):
    return Explorer(running, made / "explorer.html")


def test_within_reads_what_cycles_to_accuracy_csv_says(explorer, cycles):
    assert explorer.page.title() == "run: explorer"
    assert explorer.page.input_value("#within") == "2"
    kinds = Counter()
    for (device, sigma, within), part in cycles.groupby(["device", "sigma", "within"]):
        explorer.choose("device", device)
        explorer.choose("sigma", sigma)
        explorer.within(within)
        rows = explorer.rows()
        assert set(rows) == set(part["method"])
        for _, row in part.iterrows():
            kinds[compare(row, rows[row["method"]])] += 1
            # Ends of the interval, of six digits in the page.
            exported = exported_row(explorer, row["method"])
            for end in ("nwc_low", "nwc_high"):
                if pd.isna(row[end]):
                    assert exported[end] == ""
                else:
                    assert float(exported[end]) == pytest.approx(row[end], rel=1e-5)
    assert kinds["number"] > 5
    assert kinds["gap"] + kinds["never"] > 0


def compare(row, cells):
    """A method's row of the page with that of the table; what it says."""
    name, nwc, writes, reads, ratio, remark = cells
    assert name[1].strip() == display_name(row["method"])
    for cell, column in ((nwc, "nwc"), (reads, "reads")):
        expected = None if pd.isna(row[column]) else pytest.approx(row[column], rel=1e-12)
        assert cell[0] == expected
    assert (writes[0] is None) == (nwc[0] is None)
    if not pd.isna(row["nwc"]):
        assert float(nwc[1].split()[0]) == float(f"{row['nwc']:.3g}")
        if row["ratio_to_swim"] > 0:
            assert float(ratio[1]) == pytest.approx(row["ratio_to_swim"], rel=6e-3)
        return "number"
    if not pd.isna(row["between_low"]):
        low, high = (f"{row[end]:.3g}" for end in ("between_low", "between_high"))
        assert remark[1] == f"between NWC {low} and {high}: not measured there"
        return "gap"
    assert remark[1].startswith("not reached by NWC")
    return "never"


def exported_row(explorer, method):
    table = explorer.page.evaluate("csv(tableOfCosts())")
    return next(row for row in csv.DictReader(io.StringIO(table)) if row["method"] == method)


def test_methods_go_on_and_off_in_figure_and_table(explorer):
    everything = RUN["methods"]
    assert sorted(explorer.lines()) == sorted(explorer.rows()) == sorted(everything)
    explorer.page.uncheck("#methods input[value=random]")
    explorer.settle()
    assert sorted(explorer.lines()) == sorted(explorer.rows()) == ["read_first", "swim"]
    explorer.page.click("#none")
    explorer.settle()
    assert explorer.lines() == []
    assert explorer.rows() == {}
    explorer.page.click("#every")
    explorer.settle()
    assert sorted(explorer.lines()) == sorted(everything)


def test_the_line_follows_keys_and_the_pointer(explorer):
    line, page = explorer.page.locator("#line"), explorer.page
    explorer.within(0.5)
    page.check("#near")
    explorer.settle()
    line.focus()
    for key, value in (("ArrowDown", "0.55"), ("ArrowUp", "0.5"), ("PageDown", "1"), ("Home", "0"),
                       ("ArrowDown", "0.05")):  # fmt: skip
        page.keyboard.press(key)
        explorer.settle()
        assert page.input_value("#within") == line.get_attribute("aria-valuenow") == value
        assert f"within {value} points of" in page.inner_text("#heading").replace(
            "1 point ", "1 points "
        )
    before = explorer.rows()
    box = line.bounding_box()
    x, y = box["x"] + 40, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y + 60, steps=3)
    page.mouse.up()
    explorer.settle()
    dragged = float(page.input_value("#within"))
    assert dragged > 0.3
    assert line.bounding_box()["y"] != box["y"]
    assert explorer.rows() != before
    # Every control is reached by the tab key.
    page.locator("#device").focus()
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert {"sigma", "axis", "log", "near", "every", "within", "slider", "line", "save-table",
            "save-curves", "save-figure", "SUMMARY", "INPUT", "BUTTON"} <= reached  # fmt: skip


def test_axes_are_those_of_the_data_linear_and_logarithmic(explorer, made):
    labels = [
        "normalised write cycles (NWC)",
        "writes per device, the first included",
        "reads per device",
    ]
    for place, label in enumerate(labels):
        explorer.choose("axis", str(place))
        for log in (False, True):
            explorer.page.set_checked("#log", log)
            explorer.settle()
            title = explorer.page.evaluate(TITLE)
            assert title.startswith(label)
            x = explorer.page.evaluate(f"{DRAWN}.map(line => line.x)")
            assert all(np.isfinite(value) for values in x for value in values)
            assert all(np.all(np.diff(np.array(values)) >= 0) for values in x) or place == 2
    table = pd.read_csv(made / "accuracy.csv", dtype={"fraction": str})
    text = explorer.page.evaluate(f"{DRAWN}.find(line => line.meta === 'swim').hovertext")
    mean = table[(table["method"] == "swim") & (table["fraction"] == "0.02")].iloc[0]["mean"]
    assert f"mean {100 * mean:.2f}" in text[1]
    assert "3 chips" in text[1]


def test_columns_are_sorted_by_their_heads(explorer):
    explorer.within(7.77)
    heads = explorer.page.locator("#costs th button")
    heads.nth(1).click()
    assert explorer.page.locator("#costs th").nth(1).get_attribute("aria-sort") == "ascending"
    up = [cells[1][0] for cells in explorer.rows().values() if cells[1][0] is not None]
    heads.nth(1).click()
    assert explorer.page.locator("#costs th").nth(1).get_attribute("aria-sort") == "descending"
    down = [cells[1][0] for cells in explorer.rows().values() if cells[1][0] is not None]
    assert up == sorted(up) == down[::-1]


def test_a_slow_press_on_a_head_right_after_typing_sorts(explorer):
    """The field's change redraws the table between the press and its release."""
    explorer.within(1.23)
    head = explorer.page.locator("#costs th").nth(2)
    box = head.locator("button").bounding_box()
    before = head.get_attribute("aria-sort")
    explorer.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    explorer.page.mouse.down()
    explorer.settle()
    explorer.page.mouse.up()
    assert before is None
    assert head.get_attribute("aria-sort") == "ascending"


def test_downloads_are_the_tables_and_a_figure(explorer, made):
    name, text = explorer.download("#save-table")
    assert name == "run-counted_single-0.1-within-2.csv"
    assert {row["method"] for row in csv.DictReader(io.StringIO(text))} == set(RUN["methods"])
    name, text = explorer.download("#save-curves")
    found = pd.read_csv(io.StringIO(text), dtype={"fraction": str})
    expected = pd.read_csv(made / "accuracy.csv", dtype={"fraction": str, "sigma": str})
    expected = expected[(expected["device"] == "counted_single") & (expected["sigma"] == "0.1")]
    for _, row in expected[expected["method"].isin(RUN["methods"])].iterrows():
        at = found[(found["method"] == row["method"]) & (found["fraction"] == row["fraction"])]
        assert at[["mean", "nwc", "reads"]].iloc[0].tolist() == pytest.approx(
            row[["mean", "nwc", "reads"]].tolist(), rel=1e-12
        )
    name, text = explorer.download("#save-figure")
    assert name == "run-counted_single-0.1-figure.svg"
    words = "".join(ElementTree.fromstring(text).itertext())
    for method in RUN["methods"]:
        assert display_name(method) in words
    assert explorer.faults == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1400])
def test_the_page_fits_a_phone_and_follows_light_and_dark(running, made, scheme, width):
    options = {"viewport": {"width": width, "height": 844}, "color_scheme": scheme}
    explorer = Explorer(running, made / "explorer.html", **options)
    assert explorer.page.evaluate("document.documentElement.scrollWidth") <= width
    ground = explorer.page.evaluate("getComputedStyle(document.body).backgroundColor")
    light = [int(part) > 127 for part in re.findall(r"\d+", ground)[:3]]
    assert light == [scheme == "light"] * 3
    drawn = explorer.page.evaluate("document.getElementById('plot').layout.paper_bgcolor")
    assert (drawn == "#ffffff") == (scheme == "light")


@pytest.fixture(scope="module")
def seeds(made, tmp_path_factory):
    """Experiment -> its chips files: those of the run, and two with other accuracies."""
    generator = np.random.default_rng(5)
    own = sorted((made / "chips").rglob("*.csv"))
    members = {"run": own}
    for name in ("run_seed_1", "run_seed_2"):
        folder = tmp_path_factory.mktemp("seeds") / "chips"
        members[name] = [folder / path.relative_to(made / "chips") for path in own]
        for path, copy in zip(own, members[name], strict=True):
            table = pd.read_csv(path)
            table["accuracy"] = (table["accuracy"] - generator.uniform(0, 0.02)).clip(0, 1)
            rows = list(table.itertuples(index=False, name=None))
            files.write_rows(copy, tuple(table), rows)
    return members


@pytest.fixture(scope="module")
def comparison(seeds, tmp_path_factory):
    """An explorer of three experiments."""
    path = tmp_path_factory.mktemp("comparison") / "explorer.html"
    said = Words("LeNet", "MNIST")
    files.write_text(path, page.page(data.explorer_data(seeds, "seeds", RUN["within"], said)))
    return path


def same(value, cell):
    """Whether a cell of a CSV file says a value, or that there is none."""
    return cell == "" if pd.isna(value) else float(cell) == pytest.approx(value, rel=1e-5)


def test_a_comparison_reads_what_its_tables_say_of_each_experiment_and_on_average(
    running, seeds, comparison
):
    explorer = Explorer(running, comparison)
    said = {name: [paths] for name, paths in seeds.items()} | {"mean of 3": list(seeds.values())}
    tables = pd.concat(cycles_to_accuracy.table(paths, name, RUN["within"])
                       for name, paths in said.items())  # fmt: skip
    kinds = Counter()
    for (device, sigma, within), part in tables.groupby(["device", "sigma", "within"]):
        explorer.choose("device", device)
        explorer.choose("sigma", sigma)
        explorer.within(within)
        text = explorer.page.evaluate("csv(tableOfCosts())")
        rows = {
            (row["experiment"], row["method"]): row for row in csv.DictReader(io.StringIO(text))
        }
        assert len(rows) == len(part)
        for _, row in part.iterrows():
            cells, several = rows[row["experiment"], row["method"]], row["seeds"] > 1
            ends = "seeds" if several else "nwc"
            assert cells["intervals_over"] == ("experiments" if several else "chips")
            expected = {"nwc": "nwc", "reads": "reads", "nwc_low": f"{ends}_low",
                        "nwc_high": f"{ends}_high", "between_low": "between_low",
                        "between_high": "between_high"}  # fmt: skip
            for column, source in expected.items():
                assert same(row[source], cells[column]), (row, cells)
            if several:
                kinds[
                    "never" if row["reached"] < 3 else "number" if row["nwc"] >= 0 else "gap"
                ] += 1
    assert kinds["number"] > 3
    assert kinds["never"] + kinds["gap"] > 0


def test_experiments_go_on_and_off_and_share_one_full_write_verify(running, seeds, comparison):
    explorer = Explorer(running, comparison, viewport={"width": 390, "height": 844})
    look = explorer.page
    assert look.evaluate("document.documentElement.scrollWidth") <= 390
    assert len(explorer.lines()) == 3 * len(RUN["methods"])
    ends = look.evaluate(f"{DRAWN}.filter(line => line.meta === 'swim').map(line => line.y.at(-1))")
    assert ends == pytest.approx([0] * 3, abs=1e-9)
    named = "#costs tbody tr td:nth-child(2)"
    names = ["mean of 3", *(f"{place + 1} {name}" for place, name in enumerate(seeds))]
    assert look.locator(named).all_inner_texts() == names * len(RUN["methods"])
    # A box that is pressed right after typing is not replaced by the redraw.
    explorer.page.fill("#within", "1.5")
    box = look.locator("#experiments input[value=run]")
    middle = box.bounding_box()
    look.mouse.move(middle["x"] + 8, middle["y"] + 8)
    look.mouse.down()
    explorer.settle()
    look.mouse.up()
    explorer.settle()
    assert not box.is_checked()
    names = ["mean of 2", "2 run_seed_1", "3 run_seed_2"]
    assert look.locator(named).all_inner_texts() == names * len(RUN["methods"])
    look.uncheck("#experiments input[value=run_seed_1]")
    explorer.settle()
    assert look.locator(named).all_inner_texts() == ["3 run_seed_2"] * len(RUN["methods"])
    assert len(explorer.lines()) == len(RUN["methods"])
    name, text = explorer.download("#save-curves")
    assert name == "seeds-counted_single-0.1-curves.csv"
    assert {row["experiment"] for row in csv.DictReader(io.StringIO(text))} == {"run_seed_2"}
    look.uncheck("#experiments input[value=run_seed_2]")
    explorer.settle()
    assert (explorer.lines(), explorer.rows()) == ([], {})


def test_the_page_of_one_experiment_has_none_to_choose(explorer):
    assert not explorer.page.locator("#compared").is_visible()
    assert "experiment" not in explorer.page.inner_text("#costs thead")


UNSAFE = "</script><b>bold</b><img src=x onerror=fetch('http://127.0.0.1:9/')>&\"%{x}"


def test_names_reach_the_page_as_text(running, made, tmp_path):
    text = (made / "explorer.html").read_text()
    found = json.loads(re.search(r'id="data">(.*?)</script>', text)[1])
    for own in found["methods"].values():
        own["name"] += UNSAFE
    found |= {
        "experiment": UNSAFE,
        "title": UNSAFE,
        "devices": dict.fromkeys(found["devices"], UNSAFE),
    }
    files.write_text(tmp_path / "unsafe.html", page.page(found))
    explorer = Explorer(running, tmp_path / "unsafe.html")
    assert explorer.page.locator("b, img").count() == 0
    assert explorer.page.inner_text("#title") == UNSAFE
    assert UNSAFE in explorer.rows()["swim"][0][1]
    explorer.page.evaluate("Plotly.Fx.hover('plot', [{curveNumber: 2, pointNumber: 1}])")
    explorer.settle()
    assert UNSAFE in explorer.page.locator("#plot .hoverlayer").text_content()
    assert explorer.download("#save-table")[0].endswith(".csv")
    assert explorer.faults == []


def test_the_page_crosses_curves_by_the_rule_of_the_tables(explorer):
    """On curves with ties, heights that differ by rounding, and gaps."""
    generator = np.random.default_rng(1)
    cases = []
    for _ in range(2000):
        count = int(generator.integers(1, 9))
        heights = generator.normal(generator.normal(0, 1), 1, count).round(generator.integers(1, 9))
        above = crossings.rising(heights[None], generator.uniform(0.1, 9, count))[0]
        above += generator.choice([0, 0, 1e-13, -1e-13, 1e-11])
        costs = np.sort(generator.uniform(0, 2, count))
        gaps = generator.uniform(size=max(count - 1, 0)) < 0.3
        cases.append((above, costs, gaps))
    sent = [
        {"above": a.tolist(), "costs": {"nwc": c.tolist()}, "gaps": g.tolist()} for a, c, g in cases
    ]
    found = explorer.page.evaluate("curves => curves.map(curve => spent(curve, 0))", sent)
    kinds = {"number": 0, "gap": 0, "never": 0}
    for (above, costs, gaps), seen in zip(cases, found, strict=True):
        low, high = crossings.around_gaps(crossings.crossing(above[None]), gaps)
        ends = [float(crossings.interpolate(place, costs[None])[0]) for place in (low, high)]
        if not np.isfinite(ends[0]):
            kinds["never"] += 1
            assert seen is None
        elif low[0] == high[0]:
            kinds["number"] += 1
            assert seen["nwc"] == {"value": pytest.approx(ends[0], rel=1e-14)}
        else:
            kinds["gap"] += 1
            assert seen["nwc"]["value"] is None
            assert seen["nwc"]["between"] == pytest.approx(ends, rel=1e-14)
    assert min(kinds.values()) > 100
