"""The files of a run and the digests of its code, without Snakemake."""

import json
from types import SimpleNamespace as At

import pytest

from swim.cli.step_digests import StepDigests
from swim.cli.targets import Targets
from swim.errors import DataError, SettingError
from swim.settings import load
from swim.settings.plan import Plan
from tests.unit.settings.test_plan import CONTENT


@pytest.fixture(scope="module")
def plan():
    return Plan(load(CONTENT))


@pytest.fixture
def files(plan):
    return Targets(plan)


def test_an_experiment_makes_its_tables_figures_and_chips(files):
    made = files.experiment("one")
    assert len(made) == len(set(made))
    for file in ("settings.json", "accuracy.csv", "paired.csv", "cycles_to_accuracy.csv",
                 "cycles_to_accuracy.md", "claims.json", "claims.tex", "claims.md", "claims.html",
                 "explorer.html", "tables.html",
                 "figures/learning.pdf", "figures/accuracy-log-sigma-0.2.svg",
                 "figures/reads-sigma-0.1.png", "chips/a/sigma-0.1/clean.csv",
                 "chips/a/sigma-0.2/swim/0.5.csv", "chips/a/sigma-0.2/uswim/0.3.csv"):  # fmt: skip
        assert f"results/one/{file}" in made
    assert {"results/summary/one.md", "results/summary/one.tex"} <= set(made)
    assert not any("correlation" in file for file in made)


def test_an_experiment_without_policies_draws_no_reads_and_a_study_adds_its_files(files):
    made = files.experiment("taken_over")
    assert not any("reads" in file for file in made)
    for file in ("results/taken_over/correlation.csv", "results/taken_over/scores.csv",
                 "results/summary/taken_over-correlation.md",
                 "results/taken_over/figures/correlation.svg"):  # fmt: skip
        assert file in made


def test_inputs_are_those_of_the_wildcards(files):
    at = At(experiment="taken_over", device="b", method="fisher", budget="0.1")
    assert files.data(at) == "results/data/file_of_mine.safetensors"
    assert files.sensitivity(at) == ["results/taken_over/sensitivity/empirical_fisher.safetensors"]
    at.method = "swim"
    assert files.sensitivity(at) == [files.chosen_sensitivity(at)]
    at.method = "magnitude"
    assert files.sensitivity(at) == []
    assert files.masks_at_budget(at) == [
        f"results/taken_over/masks/b/{name}/0.1.npz" for name in ("swim", "magnitude", "random")
    ]
    assert files.perturbations(at) == [
        "results/taken_over/perturbation/a/sigma-0.1.csv",
        "results/taken_over/perturbation/b/sigma-0.1.csv",
    ]
    assert files.image_digest(At(dataset="mnist")) == ""
    with pytest.raises(DataError, match=r"data_sets\.folder_of_mine: here: no such folder"):
        files.image_digest(At(dataset="folder_of_mine"))


def test_single_weights_are_also_measured_on_chips():
    """Files of their own, and what is recorded of them: their device, and how many chips."""
    own = {**CONTENT["experiments"]["taken_over"]}
    own["correlate"] = {**(own["correlate"] or {}), "chips": 3}
    content = {**CONTENT, "experiments": {**CONTENT["experiments"], "taken_over": own}}
    plan = Plan(load(content))
    files = Targets(plan)
    on_chips = [f"results/taken_over/perturbation/{device}/programmed/sigma-0.1.csv"
                for device in ("a", "b")]  # fmt: skip
    assert files.perturbations(At(experiment="taken_over"))[2:] == on_chips
    records = {file: json.loads(settings) for file, settings, _ in files.records("taken_over")}
    measured = {file: made for file, made in records.items() if "perturbation" in file}
    assert [made["chips"] for made in measured.values()] == [0, 0, 3, 3]
    assert measured[on_chips[1]]["device"]["K"] == 2


def test_all_comparisons_are_one_table_and_some_are_one_each(plan, files):
    whole = files.comparisons(["both"])
    assert "results/summary/cycles_to_accuracy.csv" in whole
    assert "results/summary/both/figures/cycles-sigma-0.1.png" in whole
    assert {"results/summary/both/claims.html", "results/summary/both/explorer.html"} <= set(whole)
    assert files.claims(["one"], ["both"]) == [
        "results/one/claims.json", "results/summary/both/claims.json"
    ]  # fmt: skip
    assert files.accuracy(["one", "two"]) == [
        "results/one/accuracy.csv", "results/two/accuracy.csv"
    ]  # fmt: skip
    assert files.comparisons([]) == []
    more = {**CONTENT, "comparisons": {**CONTENT["comparisons"],
                                       "again": {"experiments": ["two", "one"]}}}  # fmt: skip
    some = Targets(Plan(load(more))).comparisons(["both"])
    assert "results/summary/both/cycles_to_accuracy.md" in some
    assert "results/summary/cycles_to_accuracy.csv" not in some
    assert files.chips_folders(At(comparison="both")) == ["results/one/chips", "results/two/chips"]


def test_records_name_every_file_of_a_kind_with_its_settings_and_inputs(files):
    records = {str(path): (json.loads(job), inputs) for path, job, inputs in files.records("one")}
    chips, inputs = records["results/one/chips/a/sigma-0.2/swim/0.5.csv"]
    assert (chips["sigma"], chips["chips"]) == ("0.2", 7)
    assert inputs["mask"] == "results/one/masks/a/swim/0.5.npz"
    _, ranked = records["results/one/masks/a/swim/0.5.npz"]
    assert ranked["sensitivity"] == "results/one/sensitivity/recursion.safetensors"
    spent, inputs = records["results/one/chips/a/sigma-0.1/uswim/0.3.csv"]
    assert spent["policy"] == "uswim"
    assert inputs["sensitivity"] == "results/one/sensitivity/recursion.safetensors"
    model, _ = records["results/one/model.safetensors"]
    assert model["dataset"] == "mnist5k"
    assert {*files.chips("one"), "results/one/accuracy.csv"} <= records.keys()


def test_digests_differ_by_what_settings_choose_and_by_nothing_else(plan):
    code = StepDigests(plan)
    one, two = At(experiment="one", device="a"), At(experiment="two", device="b")
    assert code.evaluate(one) == code.evaluate(two)
    assert code.evaluate(one) != code.in_situ(one)
    assert code.program(At(**vars(one), policy="uswim")) != code.program(
        At(**vars(one), policy="marginal")
    )
    swim, random = (At(experiment="one", method=name) for name in ("swim", "random"))
    assert code.select(swim) != code.select(random)
    assert code.prepare(At(dataset="file_of_mine")) != code.prepare(At(dataset="folder_of_mine"))
    assert len(code.where(At(**vars(one), budget="0.3"))) == 2
    with pytest.raises(SettingError, match="no method has a point"):
        code.where(At(**vars(one), budget="0.9"))
    assert code.correlate(At(experiment="taken_over")) == code.correlate(
        At(experiment="taken_over")
    )
