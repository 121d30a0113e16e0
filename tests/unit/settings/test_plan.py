"""What a run asks of the configuration, without Snakemake."""

import json
import re
from pathlib import Path
from types import SimpleNamespace as At

import pytest
import yaml

from swim.errors import SettingError
from swim.settings import load
from swim.settings.plan import NUMBER, Plan, one_of

CONTENT = {
    "devices": {"a": {}, "b": {"K": 2}, "measured": {"variation": {"table": "t.csv"}}},
    "data_sets": {"file_of_mine": {"file": "x.npz"}, "folder_of_mine": {"folder": "here"}},
    "defaults": {"sigmas": ["0.1", "0.2"], "fractions": ["0.1", "0.5"], "devices": ["a"]},
    "experiments": {
        "one": {"methods": ["swim", "uswim"], "budgets": ["0.3"], "within": ["0.5", "1"],
                "chips": 7},
        "two": {"methods": ["swim", "uswim"], "budgets": ["0.3"], "within": ["0.5", "1"], "seed": 1,
                "chips": 7},
        "taken_over": {"checkpoint": "m.safetensors", "correlate": {"sigmas": ["0.1"]},
                       "dataset": "file_of_mine", "devices": ["a", "b"]},
    },
    "comparisons": {"both": {"experiments": ["one", "two"]}},
}  # fmt: skip


@pytest.fixture(scope="module")
def plan():
    return Plan(load(CONTENT))


def test_shipped_budgets_are_fractions_too():
    """Masks and policies meet on one grid; a policy that ends early has no larger budgets."""
    shipped = yaml.safe_load((Path(__file__).parents[3] / "config.yaml").read_text())
    checked = 0
    for name, own in load(shipped).experiments.items():
        if own.budgets:
            masks = [float(part) for part in own.fractions]
            assert set(own.budgets) <= set(own.fractions), name
            below = {part for part in own.fractions if float(part) <= max(map(float, own.budgets))}
            assert below - {"0"} == set(own.budgets), name
            assert masks == sorted(masks), name
            checked += 1
    assert checked


def test_experiments_are_sorted_by_what_they_start_from(plan):
    assert (plan.trained, plan.adopted) == (["one", "two"], ["taken_over"])
    assert plan.correlated == ["taken_over"]


def test_wildcards_take_the_names_that_there_are_and_no_others(plan):
    patterns = plan.wildcards()
    for name, good, bad in (
        ("experiment", "one", "three"), ("device", "b", "c"), ("place", "summary/both", "both"),
        ("sigma", "0.15", "0.150"), ("dataset", "mnist", "mnistt"), ("policy", "uswim", "swim"),
    ):  # fmt: skip
        assert re.fullmatch(patterns[name], good), name
        assert not re.fullmatch(patterns[name], bad), name
    assert re.fullmatch(NUMBER, "0")
    assert not re.fullmatch(NUMBER, "0.0")
    assert one_of([]) == "-"


def test_claims_know_the_estimator_and_which_devices_depend_on_their_level():
    devices = {"a": {}, "uneven": {"M": 4, "K": 2, "variation": {"name": "fefet2"}}}
    own = {"devices": ["a", "uneven"], "estimator": "gauss_newton"}
    plan = Plan(load({"devices": devices, "experiments": {"mine": own}}))
    assert json.loads(plan.claims(At(experiment="mine"))) == {
        "estimator": "gauss_newton", "level_dependent": ["uneven"]
    }  # fmt: skip


def test_a_steps_settings_hold_what_it_depends_on_and_nothing_else(plan):
    made = json.loads(plan.evaluate(At(experiment="one", device="b", sigma="0.2")))
    assert made["device"]["K"] == 2
    assert (made["sigma"], made["chips"]) == ("0.2", 7)
    assert not {"methods", "training", "accelerator", "budget"} & made.keys()
    spent = json.loads(
        plan.program(At(experiment="one", device="a", sigma="0.2", policy="uswim", budget="0.3"))
    )
    assert (spent["policy"], spent["budget"]) == ("uswim", "0.3")
    measured = json.loads(plan.perturb(At(experiment="taken_over", device="a", sigma="0.1")))
    assert measured["weights"] > 0


def test_training_alone_has_the_threads_of_training():
    for own, threads in (({}, 2), ({"training_threads": 6}, 6)):
        experiment = {"dataset": "mnist5k", "arithmetic_threads": 2, **own}
        plan = Plan(load({"devices": {"four_bit": {}}, "experiments": {"mine": experiment}}))
        job = At(experiment="mine", estimator="recursion")
        assert plan.training_threads(job) == threads
        assert json.loads(plan.train(job))["arithmetic_threads"] == threads
        assert plan.threads(job) == 2
        assert json.loads(plan.sensitivity(job)).get("arithmetic_threads", 1) == 2


