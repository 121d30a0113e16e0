"""Claims: each verdict follows from the tables, and flips with them."""

import json
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from torch import nn

import swim
from swim.cli import cli
from swim.errors import DataError
from swim.reports import accuracy_tables, claims, claims_page, cycles_to_accuracy
from swim.runtime import files


def cycles(methods, device="d", within="1", chips=25, **changed):
    """Rows of cycles to accuracy: method -> (NWC, low, high), and what NWC over swim's is."""
    rows = []
    base = methods.get("swim", (np.nan,) * 3)
    for method, (nwc, low, high) in methods.items():
        with np.errstate(divide="ignore", invalid="ignore"):
            over = np.divide([nwc, low, high], base[0])
        ratio = dict(zip(("ratio_to_swim", "ratio_low", "ratio_high"), over, strict=True))
        rows.append(
            {"experiment": "mine", "device": device, "sigma": "0.3", "within": within,
             "method": method, "nwc": nwc, "nwc_low": low, "nwc_high": high, "reads": 0.5,
             **ratio, "seeds": 1, "chips": chips, "reached": 1, "first": 0.01, "last": 1.0,
             **changed}
        )  # fmt: skip
    return pd.DataFrame(rows, columns=cycles_to_accuracy.COLUMNS)


def accuracy(*devices, reads=6.0):
    rows = [{"experiment": "mine", "model": "lenet", "dataset": "digits", "device": device,
             "sigma": "0.3", "method": "all", "fraction": "1", "nwc": 1.0, "reads": reads,
             "chips": 25, "mean": 0.97} for device in devices or ("d",)]  # fmt: skip
    return pd.DataFrame(rows, columns=accuracy_tables.COLUMNS)


def judged(table, estimator="recursion", dependent=()):
    tables = [accuracy(*table["device"].unique())]
    found = claims.measured(table, tables, estimator, dependent)
    return found, {claim["name"]: claim for claim in found["claims"]}


TABLE = {"swim": (0.05, 0.04, 0.06), "magnitude": (0.2, 0.15, 0.3), "random": (0.5, 0.4, 0.6),
         "uswim": (0.005, 0.004, 0.006), "marginal": (0.01, 0.008, 0.012)}  # fmt: skip
ALL = {"swim_speedup", "one_pass", "uswim_speedup", "uswim_over_swim", "swim_over_magnitude",
       "swim_over_random", "policy_over_swim"}  # fmt: skip


def test_claims_that_the_tables_show_hold():
    _, found = judged(cycles(TABLE), dependent=["d"])
    assert set(found) == ALL
    assert {claim["verdict"] for claim in found.values()} == {"holds"}
    best = found["swim_speedup"]["best"]
    assert best["speedup"] == pytest.approx(20)
    assert (best["speedup_low"], best["speedup_high"]) == pytest.approx((1 / 0.06, 25))
    # 5 rewrites of each device are everything; the first write comes before.
    assert best["writes_per_device"] == pytest.approx(1 + 0.05 * 5)
    assert (best["writes_per_device_full"], best["reads_per_device_full"]) == (6, 6)
    assert (best["network"], best["sigma"], best["chips"], best["seeds"]) == ("lenet", "0.3", 25, 1)
    assert found["swim_over_magnitude"]["best"]["speedup"] == pytest.approx(4)
    assert found["policy_over_swim"]["best"]["method"] == "marginal"


@pytest.mark.parametrize(("name", "fails", "open_"), [
    ("swim_speedup", {"swim": (0.2, 0.15, 0.25)}, {"swim": (0.1, 0.05, 0.2)}),
    ("uswim_speedup", {"uswim": (0.2, 0.15, 0.25)}, {"uswim": (0.1, 0.05, 0.2)}),
    ("uswim_over_swim", {"uswim": (0.04, 0.03, 0.05)}, {"uswim": (0.007, 0.005, 0.01)}),
    ("swim_over_magnitude", {"magnitude": (0.02, 0.01, 0.03)}, {"magnitude": (0.05, 0.04, 0.06)}),
    ("swim_over_random", {"random": (0.02, 0.01, 0.03)}, {"random": (0.05, 0.04, 0.06)}),
    ("policy_over_swim", {"marginal": (0.04, 0.03, 0.05)}, {"marginal": (0.015, 0.01, 0.02)}),
])  # fmt: skip
def test_verdict_flips_with_the_table(name, fails, open_):
    """Only the claims about the changed method change."""
    kept = ALL - {name}
    if name == "swim_speedup":
        kept = {"one_pass", "uswim_speedup"}  # the others are relative to swim
    if name.startswith("uswim"):
        kept = ALL - {"uswim_speedup", "uswim_over_swim"}
    for change, verdict in ((fails, "does not hold"), (open_, "undecided")):
        _, found = judged(cycles({**TABLE, **change}), dependent=["d"])
        assert found[name]["verdict"] == verdict
        assert {found[other]["verdict"] for other in kept} == {"holds"}


