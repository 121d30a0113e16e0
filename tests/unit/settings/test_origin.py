"""Settings as their author wrote them: where each comes from, and what YAML changes silently."""

import json
import os
from pathlib import Path

import pytest
import yaml

from swim import settings
from swim.errors import SettingError
from tests import ROOT

SHIPPED = """\
devices:
  four_bit: {}
experiments:
  quick:
    chips: 25
    training: {epochs: 2}
  shared: &shared
    chips: 7
  other:
    <<: *shared
    seed: 1
"""


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text, name="mine.yaml"):
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return name

    write(SHIPPED, "config.yaml")
    return write


def load(*names, command_line=None):
    """As the rules do, with Snakemake's merging of mappings."""
    sources = [settings.read_source(name) for name in ("config.yaml", *names)]
    content = {}
    for name in ("config.yaml", *names):
        content = settings.merge(content, yaml.safe_load(Path(name).read_text(encoding="utf-8")))
    if command_line:
        sources.append(settings.of_command_line(command_line))
        content = settings.merge(content, command_line)
    return settings.load(content, settings.Origins(sources))


def fault(*names, **options):
    with pytest.raises(SettingError) as caught:
        load(*names, **options)
    return str(caught.value)


def test_a_fault_is_said_of_the_file_and_line_that_has_it(files):
    files("experiments:\n  mine:\n    chips: 1\n  quick: {seed: -1}\n")
    assert fault("mine.yaml").splitlines() == [
        "mine.yaml, line 4: experiments.quick.seed: input should be greater than or equal to 0 "
        "(got -1)",
        "mine.yaml, line 3: experiments.mine.chips: input should be greater than or equal to 2 "
        "(got 1)",
    ]


def test_a_fault_of_the_shipped_file_stays_its_own(files):
    files("experiments: {mine: {chips: 3}}\n")
    files(SHIPPED.replace("25", "1"), "config.yaml")
    assert fault("mine.yaml").startswith("config.yaml, line 5: experiments.quick.chips: ")


def test_of_two_files_the_last_that_sets_a_value_is_named(files):
    files("experiments: {mine: {chips: 1}}\n")
    files("experiments: {mine: {seed: 3}}\n", "more.yaml")
    assert fault("mine.yaml", "more.yaml").startswith("mine.yaml, line 1: experiments.mine.chips")
    files("experiments:\n  mine:\n    chips: 0\n", "more.yaml")
    assert fault("mine.yaml", "more.yaml").startswith("more.yaml, line 3: experiments.mine.chips")


def test_a_fault_across_settings_is_said_of_the_file_that_names_the_section(files):
    files("experiments:\n  quick:\n    training: {epochs: 5, warmup_epochs: 9}\n")
    assert fault("mine.yaml").startswith("mine.yaml, line 2: experiments.quick: ")
    files("defaults: {devices: [none_such]}\n")
    assert fault("mine.yaml").startswith("mine.yaml, line 1: experiments.quick.devices: unknown")


