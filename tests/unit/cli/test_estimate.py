"""swim estimate: counts of a plan, times of parts, and errors; what parts give."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from swim.cli import cli, run_estimate, stored_times
from swim.cli.planned_jobs import STEPS, jobs
from swim.cli.run_estimate import RunEstimate
from swim.cli.stored_times import Subject
from swim.errors import SettingError
from swim.runtime import files
from swim.settings import load
from swim.settings.plan import Plan

CONFIG = {
    "devices": {"release": {"M": 8, "K": 1}, "counted": {"write_verify": "redraw"}},
    "experiments": {
        "one": {
            "dataset": "mnist5k", "devices": ["release"], "sigmas": ["0.1", "0.2"],
            "methods": ["swim", "random"], "fractions": ["0", "0.1", "0.3", "1"], "chips": 8,
            "training": {"epochs": 2, "quantised_epochs": 0}, "arithmetic_threads": 2,
        },
        "two": {"devices": ["counted"], "methods": ["swim", "marginal"], "chips": 100,
                "precision": 0.001, "images_per_chip": "auto", "correlate": {}},
    },
}  # fmt: skip
# Seconds, bytes and counts of each kind of part.
PARTS = {
    "train": {
        "step": 1.0, "quantised_step": 1.0, "threads": 2, "state": 1000.0, "memory": 2e9,
    },
    "sensitivity": {"image": 0.01, "offset": 1.0, "bytes": 2000.0, "memory": 1e9},
    "passes": {"setup": 1.0, "whole": 0.001, "offset": 0.01, "sampled": 0.002, "group": 8.0,
               "weights": 1e6, "state": 1000.0, "memory": 1e9, "cost:release": 10.0,
               "cost:counted": 500.0},
    "program": {"chip": 0.25, "memory": 1e9},
    "perturb": {"weight_image": 1e-5, "memory": 1e9},
}  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def asked(monkeypatch):
    """Kinds of the parts that are measured; they take what PARTS says."""
    kinds = []

    def measured(subject, parts, name, copies=1):
        kinds.extend(part["kind"] for part in parts)
        beside = {"start": 2.0, "runs_on": "on cpu", "cores": 1.0}
        found = [{**PARTS[part["kind"]], **beside} for part in parts]
        for part, result in zip(parts, found, strict=True):
            files.write_json(stored_times.folder() / f"{subject.key(part)}.json", result)
        return found

    monkeypatch.setattr(stored_times, "measure", measured)
    return kinds


def estimate(*arguments, status=0):
    result = CliRunner().invoke(cli, ["estimate", *arguments])
    if status:
        assert isinstance(result.exception, SettingError)
        return str(result.exception)
    assert result.exit_code == 0, result.output + str(result.exception)
    return result.output


def row_of(said, name, step):
    """The cells of a row of the printed table; a size is two of them."""
    return next(row for row in map(str.split, said.splitlines()) if row[:2] == [name, step])


def test_core_hours_are_the_counts_of_the_plan_times_the_parts(folder, asked):
    run = RunEstimate(load(CONFIG), ["one"])
    times = {**PARTS, "start": 2.0}
    costs = run.costs(lambda name, part: {**times[part["kind"]], "start": 2.0})
    seconds = {step: sum(c.seconds[1] for c in costs if c.job.step == step) for step in STEPS}
    # 4,000 training images are 32 steps an epoch.
    assert seconds["training"] == pytest.approx(2 + 2 * 32)
    # One pass, and four masks of a million weights.
    assert seconds["scores"] == pytest.approx(2 + 1 + 4000 * 0.01 + 4 * (3 + 0.3))
    # Two sigmas; two methods at two fractions, none, all; 8 chips on 1,000 images; before
    # programming once a sigma.
    point = 2 + 1 + 8 * 0.25 + 8 * 1000 * 0.001
    assert seconds["evaluation"] == pytest.approx(2 * (6 * point + 1.0))
    assert {c.job.threads for c in costs if c.job.step == "evaluation"} == {2}
    made = next(c for c in costs if c.job.rule == "prepare")
    assert made.disk == 5000 * (28 * 28 + 8)
    chips = next(c for c in costs if c.job.rule == "evaluate")
    assert chips.memory == 1e9 + 2 * 1000 * 28 * 28 * 4


def test_the_command_shows_the_table_and_measures_each_part_once(folder, asked):
    said = estimate("one", "--cores", "4")
    assert asked == ["train", "sensitivity", "passes", "program"]
    row = row_of(said, "one", "training")
    assert row[2:4] == ["1", f"{2 * 66 / 3600:.2g}"]
    assert "Wall time on 4 cores: at least" in said
    assert "With a precision" not in said
    estimate("one")
    assert len(asked) == 4
    estimate("one", "--measure")
    assert len(asked) == 8
    assert "core-hours" in estimate("one", "--no-measure")
    assert len(asked) == 8
    assert not (folder / "results").exists()


def test_with_a_precision_chips_are_a_range_and_the_spread_is_said(folder, asked):
    said = estimate("two")
    assert "a standard deviation of 2 points between chips" in said
    row = row_of(said, "two", "evaluation")
    least, assumed, most = float(row[4]), float(row[3]), float(row[5].replace(",", ""))
    assert least < assumed < most
    wider = estimate("two", "--spread", "4")
    assert float(row_of(wider, "two", "evaluation")[3]) > assumed
    # A policy, and a device that is written cycle by cycle, are programmed each in their own way.
    assert asked.count("program") == 4


def test_errors_say_what_to_do(folder, asked):
    assert "unknown experiment 'on'; did you mean 'one'?" in estimate("on", status=1)
    assert "--no-measure" in estimate("one", "--no-measure", status=1)
    (folder / "config.yaml").write_text(
        yaml.safe_dump({**CONFIG, "experiments": {"a": {"chip": 3}}})
    )
    assert "config.yaml, line" in (said := estimate(status=1))
    assert "chip" in said
    assert "cannot be read" in estimate("--config", "none.yaml", status=1)
    mine = {"data_sets": {"mine": {"file": "x.npz"}}, "experiments": {"a": {"dataset": "mine"}}}
    content = {**CONFIG, **mine, "defaults": {"devices": ["release"]}}
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    assert "snakemake --cores 1 results/data/mine.safetensors" in estimate("a", status=1)


def test_images_of_ones_own_are_known_by_their_prepared_file(folder, asked):
    mine = {"data_sets": {"mine": {"file": "x.npz"}},
            "experiments": {"a": {"dataset": "mine", "devices": ["release"]}}}  # fmt: skip
    run = RunEstimate(load({**CONFIG, **mine}), ["a"])
    arrays = {
        "train_images": np.zeros((30, 3, 8, 9), np.uint8), "train_labels": np.zeros(30, np.int64),
        "test_images": np.zeros((20, 3, 8, 9), np.uint8), "test_labels": np.zeros(20, np.int64),
    }  # fmt: skip
    record = {"dataset": "mine", "classes": 4, "augmentation": "none", "mean": [0], "std": [1]}
    files.save_arrays(folder / "results/data/mine.safetensors", arrays, record)
    images = run.images("mine")
    assert (images.shape, images.classes, images.train, images.test) == ((3, 8, 9), 4, 30, 20)


def test_files_of_settings_are_merged_as_snakemake_merges_them(folder, asked):
    (folder / "mine.yaml").write_text(yaml.safe_dump({"experiments": {"one": {"chips": 16}}}))
    said = estimate("one", "--config", "config.yaml", "--config", "mine.yaml")
    before = estimate("one")
    rows = [row_of(text, "one", "evaluation") for text in (said, before)]
    assert float(rows[0][3]) > float(rows[1][3])


def test_a_network_that_another_experiment_trains_is_counted_with_its_training():
    other = {"checkpoint": "results/one/model.safetensors", "devices": ["release"]}
    experiments = {**CONFIG["experiments"], "other": other}
    plan = Plan(load({**CONFIG, "experiments": experiments}))
    rules = [job.rule for job in jobs(plan, ["other"])]
    assert (rules.count("train"), rules.count("adopt")) == (1, 1)
    both = jobs(plan, ["other", "one"])
    assert [job.rule for job in both].count("train") == 1
    made = set()
    for job in both:  # a job comes after those that it waits for
        assert set(job.needs) <= made
        made.add(job.output)


def test_a_part_is_kept_for_its_settings_code_and_machine(folder):
    request = {"model": {}, "compute": {"arithmetic_threads": 1}}
    part = {"kind": "train", "training": {"batch_size": 5}}
    one = Subject(request, "lenet").key(part)
    assert Subject(dict(request), "lenet").key(dict(part)) == one
    others = [
        Subject(request, "mlp3").key(part),
        Subject({**request, "classes": 3}, "lenet").key(part),
        Subject(request, "lenet", {"ONEDNN_MAX_CPU_ISA": "AVX2"}).key(part),
        Subject(request, "lenet").key({"kind": "train", "training": {"batch_size": 6}}),
    ]
    assert len({one, *others}) == 5


def test_the_command_itself_loads_no_torch_and_no_snakemake():
    code = "import sys, swim.cli.estimate; print({'torch', 'snakemake'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def subject(**changes):
    request = {
        "model": {"name": "mlp3", "weight_bits": 4, "activation_bits": 4}, "shape": [1, 28, 28],
        "classes": 3, "augmentation": "none", "test": 40, "batch": 16,
        "compute": {"accelerator": "cpu", "arithmetic_threads": 1}, **changes,
    }  # fmt: skip
    return Subject(request, "mlp3")


@pytest.mark.long
def test_parts_are_measured_in_a_process_and_are_numbers(folder):
    """Seconds are positive and finite; how many is for benchmarks."""
    release = {"M": 8, "K": 1}
    program = {"kind": "program", "sigma": "0.3", "budget": "0.1"}
    parts = [
        {"kind": "train", "training": {"batch_size": 16}, "threads": 64},
        {"kind": "sensitivity", "job": {"estimator": "recursion", "batch_size": 16}},
        {"kind": "passes", "arithmetic": "float32", "batch_size": 16,
         "devices": {"release": release}},
        {**program, "device": release, "method": "mask"},
        {**program, "device": {**release, "write_verify": "redraw"}, "method": "marginal"},
        {"kind": "in_situ", "device": release, "sigma": "0.3",
         "in_situ": {"batch_size": 16, "momentum": 0.9}},
        {"kind": "perturb", "batch_size": 16, "weights": 12},
    ]  # fmt: skip
    found = stored_times.measure(subject(), parts, "tiny")
    assert len(found) == len(parts)
    for part, times in zip(parts, found, strict=True):
        assert times["runs_on"].startswith("on cpu, 1 arithmetic thread")
        numbers = {key: x for key, x in times.items() if key != "runs_on"}
        assert all(x >= 0 for key, x in numbers.items() if key != "memory"), part
        assert all(math.isfinite(x) for key, x in numbers.items() if key != "memory"), part
        assert stored_times.stored(subject(), part) == times
    train, _, passes, mask, policy, in_situ, _ = found
    assert 0 < train["step"] < 60
    assert passes["group"] == 8
    assert min(mask["chip"], policy["chip"], in_situ["step"], passes["whole"]) > 0
    # As mlp3 has them.
    assert passes["state"] >= 4 * passes["weights"] > 0
    assert not (folder / "results").exists()


@pytest.mark.long
def test_a_part_that_cannot_be_measured_names_itself_and_the_reason(folder):
    fault = subject(shape=[1, 6, 6])
    with pytest.raises(SettingError, match="'train' cannot be measured: mlp3 does not take"):
        stored_times.measure(
            fault, [{"kind": "train", "training": {"batch_size": 16}, "threads": 1}], "tiny"
        )
    with pytest.raises(SettingError, match="'passes' ended with status 1: KeyError"):
        stored_times.measure(subject(), [{"kind": "passes"}], "tiny")


def test_equal_parts_of_experiments_have_one_text(folder):
    config = load(CONFIG)
    parts = RunEstimate(config, ["one", "two"]).parts()
    assert set(parts) == {"one", "two"}
    for own in parts.values():
        for text, part in own.items():
            assert run_estimate.text_of(part) == text == json.dumps(part, sort_keys=True)
