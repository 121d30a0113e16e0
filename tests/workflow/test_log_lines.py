"""What Snakemake says of jobs fits a line, however many files they have."""

import logging
import re

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from rules.log_lines import Shortened, shorten
from swim.settings import layout
from tests.workflow.conftest import TINY


def record(level=logging.INFO, **extra):
    logger = logging.getLogger("tests.log_lines")
    logger.setLevel(level)
    own = logger.makeRecord(logger.name, logging.INFO, __file__, 1, "said", (), None, extra=extra)
    assert Shortened().filter(own)
    return own


def test_long_lists_are_cut_and_the_rest_of_a_reason_stays():
    many = ", ".join(f"results/a/{number}.csv" for number in (3, 1, 2, 4))
    settings = 'before: {"a": 1, "b": 2, "c": 3}; now: {"a": 1, "b": 2, "c": 4}'
    reason = (
        f"Missing output files: {many}; Input files updated by another job: y, x; "
        f"Params have changed since last execution: {settings}"
    )
    assert shorten(reason) == (
        "Missing output files: results/a/1.csv and 3 more; Input files updated by another job: "
        f"x, y; Params have changed since last execution: {settings}"
    )
    assert shorten(f"Finished (was: {reason})").startswith(
        "Finished (was: Missing output files: results/a/1.csv and 3 more; "
    )
    assert shorten("Forced execution") == "Forced execution"


@pytest.mark.parametrize("event", LogEvent)
def test_only_what_is_said_of_jobs_is_cut(event):
    files = ["b", "a", "c"]
    own = record(event=event, input=files, output=[], reason="Updated input files: b, a, c")
    assert own.reason == "Updated input files: a and 2 more"
    assert own.input == (["a and 2 more"] if event == LogEvent.JOB_ERROR else files)
    assert own.output == []


def test_verbose_shows_all_files():
    reason = "Updated input files: b, a, c"
    own = record(logging.DEBUG, event=LogEvent.JOB_ERROR, input=["b", "a", "c"], reason=reason)
    assert (own.reason, own.input) == (reason, ["b", "a", "c"])


def test_a_dry_run_has_no_wall_of_paths_and_says_how_many_files_there_are(project):
    fractions = [f"{number / 100:g}" for number in range(1, 41)]
    project.experiments = {"tiny": {**TINY, "fractions": ["0", *fractions, "1"]}}
    text = project.make("tiny", "-n")
    chips = len(TINY["methods"]) * len(fractions) + 3
    found = re.search(r"Job \d+: tiny: cycles to accuracy\nReason: (.*)", text)[1]
    assert found.startswith("Missing output files: results/tiny/cycles_to_accuracy.csv and 2 more")
    assert found.endswith(f" and {chips - 1} more")
    folder = layout.CHIPS_FOLDER.format(experiment="tiny")
    assert f"Input files updated by another job: {folder}/" in found
    assert max(map(len, text.splitlines())) < 400
