"""The workflow as a user starts it."""

import json

import numpy as np
import pandas as pd
import pytest

from swim.reports import accuracy_tables, claims_page, cycles_to_accuracy
from swim.runtime import files
from tests.workflow.conftest import TINY

METHOD = '''"""Smallest weights first."""

import numpy as np

from swim.selection.scores.base import Inputs, Layers, Needs

NEEDS: Needs = "weights"


def score(inputs: Inputs) -> Layers:
    return {name: -np.abs(weight) for name, weight in inputs.weights.items()}
'''


def test_from_nothing_to_figures(project):
    first = project.make("tiny")
    assert "Job 0: tiny: everything is there" in first
    assert "tiny: 4 points of 3 chips: results/tiny/accuracy.csv, to read" in first
    made = project.folder / "results" / "tiny"
    table = accuracy_tables.read_accuracy(made / "accuracy.csv")
    points = set(zip(table["method"], table["fraction"], strict=True))
    assert points == {
        ("none", "0"), ("all", "1"), ("clean", ""), ("swim", "0.1"), ("random", "0.1"),
    }  # fmt: skip
    assert (made / "figures/accuracy-sigma-0.3.png").stat().st_size > 10_000
    assert b"<svg" in (made / "figures/accuracy-sigma-0.3.svg").read_bytes()
    drawn = {path.name for path in (made / "figures").iterdir()}
    assert drawn == {f"{figure}-sigma-0.3.{suffix}" for suffix in ("png", "svg", "pdf")
                     for figure in ("accuracy", "accuracy-log", "cycles")} | {
        f"learning.{suffix}" for suffix in ("png", "svg", "pdf")}  # fmt: skip
    found = cycles_to_accuracy.read(made / "cycles_to_accuracy.csv")
    assert found["within"].tolist() == ["0.1", "0.1", "0.5", "0.5", "1", "1"]
    assert set(found["method"]) == {"swim", "random"}
    assert "Within 0.1 points:" in (made / "cycles_to_accuracy.md").read_text()
    summary = (project.folder / "results/summary/tiny.md").read_text()
    assert summary.count("| 0.3 |") == 3  # two methods, and their difference
    paired = pd.read_csv(made / "paired.csv")
    assert paired[["method", "other"]].values.tolist() == [["swim", "random"]]
    settings = json.loads((made / "settings.json").read_text())
    assert settings["experiment"] == "tiny"
    assert settings["devices"]["release"]["convention"] == "release"
    assert "torch" in settings["versions"]
    assert "processor" in settings["hardware"]
    assert settings["training"]["epochs"] == 2
    assert settings["batch_size"] == 500
    history = pd.read_csv(made / "train.csv")
    assert history["quantised"].tolist() == [False, True]
    mask, _ = files.load_mask(made / "masks/release/swim/0.1.npz")
    assert sum(int(layer.sum()) for layer in mask.values()) == 10_592
    chips = pd.read_csv(made / "chips/release/sigma-0.3/swim/0.1.csv")
    assert chips["chip"].tolist() == [0, 1, 2]
    np.testing.assert_allclose(chips["nwc"], 10_592 / 105_918)
    row = table[table["method"] == "swim"].iloc[0]
    assert row["mean"] == pytest.approx(chips["accuracy"].mean())
    assert (made / "logs/train.log").read_text().count("epoch ") == 2
    assert (made / "benchmarks/train.tsv").exists()

    verdicts = {claim["name"]: claim["verdict"]
                for claim in json.loads((made / "claims.json").read_text())["claims"]}  # fmt: skip
    assert verdicts["one_pass"] == "holds"
    assert verdicts["policy_over_swim"] == "not measured"
    assert "<h1>Claims: tiny</h1>" in (made / "claims.html").read_text()
    for file in (made / "claims.tex", made / "cycles_to_accuracy.tex",
                 project.folder / "results/summary/tiny.tex"):  # fmt: skip
        assert r"\toprule" in file.read_text()
    # The end of the run says what the page says.
    assert claims_page.read_text(made / "claims.json") in first

    assert "Nothing to be done" in project.make("tiny")
    report = project.folder / "report.zip"
    project.make("tiny", "--report", str(report))
    assert report.stat().st_size > 100_000  # test_report.py walks through such pages


