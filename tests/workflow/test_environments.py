"""What rules run in: environment files, profiles, and folders elsewhere."""

import json
import os
import re
import tomllib
import zipfile

import yaml

from tests import ROOT
from tests.workflow.conftest import TINY

CONDA = yaml.safe_load((ROOT / "envs/swim.yaml").read_text())
DATA = "results/data/mnist5k.safetensors"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
COMPUTING = {
    "train", "sensitivity", "evaluate", "evaluate_none_verified", "evaluate_all_verified",
    "program", "in_situ", "perturb", "perturb_on_chips", "where",
}  # fmt: skip


def pins(name):
    lines = (ROOT / "envs" / name).read_text().splitlines()
    return [line for line in lines if re.match(r"\w", line)]


def profile(name):
    return yaml.safe_load((ROOT / "profiles" / name / "profile.yaml").read_text())


def test_condas_environment_is_the_pinned_one():
    (by_pip,) = [part["pip"] for part in CONDA["dependencies"] if isinstance(part, dict)]
    assert by_pip == pins("requirements.txt")
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in by_pip)


def test_every_dependency_is_pinned_once():
    for names, file in (
        (PROJECT["dependencies"], "requirements.txt"),
        (PROJECT["optional-dependencies"]["dev"], "requirements-dev.txt"),
        (PROJECT["optional-dependencies"]["slurm"], "requirements-dev.txt"),
    ):
        pinned = [re.sub(r"[-_.]+", "-", pin.split("==")[0]).lower() for pin in pins(file)]
        assert len(pinned) == len(set(pinned))
        for name in names:
            assert re.split(r"[<>=]", name)[0].lower() in pinned


def test_every_rule_names_the_conda_environment():
    rules = [file.read_text() for file in (ROOT / "rules").glob("*.smk")]
    shells = sum(text.count("    shell:\n") for text in rules)
    assert shells == sum(text.count("    conda:\n        conda_environment\n") for text in rules)


# Says what Snakemake asks conda for, and makes an environment of the Python that runs.
STAND_IN = {
    "conda": """#!/bin/bash
case "$*" in
  "info --json") echo '{"conda_prefix": "FOLDER", "platform": "linux-64"}' ;;
  --version) echo "conda 25.1.0" ;;
  config*) echo '{"get": {"channel_priority": "strict"}}' ;;
  *create*)
    while [ "$1" != --prefix ]; do shift; done
    mkdir -p "$2/bin"; ln -s "$(command -v python)" "$2/bin/python" ;;
esac
""",
    "activate": 'export CONDA_PREFIX="$1"\n',
}


def software(project):
    """Rule -> what the report says that it ran in."""
    project.make(DATA, "--report", "report.zip")
    with zipfile.ZipFile(project.folder / "report.zip") as content:
        page = content.read("report/report.html").decode()
    rules, _ = json.JSONDecoder().raw_decode(page, re.search(r"var rules = ", page).end())
    return {name: rule["conda_env"] for name, rule in rules.items()}


def test_the_report_lists_condas_environment_only_where_a_job_ran_in_it(project, monkeypatch):
    project.make(DATA)
    assert software(project) == {"prepare": None}
    commands = project.folder / "conda/bin"
    commands.mkdir(parents=True)
    for name, text in STAND_IN.items():
        (commands / name).write_text(text.replace("FOLDER", str(project.folder / "conda")))
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    project.make(DATA, "--sdm", "conda")
    assert software(project) == {"prepare": CONDA}


def test_the_slurm_profile_is_complete_and_names_real_rules():
    slurm, local = profile("slurm"), profile("default")
    # It replaces the default one.
    assert set(local) - set(slurm) <= {"cores", "resources", "printshellcmds"}
    assert set(slurm["set-resources"]) == COMPUTING


def test_light_rules_stay_local_and_computing_ones_are_submitted():
    for file in (ROOT / "rules").glob("*.smk"):
        for rule in re.split(r"^rule ", file.read_text(), flags=re.MULTILINE)[1:]:
            name = rule.partition(":")[0]
            assert ("localrule: True" in rule) == (name not in COMPUTING), name


def test_results_go_to_another_folder_with_directory(project):
    """`snakemake --directory elsewhere` finds its code in the repository, from anywhere."""
    elsewhere = project.folder.parent / "else where"
    project.experiments["tiny"] = {**TINY, "training": {"epochs": 1, "quantised_epochs": 0}}
    target = "results/tiny/masks/release/swim/0.1.npz"
    options = ["--snakefile", str(project.folder / "Snakefile"), "--directory", str(elsewhere)]
    project.make(*options, target, cwd=project.folder.parent)
    assert (elsewhere / target).is_file()
    assert not (project.folder / "results").exists()
    # A relative data_root is taken from there, too.
    project.experiments["tiny"]["dataset"] = "mnist"
    run = project.snakemake(*options, target, cwd=project.folder.parent)
    assert "data/MNIST/raw" in run.stdout + run.stderr
