"""The explorer's numbers are those of the tables, and names in it stay text."""

import base64
import gzip
import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from swim.errors import DataError
from swim.reports import accuracy_tables, crossings, cycles_to_accuracy
from swim.reports.explorer import data, look, page
from swim.reports.plots import style
from swim.reports.plots.titles import Words
from swim.runtime import files

FRACTIONS = {"swim": (0.05, 0.1, 0.3), "random": (0.1, 0.3), "marginal": (0.02, 0.1)}
ENDS = {"none/0": (0.0, 0.0), "all/1": (1.0, 6.5)}
WITHIN = ("0.1", "0.5", "1", "3.33")


def write(folder, chips=64, seed=3):
    """Chips files of two devices and sigmas; paths. Curves rise and fall by chance."""
    generator = np.random.default_rng(seed)
    columns = ("chip", "accuracy", "loss", "nwc", "reads", "images")
    paths = []
    points = dict(ENDS)
    for method, fractions in FRACTIONS.items():
        points |= {f"{method}/{part}": (1.01 * part, 6 * part) for part in fractions}
    for device in ("one", "two"):
        for sigma in ("0.1", "0.3"):
            place = folder / device / f"sigma-{sigma}"
            luck = generator.normal(0, 0.004, chips)
            for point, (nwc, reads) in points.items():
                mean = 0.97 - 0.2 * np.exp(-30 * nwc) + generator.normal(0, 0.002)
                accuracy = np.round(mean + luck + generator.normal(0, 0.002, chips), 4)
                rows = [(r, float(a), 1.0, nwc, reads, 1000) for r, a in enumerate(accuracy)]
                paths.append(place / f"{point}.csv")
                files.write_rows(paths[-1], columns, rows)
            paths.append(place / "clean.csv")
            files.write_rows(paths[-1], columns, [(0, 0.975, 1.0, 0.0, 0.0, 1000)])
    return paths


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return write(tmp_path_factory.mktemp("chips"))


@pytest.fixture(scope="module")
def found(paths):
    said = Words("LeNet", "MNIST")
    return data.explorer_data({"mine": paths}, "mine", WITHIN, said, resamples=200)


@pytest.fixture(scope="module")
def other_paths(tmp_path_factory):
    return write(tmp_path_factory.mktemp("chips"), seed=4)


@pytest.fixture(scope="module")
def both(paths, other_paths):
    """What a comparison of two experiments shows."""
    members = {"mine": paths, "other": other_paths}
    return data.explorer_data(members, "both", WITHIN, Words("LeNet", "MNIST"), resamples=200)


@pytest.fixture(scope="module")
def table(paths):
    return accuracy_tables.accuracy_table(paths, {})


def panels(found, name="mine"):
    """Device and sigma -> what one experiment has there."""
    return {
        (one["device"], one["sigma"]): {"steps": one["steps"], **one["members"][name]}
        for one in found["panels"]
    }


def test_points_are_the_rows_of_accuracy_csv(found, table):
    assert set(panels(found)) == {(d, s) for d in ("one", "two") for s in ("0.1", "0.3")}
    for (device, sigma), panel in panels(found).items():
        rows = table[(table["device"] == device) & (table["sigma"] == sigma)]
        full = rows.loc[rows["method"] == "all", "reads"].item()
        assert list(panel["curves"]) == ["swim", "random", "marginal"]
        for name, curve in panel["curves"].items():
            expected = accuracy_tables.curve(rows, name)
            assert curve["fraction"] == expected["fraction"].tolist()
            for column in ("mean", "ci95", "p05", "p05_low", "p05_high", "chips"):
                np.testing.assert_array_equal(curve[column], expected[column].astype(float))
            for column in ("nwc", "reads"):
                np.testing.assert_allclose(curve["costs"][column], expected[column], rtol=1e-13)
            # The first write, and what full write-verify reads beyond the first.
            writes = [1 + nwc * (full - 1) for nwc in expected["nwc"]]
            np.testing.assert_allclose(curve["costs"]["writes"], writes)
        for name, value in panel["references"].items():
            assert value == rows.loc[rows["method"] == name, "mean"].item()
        assert set(panel["references"]) == {"clean", "all", "none"}