def test_a_fault_on_the_command_line_is_said_of_it(files):
    message = fault(command_line={"experiments": {"quick": {"chips": "3"}}, "data_rot": 5})
    lines = sorted(message.splitlines())
    assert lines[0].startswith("--config: data_rot: unknown setting; did you mean 'data_root'")
    assert lines[1].startswith("--config: experiments.quick.chips: ")
    assert "as text: write it into a file" in lines[1]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a: 1\nb: 2\na: 3\n", ["line 3: a: is given twice, first in line 1"]),
        ('a: 1\n"a": 2\n', ["line 2: a: is given twice"]),
        ("a:\n  x: {b: 1, c: 2, b: 3}\n", ["line 2: a.x.b: is given twice"]),
        ("a: &a {}\nb:\n  <<: *a\n  <<: *a\n", ["line 4: b.<<: is given twice", "[*a, *b]"]),
        ("a: [{b: 1, b: 2}]\n", ["a.0.b: is given twice"]),
        ("a: 010\n", ["line 1: a: YAML reads 010 in base 8, as 8", '"010"']),
        ("a: [-0_7]\n", ["a.0: YAML reads -0_7 in base 8, as -7"]),
        ("a: 1:30\n", ["a: YAML reads 1:30 in base 60"]),
        ("a: 190:20:30.15\n", ["base 60"]),
        ("a: 2024-01-01\n", ["a: YAML reads 2024-01-01 as a date"]),
        ("a: 2024-13-45\n", ["as a date"]),
        ("a: " + "1" * 5000 + "\n", ["a: is a number of 5000 characters"]),
        ("a: =\n", ["a: = has a meaning of its own in YAML"]),
        ("a: !!python/tuple [1]\n", ["the YAML tag !!python/tuple is not for settings"]),
        ("a: !!set {b}\n", ["!!set"]),
        ("yes: 1\n", ["line 1: yes: YAML reads yes as true or false as a key; quote it"]),
        ("1: 1\n", ["YAML reads 1 as a number as a key"]),
        ("a: {~: 1}\n", ["YAML reads ~ as nothing as a key"]),
        ("? [a, b]\n: 1\n", ["a key must be text"]),
        ("a: &a {b: *a}\n", ["contains itself"]),
        ("a: &a {<<: *a}\n", ["contains itself"]),
        ("a: {<<: 3}\n", ["takes a mapping"]),
        ("a: {<<: *none}\n", ["line 1: is not valid YAML: found undefined alias"]),
        ("a:\n\tb: 1\n", ["line 2: is not valid YAML", "tab"]),
        ("a: b: c\n", ["line 1: is not valid YAML", "colon"]),
        ("a: 1\n---\nb: 2\n", ["line 2: is not valid YAML"]),
        ("a: [1\n", ["is not valid YAML"]),
        ("a: \x01\n", ["is not valid YAML"]),
        (b"a: \xff\n", ["is not UTF-8 text (byte 3)"]),
        ("", ["is empty"]),
        ("# nothing\n", ["is empty"]),
        ("- a\n", ["holds no `key: value` settings"]),
        ("[1, 2]", ["holds no `key: value` settings"]),
        ('{"a": 1, "a": 2}', ["'a' is given twice in one object"]),
        ("[" * 100_000, ["nested too deeply"]),
        ("{a: " * 80 + "1" + "}" * 80, ["nested more than 50 levels"]),
        ("a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
            f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 10)}]\n"
            for i in range(9)), ["stands for more than 100,000 settings"]),
    ],
    ids=lambda value: str(value)[:25],
)  # fmt: skip
def test_what_a_yaml_loader_would_change_silently_is_named_with_its_line(files, text, parts):
    with pytest.raises(SettingError) as caught:
        settings.read_source(files(text))
    message = str(caught.value)
    assert message.startswith("mine.yaml")
    for part in parts:
        assert part in message
    assert len(message) < 2000


def test_all_faults_of_a_file_are_reported_at_once(files):
    with pytest.raises(SettingError) as caught:
        settings.read_source(files("a: 010\nb: 1:30\nb: 2\nyes: 3\n"))
    assert len(str(caught.value).splitlines()) == 4


def test_a_file_that_cannot_be_read_is_named(files):
    for name in ("none.yaml", "."):
        with pytest.raises(SettingError, match=r"cannot be read"):
            settings.read_source(name)


def test_what_can_be_read_but_once_is_left_alone(files):
    os.mkfifo("pipe")
    assert settings.read_source("pipe").keys() == []


def test_anchors_merges_and_quoted_numbers_are_no_fault(files):
    config = load(files('experiments: {mine: {sigmas: ["0.1"], seed: 0x10, chips: 1_0}}\n'))
    assert config.experiments["other"].chips == 7
    assert (config.experiments["mine"].seed, config.experiments["mine"].chips) == (16, 10)
    settings.read_source(files(json.dumps({"a": {"b": 1e-3}}), "mine.json"))


def test_the_shipped_configuration_is_read_without_a_fault():
    source = settings.read_source(ROOT / "config.yaml")
    assert "quick" in source.keys("experiments")
    assert source.keys("comparisons") == ["lenet_cycles"]


def test_an_empty_section_does_not_silently_remove_what_another_file_says(files):
    assert (
        "mine.yaml, line 2: experiments.quick: is empty, which would remove what config.yaml"
        in (fault(files("experiments:\n  quick:\n")))
    )
    assert "mine.yaml, line 1: devices: is empty" in fault(files("devices:\n"))
    load(files("experiments:\n  quick: {}\n  new:\ncomparisons:\n"))


def test_names_that_the_user_adds(files):
    files("experiments: {mine: {}, quick: {chips: 3}}\ncomparisons: {c: {experiments: [mine]}}\n")
    sources = [settings.read_source(name) for name in ("config.yaml", "mine.yaml")]
    sources.append(settings.of_command_line({"experiments": {"mine": {}, "last": {}}}))
    origins = settings.Origins(sources)
    assert origins.named("experiments") == ["mine", "quick", "last"]
    assert origins.named("comparisons") == ["c"]
    assert settings.Origins(sources[:1]).named("experiments") == []