def test_a_target_that_is_misspelt_is_named(plan):
    with pytest.raises(SettingError, match="target"):
        plan.evaluate(At(experiment="one", device="a", sigma="0.20"))


def test_methods_at_a_budget_are_those_that_have_a_point_there(plan):
    at = lambda budget: At(experiment="one", device="a", budget=budget)  # noqa: E731
    assert plan.at_budget(at("0.1")) == (["swim"], [])
    assert plan.at_budget(at("0.3")) == ([], ["uswim"])
    assert plan.policies(at("0.3")) == "--policy uswim"
    with pytest.raises(SettingError, match="one: no method has a point"):
        plan.at_budget(at("0.7"))


MINE = {"name": "mine", "import": "my.scores:gain", "needs": "curvature"}
SCORE = {"import": "my.scores:gain", "arguments": {}, "needs": "curvature"}


def test_a_custom_score_reaches_the_steps_that_need_it_and_no_others():
    experiments = {
        "one": {"methods": ["swim", MINE, "uswim"], "correlate": {}, "seed": 3},
        "two": {
            "methods": [{**MINE, "import": "my.others:gain"}],
            "correlate": {"methods": ["swim"]},
        },
        "third": {"methods": ["swim", "uswim"]},
    }
    plan = Plan(load({**CONTENT, "experiments": experiments, "comparisons": {}}))
    assert re.fullmatch(plan.wildcards()["method"], "mine")
    assert not re.fullmatch(plan.wildcards()["policy"], "mine")
    mine = json.loads(plan.select(At(experiment="one", method="mine", fraction="0.1")))
    assert mine == {"method": "mine", "fraction": "0.1", "seed": 3, "score": SCORE}
    other = json.loads(plan.select(At(experiment="two", method="mine", fraction="0.1")))
    assert other["score"]["import"] == "my.others:gain"
    known = json.loads(plan.select(At(experiment="one", method="swim", fraction="0.1")))
    assert known == {"method": "swim", "fraction": "0.1", "seed": 3}
    assert json.loads(plan.correlate(At(experiment="one")))["custom"] == {"mine": SCORE}
    assert plan.scored(At(experiment="one")) == "--method swim --method mine"
    assert "custom" not in json.loads(plan.correlate(At(experiment="two")))
    assert json.loads(plan.summarise(At(experiment="one")))["custom"] == ["mine"]
    assert "custom" not in json.loads(plan.summarise(At(experiment="third")))
    assert "a/sigma-0.1/mine/0.5.csv" in plan.points("one").files()
    at = At(experiment="one", device="a", budget="0.5")
    assert plan.at_budget(at) == (["swim", "mine"], ["uswim"])
    stored = json.loads(plan.describe(At(experiment="one")))
    assert stored["methods"][1] == {"name": "mine", **SCORE}


def test_what_is_the_users_own_is_an_option_or_an_input(plan):
    assert plan.data_files(At(dataset="file_of_mine")) == ["x.npz"]
    assert plan.data_files(At(dataset="folder_of_mine")) == []
    assert plan.data_option(At(dataset="mnist")) == ""
    assert plan.data_option(At(dataset="folder_of_mine")).startswith("--own '{")
    assert plan.levels(At(device="measured")) == ["t.csv"]
    assert plan.levels(At(device="a")) == []
    assert plan.trusted_network(At(experiment="one")) == ""


def test_a_comparison_is_shown_as_its_first_experiment(plan):
    compared, own = At(comparison="both"), At(experiment="one")
    assert plan.shown(compared) == ["one", "two"]
    assert plan.summarise(compared) == plan.summarise(own)
    assert plan.within(compared) == "--within 0.5 --within 1"
    assert plan.members(compared) == "--member one --member two"
    assert plan.members(own) == ""
    assert plan.report_category(At(place="summary/both")) == "comparisons"
    assert plan.report_category(At(place="one")) == "one"
    (label,) = plan.report_label_of_cycles(At(place="summary/both", sigma="0.1")).values()
    assert label == "comparison both: cycles to accuracy, sigma 0.1 (figure)"


def test_comparisons_are_asked_for_only_where_there_are_some(plan):
    assert plan.comparisons() == ["both"]
    alone = {key: value for key, value in CONTENT.items() if key != "comparisons"}
    with pytest.raises(SettingError, match="nothing under `comparisons:`"):
        Plan(load(alone)).comparisons()


def test_what_is_planned_is_counted_and_at_most_twenty_are_named(plan):
    assert plan.planned(["one"], ["both"]) == "1 experiment (one) and 1 comparison (both)"
    many = [f"e{i}" for i in range(30)]
    assert plan.planned(many, []).startswith("30 experiments (e0, e1,")
    assert plan.planned(many, []).endswith("e19, ...)")