def test_missing_methods_are_not_measured():
    found, by_name = judged(cycles({"swim": TABLE["swim"]}))
    for name in ALL - {"swim_speedup", "one_pass"}:
        assert (by_name[name]["verdict"], by_name[name]["best"]) == ("not measured", None)
    assert "not measured" in claims_page.markdown(found)
    _, by_name = judged(cycles({"magnitude": TABLE["magnitude"]}))
    assert {claim["verdict"] for claim in by_name.values()} == {"not measured", "holds"}
    # A device of one sigma says nothing of level-dependent devices.
    assert judged(cycles(TABLE))[1]["uswim_over_swim"]["verdict"] == "not measured"


def test_up_to_holds_where_one_setting_does_and_better_only_where_all_do():
    worse = {**TABLE, "swim": (0.5, 0.4, 0.6), "magnitude": (0.3, 0.2, 0.35)}
    both = pd.concat([cycles(TABLE), cycles(worse, device="e")], ignore_index=True)
    found = judged(both)[1]
    assert found["swim_speedup"]["verdict"] == "holds"
    assert found["swim_speedup"]["best"]["device"] == "d"
    counts = found["swim_speedup"]["counts"]
    assert (counts["holds"], counts["does not hold"]) == (1, 1)
    assert found["swim_over_magnitude"]["verdict"] == "does not hold"
    assert found["swim_over_magnitude"]["best"]["device"] == "e"
    assert "holds" in claims_page.text(judged(both)[0]).splitlines()[1]


def test_settings_that_need_no_write_verify_test_nothing():
    """Also where only the interval begins at none; a policy that acts without cycles may."""
    for easy in ((0.0, 0.0, 0.0), (0.02, 0.0, 0.04)):
        found = judged(cycles({**TABLE, "swim": easy}))[1]
        for name in ("swim_speedup", "swim_over_magnitude", "policy_over_swim"):
            assert found[name]["verdict"] == "not measured"
    free = judged(cycles({**TABLE, "reslice_pair": (0.0, 0.0, 0.0)}))[0]
    best = next(claim for claim in free["claims"] if claim["name"] == "policy_over_swim")["best"]
    assert (best["method"], best["measured"], best["speedup"]) == ("reslice_pair", "∞", None)
    assert best["writes_per_device"] == 1
    json.loads(claims.to_json(free), parse_constant=pytest.fail)


def test_drops_of_more_than_a_point_are_not_comparable_and_few_chips_decide_nothing():
    assert judged(cycles(TABLE, within="2"))[1]["swim_speedup"]["verdict"] == "not measured"
    few = judged(cycles(TABLE, chips=9))[1]["swim_speedup"]
    assert few["verdict"] == "undecided"
    assert "fewer than 10 chips" in few["best"]["note"]


def test_crossing_in_a_gap_has_an_interval_and_no_value():
    gap = {"nwc": np.nan, "reads": np.nan, "ratio_to_swim": np.nan, "between_low": 0.04,
           "between_high": 0.06}  # fmt: skip
    best = judged(cycles({"swim": TABLE["swim"]}, **gap))[1]["swim_speedup"]["best"]
    assert best["verdict"] == "holds"
    assert (best["speedup"], best["measured"]) == (None, "[16.7, 25]")
    assert best["writes_per_device"] is None
    assert "between NWC 0.04 and 0.06, not measured there" in best["note"]


def test_curve_that_ends_too_low_has_a_largest_speedup():
    """uswim does not get there by NWC 0.2: it is at most 5 times as fast as everything."""
    ends = {"nwc": np.nan, "nwc_low": np.nan, "nwc_high": np.nan, "ratio_to_swim": np.nan,
            "ratio_low": np.nan, "ratio_high": np.nan, "reached": 0, "last": 0.2}  # fmt: skip
    table = pd.concat([cycles({"swim": TABLE["swim"]}),
                       cycles({"uswim": (1, 1, 1)}, **ends)], ignore_index=True)  # fmt: skip
    found = judged(table, dependent=["d"])[1]
    best = found["uswim_speedup"]["best"]
    assert (best["verdict"], best["measured"]) == ("does not hold", "[0, 5]")
    assert "does not get there by NWC 0.2" in best["note"]
    assert found["uswim_over_swim"]["verdict"] == "does not hold"  # at most 0.06 / 0.2
    # An open end alone: some resamples do not get there.
    table.loc[table["method"] == "uswim", ["nwc", "nwc_low", "reached"]] = [0.05, 0.04, 1]
    assert judged(table)[1]["uswim_speedup"]["verdict"] == "undecided"


def test_single_pass_holds_for_the_recursion_alone():
    assert judged(cycles(TABLE))[1]["one_pass"]["verdict"] == "holds"
    assert judged(cycles(TABLE), estimator="hutchinson")[1]["one_pass"]["verdict"] == (
        "does not hold"
    )


