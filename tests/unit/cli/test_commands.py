"""Each step by hand, without Snakemake."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from swim.cli import STEPS, main
from swim.reports import cycles_to_accuracy
from swim.reports.plots import accuracy_figure
from swim.runtime.files import load_arrays, load_mask, read_settings, save_mask
from tests.unit.conftest import run


def fails(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main([str(a) for a in arguments])
    assert caught.value.code != 0
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error


@pytest.mark.parametrize("members", [(), ("a",), ("a", "a"), ("a", "b", "c")])
def test_each_of_several_folders_to_explore_has_a_name_of_its_own(capsys, tmp_path, members):
    named = [part for name in members for part in ("--member", name)]
    written = tmp_path / "explorer.html"
    error = fails(capsys, "explore", "one", "two", "--experiment", "both", *named, "--out", written)
    assert "give each of several folders a --member NAME of its own" in error
    assert not written.exists()


@pytest.mark.parametrize("step", STEPS)
def test_every_step_has_help(step):
    text = run(step, "--help")
    assert "Options:" in text
    assert STEPS[step] in " ".join(text.split())
    assert STEPS[step] in " ".join(run("--help").split())
    for line in text.splitlines():
        if line.strip().startswith("--"):
            assert len(line.split()) > 1


def test_help_shows_the_settings_own_words():
    text = run("train", "--help")
    assert "--training-learning-rate" in text
    assert "falls to zero along a cosine" in " ".join(text.split())


@pytest.mark.long
def test_settings_come_as_json_or_flags_and_flags_win(folder):
    settings = '{"training": {"epochs": 0, "quantised_epochs": 0}, "seed": 5}'
    out = folder / "other"
    run("train", "--data", folder / "data", "--out", out, "--settings", settings, "--seed", 6)
    stored = read_settings(out)
    assert (stored["training"]["epochs"], stored["seed"]) == (0, 6)


@pytest.mark.long
def test_selecting_and_evaluating(folder):
    base = folder / "chips" / "mine" / "sigma-0.2"
    for method, fraction in (("swim", "0.1"), ("magnitude", "0.1")):
        run("select", "--model", folder / "model", "--sensitivity", folder / "second", "--out",
            folder / "mask", "--method", method, "--fraction", fraction)  # fmt: skip
        run("evaluate", "--model", folder / "model", "--data", folder / "data", "--mask",
            folder / "mask", "--out", base / method / f"{fraction}.csv", "--sigma", "0.2",
            "--chips", 4, "--test-images", 200, "--device-M", 8, "--device-K", 1)  # fmt: skip
    run("evaluate", "--model", folder / "model", "--data", folder / "data", "--verify", "none",
        "--out", base / "none" / "0.csv", "--clean", base / "clean.csv", "--sigma", "0.2",
        "--chips", 4, "--test-images", 200, "--device-M", 8, "--device-K", 1)  # fmt: skip
    chips = pd.read_csv(base / "swim" / "0.1.csv")
    assert list(chips) == ["chip", "accuracy", "loss", "nwc", "reads", "images"]
    files = [p for p in base.rglob("*.csv")]
    run("summarise", *files, "--experiment", "x", "--model", "m", "--dataset", "d", "--out",
        folder / "accuracy.csv", "--markdown", folder / "table.md")  # fmt: skip
    points = {"devices": ["mine"], "sigmas": ["0.2"], "methods": ["swim", "magnitude"],
              "fractions": ["0.1"]}  # fmt: skip
    assert set(base.parents[1].rglob("*.csv")) >= set(files)
    run("evaluate", "--model", folder / "model", "--data", folder / "data", "--verify", "all",
        "--out", base / "all" / "1.csv", "--sigma", "0.2", "--chips", 4, "--test-images", 200,
        "--device-M", 8, "--device-K", 1)  # fmt: skip
    run("summarise", "--folder", base.parents[1], "--points", json.dumps(points), "--experiment",
        "x", "--model", "m", "--dataset", "d", "--out", folder / "whole.csv")  # fmt: skip
    part, whole = (pd.read_csv(folder / name) for name in ("accuracy.csv", "whole.csv"))
    pd.testing.assert_frame_equal(
        whole[whole["method"] != "all"].reset_index(drop=True), part, check_dtype=False
    )
    printed = run("plot", folder / "accuracy.csv", "--out", folder / "figures")
    assert [line.rsplit("/", 1)[1] for line in printed.split()] == [
        f"{figure}-sigma-0.2.{suffix}"
        for figure in accuracy_figure.fitting(part)
        for suffix in ("png", "svg", "pdf")
    ]
    written = folder / "cycles.csv"
    chips_folder = base.parents[1]
    run("cycles", chips_folder, "--experiment", "x", "--within", "2", "--out", written)
    found = cycles_to_accuracy.read(written)
    assert found["method"].tolist() == ["swim", "magnitude"]
    assert set(found["within"]) == {"2"}
    run("cycles", chips_folder, "--experiment", "x", "--within", "2", "--points",
        json.dumps(points), "--out", folder / "again.csv")  # fmt: skip
    assert (folder / "again.csv").read_text() == written.read_text()
    run("cycles", "--table", written, "--table", written, "--out", folder / "joined.csv",
        "--markdown", folder / "joined.md")  # fmt: skip
    assert len(cycles_to_accuracy.read(folder / "joined.csv")) == 4
    assert "Within 2 points" in (folder / "joined.md").read_text()
    printed = run("plot", written, "--figure", "cycles", "--out", folder / "figures")
    assert printed.split()[0].endswith("cycles-sigma-0.2.png")


@pytest.mark.long
def test_programming_by_a_policy(folder):
    """Cycles are counted, and more chips go on from those that are done."""
    out = folder / "programmed.csv"
    shared = ["--model", folder / "model", "--data", folder / "data", "--sensitivity",
              folder / "second", "--sigma", "0.2", "--test-images", 100, "--device-M", 4,
              "--device-K", 2, "--device-write-verify", "redraw"]  # fmt: skip
    for chips in (2, 4):
        printed = run("program", *shared, "--out", out, "--policy", "swim_device", "--budget",
                      "0.2", "--chips", chips)  # fmt: skip
    assert "going on after 2 chips" in printed
    table = pd.read_csv(out)
    assert list(table) == ["chip", "accuracy", "loss", "nwc", "reads", "images"]
    assert table["chip"].tolist() == [0, 1, 2, 3]
    assert table["nwc"].nunique() == 4
    assert table["nwc"].between(0.19, 0.21).all()
    run("program", *shared, "--out", folder / "pair.csv", "--policy", "reslice_pair", "--budget",
        "0", "--chips", 4)  # fmt: skip
    pair = pd.read_csv(folder / "pair.csv")
    assert (pair["nwc"] == 0).all()
    assert (pair["reads"] == 1).all()
    # A mask's cycles are counted on the same device, too.
    run("evaluate", "--verify", "all", *shared[:4], *shared[6:], "--out", folder / "all.csv",
        "--chips", 2)  # fmt: skip
    everything = pd.read_csv(folder / "all.csv")
    assert (everything["nwc"] == 1).all()
    assert (everything["reads"] > 2).all()


def test_an_estimators_file_says_what_made_it_and_suits_its_method(folder):
    run("sensitivity", "--model", folder / "model", "--data", folder / "data", "--out",
        folder / "gradient", "--estimator", "gradient", "--seed", 3)  # fmt: skip
    made = load_arrays(folder / "gradient")[1]
    assert made["estimator"] == "gradient"
    assert "seed" not in made  # it draws nothing
    run("select", "--model", folder / "model", "--sensitivity", folder / "gradient", "--out",
        folder / "mask", "--method", "gradient")  # fmt: skip
    mask, settings = load_mask(folder / "mask")
    assert settings["method"] == "gradient"
    assert sum(int(layer.sum()) for layer in mask.values()) == 10_592


@pytest.mark.long
def test_perturbing_and_correlating(folder):
    base = folder / "perturbation" / "mine"
    perturb = ["perturb", "--model", folder / "model", "--data", folder / "data", "--weights", 30,
               "--images", 200, "--device-M", 8, "--device-K", 1]  # fmt: skip
    for sigma in ("0.1", "0.3"):
        run(*perturb, "--sigma", sigma, "--out", base / f"sigma-{sigma}.csv")
    one, three = (pd.read_csv(base / f"sigma-{sigma}.csv") for sigma in ("0.1", "0.3"))
    assert len(one) == 30
    assert one["layer"].nunique() == 5
    assert one["index"].equals(three["index"])
    np.testing.assert_allclose(3 * one["delta"], three["delta"])
    weights, _ = load_arrays(folder / "model")
    for row in one.itertuples():
        assert row.weight == weights[row.layer].flat[row.index]
    std = np.sqrt(sum(4.0**j for j in range(8))) / 255 * 0.1
    full = one["layer"].map(lambda name: np.abs(weights[name]).max())
    np.testing.assert_allclose(one["delta"], std * full, rtol=1e-6)
    printed = run("correlate", *base.glob("*.csv"), "--model", folder / "model", "--sensitivity",
        folder / "second", "--method", "swim", "--method", "SM", "--method", "magnitude",
        "--experiment", "x", "--label", "m", "--dataset", "d", "--out", folder / "correlation.csv",
        "--scores", folder / "scores.csv", "--markdown", folder / "c.md", "--figure",
        folder / "f.png")  # fmt: skip
    # Five layers, and all of them, at two sigmas.
    assert "correlate: 12 of 12 groups of weights" in printed
    table = pd.read_csv(folder / "correlation.csv")
    assert len(table) == 2 * 2 * 6
    second, _ = load_arrays(folder / "second")
    for row in pd.read_csv(folder / "scores.csv").itertuples():
        h = second[row.layer].flat[row.index]
        assert row.swim == pytest.approx(h * np.abs(weights[row.layer]).max() ** 2)
        assert row.magnitude == pytest.approx(abs(row.weight))
    assert "x: scores against measured loss, m on d" in (folder / "c.md").read_text()
    assert (folder / "f.svg").exists()


@pytest.mark.long
def test_a_killed_measurement_goes_on(folder, monkeypatch):
    from swim.evaluation import perturbation

    arguments = ["perturb", "--model", folder / "model", "--data", folder / "data", "--weights",
                 20, "--images", 100]  # fmt: skip
    run(*arguments, "--out", folder / "whole.csv")
    made = perturbation.stream

    def killed(*args, **kwargs):
        for n, row in enumerate(made(*args, **kwargs)):
            if n == 9:
                raise KeyboardInterrupt
            yield row

    with monkeypatch.context() as patch:
        patch.setattr(perturbation, "stream", killed)
        patch.setattr("swim.runtime.finished_rows.Progress.add", lambda self, row: (
            self.rows.append(list(row)), self.save()))  # fmt: skip
        with pytest.raises((KeyboardInterrupt, AssertionError)):
            run(*arguments, "--out", folder / "part.csv")
    assert not (folder / "part.csv").exists()
    text = run(*arguments, "--out", folder / "part.csv")
    assert "going on after 9 weights" in text
    assert (folder / "part.csv").read_bytes() == (folder / "whole.csv").read_bytes()
    assert "going on after 20 weights" in run(*arguments, "--out", folder / "part.csv")
    assert "going on" not in run(*arguments, "--out", folder / "part.csv", "--images", 50)


def test_the_mask_step_loads_no_torch(folder):
    code = (
        "import sys; from swim.cli import cli; "
        f"cli.main({['select', '--model', str(folder / 'model'), '--sensitivity', str(folder / 'second'), '--out', str(folder / 'm2')]!r}, standalone_mode=False); "  # noqa: E501
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (folder / "m2").exists()


@pytest.mark.long
def test_logs_say_where_it_ran_and_hold_no_progress_bars(folder):
    command = [sys.executable, "-m", "swim", "evaluate", "--model", folder / "model", "--data",
               folder / "data", "--verify", "all", "--out", folder / "o.csv", "--chips", "3",
               "--test-images", "100"]  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    first, last = done.stderr.splitlines()  # between them a line every ten seconds
    assert first == "all 1, sigma 0.1: 0 of 3 chips"
    assert re.fullmatch(r"all 1, sigma 0.1: accuracy [\d.]+ ± [\d.]+ %, 3 chips, [\d.]+ s", last)
    line, programmed = done.stdout.splitlines()
    assert programmed.startswith("programmed: 105,918 weights (")
    assert line.startswith("on ")
    assert f"1 arithmetic thread, torch {torch.__version__.partition('+')[0]}" in line


@pytest.mark.long
def test_arithmetic_threads_are_the_settings_not_what_a_scheduler_hands_out(folder):
    """A reduction over two threads would round differently; so would a network trained by it."""
    command = [sys.executable, "-m", "swim", "evaluate", "--model", folder / "model", "--data",
               folder / "data", "--verify", "none", "--chips", "2", "--sigma", "0.3"]  # fmt: skip
    rows = {}
    for name in (None, "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        added, out = {name: "2"} if name else {}, folder / f"{name}.csv"
        subprocess.run([*command, "--out", out], check=True, env={**os.environ, **added})
        rows[name] = out.read_bytes()
    assert rows["OMP_NUM_THREADS"] == rows["MKL_NUM_THREADS"] == rows[None]


def test_describe_stores_versions_and_hardware(folder):
    run("describe", "--settings", '{"chips": 3}', "--out", folder / "settings.json")
    stored = json.loads((folder / "settings.json").read_text())
    assert stored["chips"] == 3
    assert stored["versions"]["torch"] == importlib.metadata.version("torch")
    assert stored["hardware"]["cores"] >= 1
    assert stored["hardware"]["processor"]


def test_a_mask_of_another_network_is_refused(folder, capsys):
    save_mask(folder / "other.npz", {"features.0.weight": np.ones((3, 3), bool)}, {})
    error = fails(capsys, "evaluate", "--model", folder / "model", "--data", folder / "data",
                  "--mask", folder / "other.npz", "--out", folder / "never")  # fmt: skip
    assert "other.npz: is of another network than" in error


SELECT = "select --model {model} --out {out}"
EVALUATE = "evaluate --model {model} --data {data} --out {out}"
PERTURB = "perturb --model {model} --data {data} --out {out}"
CORRELATE = "correlate --model {model} --experiment e --label l --dataset d --out {out}"
PROGRAM = "program --model {model} --data {data} --sensitivity {second} --out {out} --chips 2"
WRONG = {
    SELECT + " --method swin": "did you mean 'swim'",
    SELECT: "needs --sensitivity",
    SELECT + " --fraction 0.10": 'spelt "0.1"',
    SELECT + " --settings {{": "not JSON: '{'",
    SELECT + " --settings 3": "not a JSON object: '3'",
    "summarise {data} --folder x --experiment e --model m --dataset d --out {out}": "either CHIPS",
    "summarise --folder x --points {{}} --experiment e --model m --dataset d --out {out}": (
        "points.devices"
    ),
    "cycles x --table {data} --experiment e --out {out}": "either FOLDERS with --experiment",
    "cycles x --out {out}": "either FOLDERS with --experiment",
    "cycles x --experiment e --out {out}": "x: no DEVICE/sigma-SIGMA/METHOD/FRACTION.csv in it",
    "cycles x --experiment e --within 0.10 --points {{}} --out {out}": "points.devices",
    "cycles --table {data} --out {out}": "carries no digest",
    "plot {data} --figure cycles --figure reads --out {out}": "ask for them alone",
    "where --model {data} --policy uswim --out {out}": "not a checkpoint",
    "where --model {model} --out {out}": "give --mask or --policy",
    "plot {data} --figure cycles --out {out}": "carries no digest",
    SELECT + ' --settings {{"sed":1}}': "unknown setting; did you mean 'seed'",
    SELECT + " --sensitivity {data}": "another network",
    SELECT + " --method fisher": "method 'fisher' needs --sensitivity",
    SELECT + " --method fisher --sensitivity {second}": (
        "second: was made by the estimator 'recursion', but method 'fisher' needs "
        "'empirical_fisher'"
    ),
    "select --model no/file --out {out}": "no such file",
    "select --model {data} --out {out}": "not a checkpoint",
    EVALUATE: "either --mask or --verify",
    EVALUATE + " --mask {model}": "not a complete mask",
    EVALUATE + " --verify all --sigma -1": "at least 0",
    EVALUATE + " --verify all --sigma inf": "quoted decimal",
    EVALUATE + " --verify all --sigma 1e1000000": "between 0 and 1000",
    EVALUATE + " --verify all --chips 1e400": "'1e400' is not a valid integer",
    EVALUATE + f" --verify all --chips 1{'0' * 400}": "less than or equal to 1000000000",
    EVALUATE + " --verify all --precision nan": "precision: must be a finite number",
    EVALUATE + " --verify all --seed -1": "seed: input should be greater than or equal to 0",
    EVALUATE + ' --verify all --settings {{"chips":3,"chips":4}}': "'chips' is given twice",
    EVALUATE + ' --verify all --settings {{"seed":NaN}}': "seed: must be a finite number",
    EVALUATE + ' --verify all --settings {{"seed":1e400}}': "seed: must be a finite number",
    EVALUATE + f' --verify all --settings {{{{"seed":{"1" * 5000}}}}}': "not JSON: ",
    EVALUATE + f" --verify all --settings {'[' * 50_000}": "nested too deeply",
    EVALUATE + " --verify all --clean {out}": "--clean and --out are the same file",
    EVALUATE.replace("{out}", "{data}") + " --verify all": "--out would write over --data",
    SELECT.replace("{out}", "{model}/x"): "is a file, not a folder",
    SELECT.replace("{out}", "{second}/../model"): "--out would write over --model",
    'describe --settings {{"a":Infinity}} --out {out}': "a: must be a finite number",
    'prepare --dataset x --own {{"file":"{out}"}} --out {out}': "would write over the images",
    "budget . --max-drop nan": "nan is not a finite number",
    "selective-write --dev_var nan": "nan is not a finite number",
    "selective-write --dev_var inf": "inf is not in the range",
    "selective-write --mask_p nan": "nan is not a finite number",
    "selective-write --mask_p 1.5": "1.5 is not in the range",
    f"selective-write --seed 1{'0' * 30}": "is not in the range",
    "selective-write --arithmetic_threads 1000000": "is not in the range",
    EVALUATE + " --verify all --device-clip true": "need write_verify: redraw or pulse",
    PROGRAM + " --policy swim_devise": "did you mean 'swim_device'",
    PROGRAM + " --budget -1": "at least 0",
    PROGRAM + " --policy compensate": "compensate decides by what is read after each write",
    PROGRAM + " --device-pulse-gain 0": "greater than 0",
    PROGRAM.replace("{second}", "{data}"): "is of another network than",
    EVALUATE.replace("{data}", "{model}") + " --verify all": "not a prepared data set",
    "sensitivity --model {model} --data {data} --out {out} --accelerator cuda": "no GPU",
    PERTURB + " --sigma 0": "change must be positive, not 0.0 of its full scale",
    PERTURB + " --weights 1": "greater than or equal to 2",
    PERTURB.replace("{data}", "{model}"): "not a prepared data set",
    CORRELATE: "Missing argument 'FILES...'",
    CORRELATE + " no/sigma-1.csv --method swim": "method 'swim' needs --sensitivity, a file of the",
    CORRELATE + " sigma-1.csv --method fisher --sensitivity {second}": "'empirical_fisher'",
    CORRELATE + " sigma-1.csv --method swin": "did you mean 'swim'",
    CORRELATE + " no/sigma-1.csv --method magnitude": "no/sigma-1.csv: cannot be read",
    CORRELATE + " sigma-1.csv --method swim --sensitivity {data}": "another network",
}


@pytest.mark.parametrize("line", WRONG)
def test_wrong_input_is_one_clear_message(folder, capsys, line):
    if WRONG[line] == "no GPU" and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    files = {name: folder / name for name in ("model", "data", "second", "never")}
    text = line.format(out=files.pop("never"), **files)
    assert WRONG[line] in fails(capsys, *text.split())
    assert not (folder / "never").exists()


def test_a_cut_off_checkpoint_is_named(folder, capsys):
    whole = (folder / "model").read_bytes()
    (folder / "half").write_bytes(whole[: len(whole) // 2])
    error = fails(capsys, "sensitivity", "--model", folder / "half", "--data", folder / "data",
                  "--out", folder / "never")  # fmt: skip
    assert "half: not a complete safetensors file" in error