SEEDS = {**TINY, "model": {"name": "lenet"}, "training": {"epochs": 1, "quantised_epochs": 0},
         "devices": ["redrawn"], "methods": ["swim", "read_first"], "chips": 2,
         "test_images": 50, "within": ["2"]}  # fmt: skip


def test_a_comparison_averages_over_seeds_what_its_experiments_made(project):
    project.experiments = {"one": {**SEEDS, "seed": 3}, "two": {**SEEDS, "seed": 4}}
    project.devices = {"redrawn": {"M": 4, "K": 2, "write_verify": "redraw"}}
    run = project.snakemake("comparisons")
    assert run.returncode != 0
    assert "nothing under `comparisons:` to compare" in run.stdout + run.stderr
    project.comparisons = {"both": {"experiments": ["one", "two"]}}
    project.make("comparisons", "one", "two")
    folder = project.folder / "results"
    assert {path.name for path in (folder / "one/figures").iterdir()} >= {"reads-sigma-0.3.svg"}
    joined = cycles_to_accuracy.read(folder / "summary/cycles_to_accuracy.csv")
    alone = [
        cycles_to_accuracy.read(folder / name / "cycles_to_accuracy.csv") for name in ("one", "two")
    ]
    assert joined[["experiment", "method"]].values.tolist() == [
        ["both", "swim"], ["both", "read_first"],
    ]  # fmt: skip
    np.testing.assert_allclose(joined["nwc"], (alone[0]["nwc"] + alone[1]["nwc"]) / 2)
    assert (folder / "summary/both/figures/cycles-sigma-0.3.png").stat().st_size > 10_000
    assert "over seeds" in (folder / "summary/cycles_to_accuracy.md").read_text()
    claims = claims_page.read(folder / "summary/both/claims.json")
    assert claims["name"] == "both"
    assert (folder / "summary/both/claims.html").exists()
    explored = (folder / "summary/both/explorer.html").read_text()
    assert '"experiment":"both","experiments":["one","two"]' in explored
    assert "Nothing to be done" in project.make("comparisons")

    target = "figures/where-redrawn-0.1-sigma-0.3.svg"
    project.make(f"results/one/{target}")
    assert (folder / "one" / target).exists()
    table = accuracy_tables.read_where(folder / "one/where/redrawn/sigma-0.3/0.1.csv")
    assert set(table["method"]) == {"swim", "read_first"}
    assert set(table["slice"]) == {0, 1}
    run = project.snakemake("results/one/figures/where-redrawn-0.7-sigma-0.3.svg")
    assert "one: no method has a point at NWC 0.7" in run.stdout + run.stderr


def test_a_method_is_one_file_and_one_line(project):
    methods = project.folder / "swim/selection/scores"
    (methods / "smallest.py").write_text(METHOD)
    registry = project.folder / "swim/settings/registry.py"
    line = '    "random": "swim.selection.scores.random",\n'
    added = line + line.replace("random", "smallest")
    registry.write_text(registry.read_text().replace(line, added))
    # The schema is generated; a developer's `make schema` does this.
    schema = project.folder / "rules/schemas/config.schema.json"
    schema.write_text(schema.read_text().replace('"random",', '"random",\n"smallest",'))
    project.experiments["tiny"]["methods"] = ["smallest"]
    target = "results/tiny/masks/release/smallest/0.1.npz"
    project.make(target)
    mask, _ = files.load_mask(project.folder / target)
    weights, _ = files.load_arrays(project.folder / "results/tiny/model.safetensors")
    largest = max(abs(weights[name][mask[name]]).max(initial=0) for name in mask)
    smallest = min(abs(weights[name][~mask[name]]).min() for name in mask)
    assert largest <= smallest
    assert "sensitivity" not in project.make("-n", "--forceall", target)