def test_crossings_and_intervals_are_those_of_cycles_to_accuracy(found, paths):
    cycles = cycles_to_accuracy.table([paths], "mine", WITHIN, resamples=200)
    assert len(cycles) == 4 * 3 * len(WITHIN)
    for _, row in cycles.iterrows():
        panel = panels(found)[row["device"], row["sigma"]]
        curve = panel["curves"][row["method"]]
        heights = np.array([curve["above"]]) + float(row["within"]) / 100
        low, high = crossings.around_gaps(crossings.crossing(heights), np.array(curve["gaps"]))
        nwc = np.array([curve["costs"]["nwc"]])
        ends = [crossings.interpolate(place, nwc)[0] for place in (low, high)]
        if row["reached"] == 0:
            assert ends == [np.inf, np.inf]
        elif np.isfinite(row["nwc"]):
            assert ends == pytest.approx([row["nwc"]] * 2, rel=1e-12)
        else:
            assert ends == pytest.approx(row[["between_low", "between_high"]].tolist(), rel=1e-12)
        step = panel["steps"].index(float(row["within"]))
        for end in ("low", "high"):
            value = curve["intervals"]["nwc"][end][step]
            assert (
                pd.isna(row[f"nwc_{end}"])
                if value is None
                else value == pytest.approx(row[f"nwc_{end}"], rel=1e-5)
            )


def test_between_two_steps_the_wider_ends_hold_the_interval(found, paths):
    generator = np.random.default_rng(0)
    places = cycles_to_accuracy.read_points([p for p in paths if "/one/sigma-0.3" in str(p)])
    network = cycles_to_accuracy.means(places["one", "0.3"], 0, "one", "0.3", resamples=200)
    panel = panels(found)["one", "0.3"]
    steps = np.array(panel["steps"])
    for name, stored in panel["curves"].items():
        curve = cycles_to_accuracy.curve(network, name)
        for within in generator.uniform(0, steps[-1], 40):
            ends = cycles_to_accuracy.cross(curve, within).nwc
            low, high = crossings.interval((ends[0][1:], ends[1][1:]))
            after = int(np.searchsorted(steps, within))
            least = stored["intervals"]["nwc"]["low"][after]
            most = stored["intervals"]["nwc"]["high"][after - 1]
            assert least is None or least <= low * (1 + 1e-5) + 1e-12
            assert most is None or most >= high * (1 - 1e-5) - 1e-12


@pytest.mark.parametrize("most", [0.0, 0.7, 4.95, 61.2, 99.9])
def test_steps_begin_at_zero_and_reach_the_largest_drop(most):
    steps = data.drops([0.123, 0.5, 1.0], most)
    assert steps[0] == 0
    assert {0.05, 0.123, 0.5, 1.0} <= set(steps)
    assert steps[-1] >= max(most, 1.0)
    assert steps[-2] < max(most, 1.0)
    assert np.diff(steps).min() > 0
    assert len(steps) < 200


def test_without_full_write_verify_there_is_nothing_to_be_within_of(paths):
    rest = [path for path in paths if not str(path).endswith("two/sigma-0.3/all/1.csv")]
    with pytest.raises(DataError, match=r"two/sigma-0\.3/all/1\.csv is missing"):
        data.explorer_data({"mine": rest}, "mine", WITHIN, Words(), resamples=20)


def test_chips_on_samples_of_images_have_no_percentile(tmp_path):
    paths = write(tmp_path, chips=60)
    sampled = [path for path in paths if "/one/sigma-0.1" in str(path)]
    for path in sampled:
        read = pd.read_csv(path).assign(images=lambda t: 1000 + t["chip"])
        files.write_rows(path, tuple(read), list(read.itertuples(index=False, name=None)))
    made = data.explorer_data({"mine": sampled}, "mine", WITHIN, Words(), resamples=20)
    panel = panels(made)["one", "0.1"]
    assert panel["curves"]["swim"]["p05"] == [None] * 5
    assert None not in panel["curves"]["swim"]["ci95"]


def test_a_comparison_has_each_experiment_as_its_own_explorer_has_it(found, both, other_paths):
    alone = data.explorer_data({"other": other_paths}, "other", WITHIN, Words(), resamples=200)
    assert found["experiments"] == ["mine"]
    assert both["experiments"] == ["mine", "other"]
    assert both["experiment"] == "both"
    for name, own in (("mine", found), ("other", alone)):
        for place, panel in panels(own, name).items():
            shared = panels(both, name)[place]
            assert shared["references"] == panel["references"]
            common = [step for step in panel["steps"] if step in shared["steps"]]
            assert {float(part) for part in WITHIN} <= set(common)
            for method, curve in panel["curves"].items():
                other = shared["curves"][method]
                assert {**other, "intervals": None} == {**curve, "intervals": None}
                for column, ends in curve["intervals"].items():
                    for end, values in ends.items():
                        wider = dict(
                            zip(shared["steps"], other["intervals"][column][end], strict=True)
                        )
                        own_steps = dict(zip(panel["steps"], values, strict=True))
                        assert [own_steps[step] for step in common] == [
                            wider[step] for step in common
                        ]