def test_the_recursion_makes_one_forward_and_one_backward_pass_per_batch(monkeypatch):
    """Three more batches are three forwards and three backwards more."""
    counts = {"forward": 0, "backward": 0}

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(4, 5), nn.Linear(5, 3)

        def forward(self, x):
            counts["forward"] += 1
            return self.two(torch.relu(self.one(x)))

    def counted(*arguments, grad=torch.autograd.grad, **options):
        counts["backward"] += 1
        return grad(*arguments, **options)

    monkeypatch.setattr(torch.autograd, "grad", counted)
    batch = (torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3)
    made = []
    for batches in (2, 5):
        swim.sensitivity(Net(), [batch] * batches)
        made.append(dict(counts))
        counts.update(forward=0, backward=0)
    assert {kind: made[1][kind] - made[0][kind] for kind in counts} == {"forward": 3, "backward": 3}


def test_tables_that_do_not_belong_together_are_refused():
    with pytest.raises(DataError, match=r"lack full write-verify of d, sigma 0\.3"):
        claims.measured(cycles(TABLE), [accuracy("other")], "recursion")
    with pytest.raises(DataError, match="one experiment or comparison"):
        claims.measured(cycles(TABLE).iloc[:0], [accuracy()], "recursion")


class Balanced(HTMLParser):
    """Raises where a tag is closed that is not the last one opened."""

    def __init__(self):
        super().__init__()
        self.open, self.cells, self.words = [], [], []

    def handle_starttag(self, tag, attrs):
        if tag != "meta":
            self.open.append(tag)
        if tag == "td":
            self.cells.append(dict(attrs).get("class"))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_page_is_whole_html_with_every_verdict_and_escapes_names():
    table = cycles(TABLE, device="<d & e>")
    found = judged(table)[0]
    page = claims_page.page(found)
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    text = " ".join(parser.words)
    assert "<d & e>" in text
    assert "<d &" not in page
    assert "not of time" in claims_page.text(found)
    assert "Time is not modelled yet" in text
    assert {"holds", "not-measured"} <= set(parser.cells)
    for claim in found["claims"]:
        assert claim["claim"] in text
        assert claim["claim"] in claims_page.markdown(found)
    assert "http" not in page.replace("arXiv", "")  # nothing is fetched


@pytest.fixture
def tables(tmp_path):
    """Chips files of two methods, and the tables that the commands make of them."""

    def make(swims, folder):
        points = {"none/0": 0.60, "all/1": 0.97, "swim/0.05": swims, "swim/0.5": 0.968,
                  "random/0.05": 0.61, "random/0.5": 0.80}  # fmt: skip
        luck = np.random.default_rng(0).normal(0, 0.001, 30)
        for point, mean in points.items():
            part = float(point.split("/")[1])
            rows = [(r, mean + e, 1.0, part, 6 * part, 1000) for r, e in enumerate(luck)]
            heads = ("chip", "accuracy", "loss", "nwc", "reads", "images")
            files.write_rows(folder / f"d/sigma-0.3/{point}.csv", heads, rows)
        names = ["--experiment", "mine", "--model", "lenet", "--dataset", "digits"]
        run("summarise", *folder.rglob("*.csv"), *names, "--out", folder / "accuracy.csv")
        run("cycles", folder, "--experiment", "mine", "--out", folder / "cycles.csv")
        return ["--cycles", folder / "cycles.csv", "--accuracy", folder / "accuracy.csv"]

    return make


def run(*arguments):
    done = CliRunner().invoke(cli, [str(a) for a in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_command_writes_and_prints_what_the_chips_say(tables, tmp_path):
    """The same chips but for one point of swim: the verdict flips from holding to not."""
    for mean, verdict in ((0.969, "holds"), (0.7, "does not hold")):
        folder = tmp_path / verdict.replace(" ", "-")
        out = [folder / f"claims.{suffix}" for suffix in ("json", "md", "html")]
        printed = run("claims", *tables(mean, folder), "--out", out[0], "--markdown", out[1],
                      "--html", out[2])  # fmt: skip
        stored = json.loads(out[0].read_text())
        by_name = {claim["name"]: claim for claim in stored["claims"]}
        assert by_name["swim_speedup"]["verdict"] == verdict
        assert by_name["swim_over_random"]["verdict"] == "holds"
        assert by_name["swim_over_magnitude"]["verdict"] == "not measured"
        assert printed.splitlines()[1].split("  ")[1].strip() == verdict
        assert run("claims", out[0]) == printed
        assert out[1].read_text() == claims_page.markdown(claims_page.read(out[0]))
        assert out[2].read_text() == claims_page.page(claims_page.read(out[0]))


def test_file_that_is_no_claims_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        claims_page.read(tmp_path / "none.json")
    for content in ("{", "[]", '{"claims": [{}]}'):
        (tmp_path / "x.json").write_text(content)
        with pytest.raises(DataError, match="not a file of `swim claims`"):
            claims_page.read(tmp_path / "x.json")