FAULTS = [
    ({"chip": 3}, ["experiments.tiny.chip", "did you mean 'chips'?"]),
    ({"methods": ["swin"]}, ["experiments.tiny.methods.0", "'swin'", "known: swim"]),
    ({"model": {"name": "vgg"}}, ["experiments.tiny.model.name", "'vgg'", "lenet"]),
    ({"dataset": "mnst"}, ["experiments.tiny.dataset", "'mnst'", "mnist5k"]),
    ({"fractions": [0.1 + 0.2]}, ["experiments.tiny.fractions.0", "quoted"]),
    ({"fractions": ["1.5"]}, ["experiments.tiny.fractions.0", "1.5", "between 0 and 1"]),
    ({"sigmas": ["-0.1"]}, ["experiments.tiny.sigmas.0", "at least 0"]),
]


@pytest.mark.parametrize(("fault", "parts"), FAULTS, ids=lambda value: str(value)[:20])
def test_a_faulty_setting_ends_before_any_work(project, fault, parts):
    project.experiments["tiny"] |= fault
    project.refuses_before_any_work("tiny", parts)


def test_a_configfile_alone_plans_its_own_experiments_and_its_faults_are_its_own(project):
    mine, repeated = (project.folder / name for name in ("mine.yaml", "repeated.yaml"))
    mine.write_text("experiments: {other: {chips: 2}}\n")
    repeated.write_text("experiments:\n  other: {chips: 3}\n  other: {chips: 4}\n")
    text = project.make("-n", "--configfile", str(mine))
    assert "Planned: 1 experiment (other), as mine.yaml names them" in text
    assert "Planned: 1 experiment (tiny)" in project.make("-n")
    for given, fault in (
        (["--configfile", str(repeated)], "repeated.yaml, line 3: experiments.other: is given"),
        (["--configfile", str(mine), "--config", "chip=3"], "--config: chip: unknown setting"),
    ):
        run = project.snakemake("-n", *given)
        assert run.returncode != 0
        assert fault in run.stdout + run.stderr
        assert "Traceback" not in run.stdout + run.stderr


def test_missing_data_is_named_in_what_the_user_sees(project):
    project.experiments["tiny"]["dataset"] = "mnist"
    run = project.snakemake("tiny", "--config", "data_root=nowhere")
    assert run.returncode != 0
    assert "train-images-idx3-ubyte" in run.stdout + run.stderr
    assert "Traceback" not in run.stdout + run.stderr
    assert not (project.folder / "results/data/mnist.safetensors").exists()


def test_every_wildcard_is_constrained(project):
    for target in (
        "results/tin/accuracy.csv",
        "results/tiny/chips/relase/sigma-0.3/none/0.csv",
        "results/tiny/masks/release/swin/0.1.npz",
        "results/tiny/chips/release/sigma-x/none/0.csv",
        "results/data/mnst.safetensors",
    ):
        run = project.snakemake("-n", target)
        assert run.returncode != 0
        assert "MissingRuleException" in run.stdout + run.stderr


def test_the_shipped_targets_and_their_job_counts(project):
    """quick: 15 masks and 17 evaluations; end points once per sigma, not per method."""
    import yaml

    from tests import ROOT

    project.experiments = yaml.safe_load((ROOT / "config.yaml").read_text())["experiments"]
    text = project.make("-n", "quick")
    counts = {
        words[0]: int(words[1])
        for words in map(str.split, text.splitlines())
        if len(words) == 2 and words[1].isdigit()
    }
    assert counts["select"] == counts["evaluate"] == 15
    assert counts["evaluate_none_verified"] == counts["evaluate_all_verified"] == 1
    assert counts["train"] == counts["sensitivity"] == counts["prepare"] == 1
    project.make("-n", "all", "lenet_mnist", "lenet_float_mnist")
