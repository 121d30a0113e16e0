"""Devices of the user's own in the pipeline: what a changed table or module runs again."""

import pandas as pd
import pytest

from tests.workflow.conftest import TINY
from tests.workflow.messages import jobs

TABLE = "level,sigma\n0,0.05\n0.5,0.2\n1,0.1\n"
CODE = "def rising(levels, slope):\n    return 0.2 + slope * levels\n"


@pytest.fixture
def own(project):
    """One measured device and one by code."""
    (project.folder / "my").mkdir()
    (project.folder / "my/levels.csv").write_text(TABLE)
    (project.folder / "mine.py").write_text(CODE)
    project.devices = {
        "measured": {"M": 4, "K": 2, "variation": {"table": "my/levels.csv"}},
        "coded": {"M": 4, "K": 2, "variation": {
            "import": "mine:rising", "arguments": {"slope": 0.1}, "equal_variance": True}},
    }  # fmt: skip
    project.experiments["tiny"] = {
        **TINY,
        "training": {"epochs": 1, "quantised_epochs": 0},
        "devices": ["measured", "coded"],
        "sigmas": ["1"],
        "methods": ["random", "uswim"],
        "in_situ": {"budgets": ["0.2"]},
        "chips": 2,
        "test_images": 50,
    }
    return project


def ran(text):
    """(rule, device) of every job."""
    return {
        (rule, wildcards["device"]) if wildcards.get("device") in ("measured", "coded") else (rule,)
        for rule, wildcards in jobs(text)
    }


PROGRAMMING = (
    "evaluate", "evaluate_none_verified", "evaluate_all_verified", "program", "in_situ",
)  # fmt: skip
TABLES = {(rule,) for rule in ("summarise", "plot", "cycles", "plot_cycles", "plot_reads", "claims",
                               "explore", "tables", "tiny")}  # fmt: skip


def test_a_change_runs_what_programs_that_device(own):
    first = ran(own.make("tiny"))
    assert {(rule, device) for rule in PROGRAMMING for device in ("measured", "coded")} <= first
    results = own.folder / "results"
    clean = {device: pd.read_csv(results / f"tiny/chips/{device}/sigma-1/clean.csv").iloc[0]
             for device in own.devices}  # fmt: skip
    assert 0.05**2 < clean["measured"]["variance"] < 0.2**2
    assert clean["measured"]["sigma_factor"] == 1
    assert clean["coded"]["variance"] == 1
    assert clean["coded"]["sigma_factor"] > 3
    summary = (results / "summary/tiny.md").read_text()
    assert summary.count("| measured | 1 | ") == summary.count("| coded | 1 | 1 | ") == 1

    table, module = own.folder / "my/levels.csv", own.folder / "mine.py"
    table.write_text(TABLE.replace("0.2", "0.15"))
    assert ran(own.make("-n", "tiny")) - TABLES == {(rule, "measured") for rule in PROGRAMMING}
    table.write_text(TABLE)
    module.write_text("# of levels in [0, 1]\n" + CODE)
    assert ran(own.make("-n", "tiny")) == set()
    module.write_text(CODE.replace("0.2", "0.3"))
    assert ran(own.make("-n", "tiny")) - TABLES == {(rule, "coded") for rule in PROGRAMMING}
    # What runs takes the new code, and is then done; rows of the other device stay.
    chips = "results/tiny/chips/{}/sigma-1/none/0.csv"
    before = {device: (own.folder / chips.format(device)).read_bytes() for device in own.devices}
    own.make(chips.format("coded"), chips.format("measured"))
    for device, changes in (("coded", True), ("measured", False)):
        path = own.folder / chips.format(device)
        assert (path.read_bytes() != before[device]) == changes
    assert "Nothing to be done" in own.make("-n", chips.format("coded"))


FAULTS = [
    ({"table": "my/none.csv"}, ["my/none.csv: a table of levels cannot be read"]),
    ({"table": "my/bad.csv"}, ["my/bad.csv, line 3: level 0 follows 1"]),
    ({"import": "nowhere:rising"}, ["there is no module 'nowhere'"]),
    ({"name": "rram3"}, ["devices.measured.variation.name", "did you mean 'rram4'"]),
    ({"name": "rram4"}, ["devices.measured.variation", "'rram4': K is 1", "set K to 2"]),
]


@pytest.mark.parametrize(("variation", "parts"), FAULTS, ids=lambda value: str(value)[:20])
def test_a_faulty_device_ends_before_any_work(own, variation, parts):
    (own.folder / "my/bad.csv").write_text("level,sigma\n1,0.1\n0,0.1\n")
    own.devices["measured"] |= {"variation": variation, "K": 1}
    own.refuses_before_any_work("tiny", parts)
