"""The report that a reader opens, in a real browser: nothing that is clicked breaks the page."""

import random
from itertools import combinations

import pytest

from tests.workflow import report_page
from tests.workflow.conftest import TINY, Project, copy_of_the_pipeline

ONE = {**TINY, "devices": ["redrawn"]}
SWEEP = {**ONE, "methods": ["swim", "read_first"], "sigmas": ["0.1", "0.2", "0.3"],
         "devices": ["redrawn", "single"], "correlate": {"sigmas": ["0.1"]}}  # fmt: skip
MAPS = [f"results/sweep/figures/where-{device}-0.1-sigma-0.1.png" for device in SWEEP["devices"]]
CLAIMS, EXPLORERS = "1. Claims", "2. Explorers"
# Targets of each report, and how many results it has by category.
REPORTS = {
    "one sigma": (["one"], {CLAIMS: 1, EXPLORERS: 1, "one": 8}),
    "several sigmas": (
        ["sweep", *MAPS],
        {CLAIMS: 1, EXPLORERS: 1, "sweep": 5 + 3 * 4 + 2 + len(MAPS)},
    ),
    "several experiments": (
        ["one", "two", "run_", "comparisons"],
        {CLAIMS: 4, EXPLORERS: 4, "one": 8, "two": 8, "run_": 5 + 2 * 3, "comparisons": 2},
    ),
}
FIGURE = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c49444154789c63f8ffff3f0005fe02fe0def46b80000000049454e44ae426082"
)
STAND_INS = {
    ".png": lambda line: FIGURE,
    ".csv": lambda line: f"file\n{line}\n".encode(),
    ".html": lambda line: f"<!DOCTYPE html><title>a page</title><p>{line}</p>".encode(),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Experiments whose results are stand-ins: a report copies files without reading them."""
    project = Project(copy_of_the_pipeline(tmp_path_factory.mktemp("report") / "a project"))
    # A comparison may have an experiment's name, and a name an underscore that markup knows.
    project.experiments = {"one": ONE, "two": {**ONE, "seed": 1},
                           "run_": {**ONE, "sigmas": ["0.1", "0.2"]}, "sweep": SWEEP}  # fmt: skip
    project.devices = {
        "redrawn": {"M": 4, "K": 2, "write_verify": "redraw"},
        "single": {"M": 4, "K": 4, "write_verify": "redraw"},
    }
    project.comparisons = {"one": {"experiments": ["one", "two"]}}
    # One job is run, so that there are a rule and times to show.
    project.make("results/data/mnist5k.safetensors")
    targets = {target for own, _ in REPORTS.values() for target in own}
    header, *lines = project.snakemake("--summary", *targets).stdout.splitlines()
    assert header.startswith("output_file\t")
    for line in lines:
        file = project.folder / line.split("\t")[0]
        if file.suffix in STAND_INS and not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(STAND_INS[file.suffix](line))
    return project


@pytest.fixture
def opened(running, project, tmp_path):
    """A function that opens one of the reports, made when first asked for."""

    def opens(name):
        targets, _ = REPORTS[name]
        archive = project.folder / f"{name}.zip"
        if not archive.exists():
            # The stand-ins are of no settings: forced, so that nobody compares them.
            project.make(*targets, "--forceall", "--report", str(archive))
        return report_page.Page(running, archive, tmp_path)

    return opens


def by_category(page):
    return {name: sum(map(len, own.values())) for name, own in page.categories.items()}


def reports(*always):
    """All of them before a release, some at every change."""
    return [
        name if name in always else pytest.param(name, marks=pytest.mark.slow) for name in REPORTS
    ]


@pytest.mark.parametrize("name", reports("one sigma", "several experiments"))
def test_every_click_in_a_report_shows_what_it_says(opened, name):
    page = opened(name)
    assert by_category(page) == REPORTS[name][1]
    page.walk()
    assert page.menu_names()[:2] == [CLAIMS, EXPLORERS]
    assert "Selective write-verify: what holds here" in page.page.locator("#app").inner_text()


def test_the_top_of_a_first_page_that_is_taller_than_the_window_is_shown(opened):
    page = opened("one sigma")
    title = page.page.get_by_role("heading", name="Selective write-verify: what holds here")
    # As tall as one with claims and machines.
    page.page.evaluate("document.querySelector('#app .prose').style.height = '3000px'")
    assert title.bounding_box()["y"] >= 0


@pytest.mark.parametrize("name", reports("one sigma"))
def test_a_search_shows_all_results_that_it_finds(opened, name):
    page = opened(name)
    paths = list(page.results)
    assert len(page.search("results/")) == len(paths)
    groups = [list(pair) for pair in combinations(paths, 2)]
    draw = random.Random(0)
    groups += [draw.sample(paths, draw.randint(1, len(paths))) for _ in range(300)]
    assert page.lost_in_searches(groups) == []


# What a check must say -> what a page does, and says `done()` before or after.
BROKEN = {
    "reading 'labels'": "done(); ReactDOM.flushSync(() => app.showResultInfo('nowhere'))",
    "nobody caught": "done(); Promise.reject(new Error('nobody caught'))",
    "said aloud": "console.error('said aloud'); done()",
    "not in the file": "fetch('http://127.0.0.1:9/').catch(done)",
    "the page is blank": "root.unmount(); done()",
}


@pytest.mark.parametrize("said", BROKEN)
def test_a_broken_page_is_noticed(opened, said):
    page = opened("one sigma")
    page.page.evaluate("window.done = () => { window.over = true }")
    page.page.evaluate(f"setTimeout(() => {{ {BROKEN[said]} }})")
    page.page.wait_for_function("window.over")
    with pytest.raises(AssertionError, match=f"(?s)after the trick.*{said}"):
        page.check("the trick")