def test_what_yaml_made_of_a_value_is_said(files):
    assert "(got no, which YAML reads as False; quote it if text is meant)" in fault(
        files("experiments: {mine: {dataset: no}}\n")
    )
    assert "must be a finite number (got .inf)" in fault(
        files("experiments: {mine: {precision: .inf}}\n")
    )
    assert "(got 0x1, which YAML reads as 1)" in fault(files("experiments: {mine: {chips: 0x1}}\n"))


PATHS = [
    ("results/mine/model.safetensors", "this experiment itself makes"),
    ("./results/mine/model.safetensors", "this experiment itself makes"),
    ("results/../results/mine/model.safetensors", "this experiment itself makes"),
    ("{here}/results/mine/model.safetensors", "this experiment itself makes"),
    ("link/model.safetensors", "this experiment itself makes"),
    ("file.pt", "this experiment itself makes"),
    ("outside/train.csv", "the run itself makes"),
    ("results", "the run itself makes"),
    ("results/data/mnist5k.safetensors", "the run itself makes"),
    ("results/mine/chips/x.csv", "the run itself makes"),
    ("./results/quick/model.safetensors", "write results/quick/model.safetensors"),
    ("folder", "is a folder"),
]


@pytest.fixture
def linked(files, tmp_path):
    """`results/linked` lies elsewhere, and links lead into `results`."""
    (tmp_path / "results/mine").mkdir(parents=True)
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("results/mine")
    (tmp_path / "file.pt").symlink_to("results/mine/model.safetensors")
    (tmp_path / "outside").mkdir()
    (tmp_path / "results/quick").symlink_to(tmp_path / "outside")
    return files


@pytest.mark.parametrize(("path", "part"), PATHS)
def test_an_input_that_the_run_makes_is_refused_however_it_is_spelt(linked, tmp_path, path, part):
    given = json.dumps(path.format(here=tmp_path))
    message = fault(linked(f"experiments:\n  mine:\n    checkpoint: {given}\n"))
    assert message.startswith("mine.yaml, line 3: experiments.mine.checkpoint: ")
    assert part in message


@pytest.mark.parametrize(
    ("content", "path"),
    [
        ("data_root: results\n", "data_root"),
        ("data_root: config.yaml\n", "data_root: is a file"),
        ("data_sets: {x: {file: results/data/x.npz}}\n", "data_sets.x.file"),
        ("data_sets: {x: {folder: link}}\n", "data_sets.x.folder"),
        ("data_sets: {x: {folder: config.yaml}}\n", "data_sets.x.folder: is a file"),
        ("devices: {x: {variation: {table: outside/levels.csv}}}\n", "devices.x.variation.table"),
    ],
)
def test_other_inputs_that_the_run_makes_are_refused(linked, content, path):
    assert f"mine.yaml, line 1: {path}" in fault(linked(content + "experiments: {mine: {}}\n"))


def test_a_network_that_another_experiment_trains_may_be_a_checkpoint_unless_a_circle_closes(
    linked,
):
    chain = "experiments: {a: {checkpoint: results/b/model.safetensors}, b: %s}\n"
    load(linked(chain % "{}"))
    load(linked("experiments: {a: {checkpoint: results/gone/model.safetensors}}\n"))
    message = fault(linked(chain % "{checkpoint: results/a/model.safetensors}"))
    assert "a <- b <- a" in message


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("experiments: {Quick: {}}", "'Quick' differs from 'quick' in case alone"),
        ("experiments: {DATA: {}}", "'DATA' is taken, like 'data' where case does not count"),
        ("experiments: {summary: {}}", "'summary' is taken"),
        ("devices: {FOUR_bit: {}}", "differs from 'four_bit' in case alone"),
        ("data_sets: {Mnist: {file: a}}", "'Mnist' is taken, like 'mnist'"),
        ("comparisons: {logs: {experiments: [quick]}}", "'logs' is taken"),
        ('experiments: {"a/b": {}}', "'a/b' is no name: it has '/'"),
        ('experiments: {"a b": {}}', "it has ' '"),
        ('experiments: {"-a": {}}', "it has '-'"),
        ("experiments: {_a: {}}", "it begins with _"),
        ('experiments: {"": {}}', "it is empty"),
        ("experiments: {mіne: {}}", "it has U+0456 (cyrillic small letter"),
        (f"experiments: {{{'x7' * 41}: {{}}}}", "a name of 82 characters"),
        (f"experiments: {{{'x' * 40}: {{}}}}", "repeats itself"),
        ('experiments: {"007": {}}', "readers of tables take it for a number"),
        ("experiments: {none: {}}", "or for nothing"),
    ],
)
def test_a_name_that_cannot_be_is_refused_before_it_is_a_folder(files, content, part):
    message = fault(files(content + "\n"))
    assert message.startswith("mine.yaml, line 1: ")
    assert part in message