def test_students_t_is_there_for_every_number_of_experiments(found, both):
    assert found["student"] == []
    assert both["student"] == pytest.approx([12.7062], rel=1e-5)


def test_experiments_with_other_points_are_no_comparison(paths, other_paths):
    fewer = [path for path in other_paths if not str(path).endswith("two/sigma-0.3/swim/0.1.csv")]
    members = {"mine": paths, "other": fewer}
    with pytest.raises(DataError, match="both: its seeds' chips files are not of the same points"):
        data.explorer_data(members, "both", WITHIN, Words(), resamples=20)


class Inventory(HTMLParser):
    """Elements, and attributes that name something outside."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.outside, self.content, self.inside = [], [], {}, ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.outside += [value for name, value in attrs if name in ("src", "href", "action")]
        self.inside = dict(attrs).get("id", tag)

    def handle_data(self, content):
        self.content.setdefault(self.inside, content)


UNSAFE = "</script><img src=x onerror=alert(1)>\"'&\u2028{{SCRIPT}}"


def test_the_page_is_one_file_whose_data_are_text(found):
    unsafe = found | {
        "experiment": UNSAFE,
        "title": UNSAFE,
        "devices": dict.fromkeys(found["devices"], UNSAFE),
        "methods": {name: own | {"name": UNSAFE} for name, own in found["methods"].items()},
    }
    text = page.page(unsafe)
    safe = Inventory(page.page(found))
    made = Inventory(text)
    assert made.tags == safe.tags
    assert made.outside == []
    assert "<img" not in text.replace("<img>", "")
    assert json.loads(made.content["data"]) == unsafe
    assert made.content["title"].strip() == f"{UNSAFE}: explorer"
    library = gzip.decompress(base64.b64decode(made.content["plotly"])).decode()
    assert "plotly.js v" in library[:200]
    assert "{{" not in re.sub(r"\{\{SCRIPT\}\}", "", text)


def test_equal_numbers_are_equal_bytes(found):
    assert page.page(found) == page.page(json.loads(json.dumps(found)))


def test_methods_look_as_in_figures(found):
    for name, own in found["methods"].items():
        expected = style.method_style(name)
        assert (own["name"], own["colour"]) == (expected.name, expected.colour)
    everything = [*style._KNOWN, *(f"custom {i}" for i in range(300))]
    looks = [look.method(name) for name in everything]
    assert {style.method_style(name).marker for name in everything} == set(look.SYMBOLS)
    assert len(set(look.SYMBOLS.values())) == len(look.SYMBOLS)
    known = looks[: len(style._KNOWN)]
    kinds = {(own["symbol"], own["filled"], own["dash"]) for own in known}
    styles = [style.method_style(name) for name in style._KNOWN]
    assert len(kinds) == len({(own.marker, own.filled, str(own.dashes)) for own in styles})
    for own in looks:
        assert re.fullmatch(r"solid|\d+(\.\d+)?px(,\d+(\.\d+)?px)+", own["dash"])
        assert re.fullmatch(r"(?:[MLQC][-\d.e ]+|Z)+", own["path"])
        assert look.contrast(own["dark"], look.DARK) >= look.CONTRAST


def test_contrast_is_that_of_the_guidelines():
    assert look.contrast("#000000", "#ffffff") == pytest.approx(21)
    assert look.contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    assert look.on_dark("#56b4e9") == "#56b4e9"
    assert look.on_dark("#000000") != "#000000"


def test_the_page_has_the_ground_that_colours_are_made_for(found):
    assert f"--ground: light-dark(#ffffff, {look.DARK});" in page.page(found)
    assert page._read("page.js").count(f'"{look.DARK}"') == 1


def test_the_page_names_no_method_but_the_one_that_others_are_divided_by():
    text = (
        page._read("page.js")
        + page._read("costs.js")
        + page._read("page.css")
        + page._read("page.html")
    )
    names = {*style._KNOWN, *(own.name for own in style._KNOWN.values())} - {"swim", "SWIM"}
    words = set(re.findall(r"[\w-]+", text))
    assert {name for name in names if name in words} <= {"random", "second", "saliency"}
