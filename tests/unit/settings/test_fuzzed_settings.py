"""Thousands of faulty settings: each is refused by name, or gives a plan that means what it says.

More, or others: ``python -m tests.unit.settings.test_fuzzed_settings 5000 7`` (count, seed).
"""

import itertools
import json
import os
import random
import sys
import tempfile
from pathlib import Path
from types import NoneType
from typing import Literal, get_args, get_origin

import jsonschema
import pytest
import yte
from pydantic import BaseModel
from snakemake.utils import update_config

from swim import settings
from swim.errors import SettingError
from swim.settings.reference import schema

COUNT, SEED = 400, 2014
VALIDATOR = jsonschema.Draft202012Validator(schema())
LONG = "1" + "0" * 400

# Spellings of values, as an author would type them, that no setting of the kind may have.
NEVER = ["[[", "2024-01-01", "1:30", "190:20:30.15", "010", "-07", "=", "!!set {a}",
         "!!binary aGk=", "!!python/tuple [1]", "{1: 2}", "{yes: 1}", "{a: 1, a: 1}", "*nowhere",
         "\t3"]  # fmt: skip
NUMBERS = [".inf", "-.inf", ".nan", "[.nan]", "1e400", "1.0e+400", LONG, "-1", "yes", '"3"', "[3]",
           "{a: 3}", "1e-3", "0o17", "3 4", "٣", "9" * 5000, "-0x1"]  # fmt: skip
BAD = {
    "int": [*NUMBERS, "2.5", "1.0e+3"],
    "float": NUMBERS,
    "decimal": ['"1e1000000"', '"1e-1000000"', '"nan"', '"-inf"', '"-1"', '"0.10"', '" 0.1"',
                '"٠.١"', '"0x1"', '"0.' + "1" * 400 + '"', '"1' + "0" * 400 + '"', '"1e5000"',
                '"1_0"', '"+1"', "0.1", "1", "yes", "[]", ".nan", "null", '""', '"9" x',
                '"1e99999999999999999999"'],
    "path": ["a{b}.pt", "a<b>.pt", '"{experiment}.pt"', '""', '" a"', '"a\\nb"', '"a\\0b"', "~/x",
             "$HOME/x", "x" * 300, "d/" * 3000, "[a]", "3", "no", ".inf", "results", "https://example.org/a.pt",
             "results/data/x.npz", "./results/summary/x.npz", "results/../results/mine/a.npz",
             "elsewhere/x.npz", '"a\\u200bb"', '"\\ud800"'],
    "choice": ['"swіm"', "Swim!", "no", "3", '["x"]', '"swim "', "1.5", "{}",
               '"' + "z" * 500 + '"'],
    "bool": ["2", '"perhaps"', "[]", "3.5", ".nan", '""'],
    "section": ["3", "[]", "yes", '"x"', ".inf"],
    "import": ["os", '"os:sys tem"', '"a/b:c"', '":f"', '"a:"', "3", '"a..b:f"', '"a:b;ls"'],
    "arguments": ["[1]", "3", "{a: .nan}", "{a: [1, [.inf]]}", "{a: " + LONG + "}", "{1: 2}",
                  "{a: 2024-01-01}"],
    "items": ["[]", "3", "{}", "yes"],
}  # fmt: skip
GOOD = {
    "int": [("3", 3), ("0x3", 3), ("1_00", 100)],
    "float": [("0.25", 0.25), ("2.5e-1", 0.25), (".5", 0.5)],
    "decimal": [('"0.25"', "0.25"), ("'0.75'", "0.75"),
                ('"0.123456789012345"', "0.123456789012345")],
    "path": [('"my data"', "my data"), ("a-b/c.d", "a-b/c.d"), ("/x/'y'", "/x/'y'"), ("é", "é"),
             ("results/old/x.npz", "results/old/x.npz")],
}  # fmt: skip
BAD_NAMES = ['"a/b"', '"a.b"', '"a b"', '"-a"', "yes", "1", "1.5", "null", "~", '"mіne"', "x" * 81,
             "x" * 40, '"007"', "none", "NULL", '"1e5"', '"true"', "nan", '""',
             "2024-01-01", '"a{b}"', '"{experiment}"', "_a", '"a\\n"', "é", "[a]", "010",
             "? {a: b}\n ", '"ａ"', '".."', '"a|b"', '"a*"', '"$a"', ".nan"]  # fmt: skip
GOOD_NAMES = ["A1", "3layers", "clean", "results", "x1y2z3w4" * 8, "rule", "None_", "e5"]


def kind_of(field):
    """What is typed for a setting, whether in a list, and whether null is allowed."""
    annotation = field.annotation
    options = [t for t in get_args(annotation) if t is not NoneType]
    nullable = NoneType in get_args(annotation)
    if nullable:
        annotation = options[0]
    if get_origin(annotation) is list:
        inside = get_args(annotation)[0]
        return kind_of_scalar(inside, field), True, nullable
    return kind_of_scalar(annotation, field), False, nullable


def kind_of_scalar(annotation, field):
    if get_origin(annotation) is Literal:  # whose names may be those of types
        return "choice"
    shown = repr(annotation) + repr(field.metadata)
    if annotation in (int, float, bool):
        return annotation.__name__
    if "Decimal" in shown or "_decimal" in shown:
        return "decimal"
    if "float" in shown:
        return "float"
    if "text.path" in shown or "function path" in shown:
        return "path"
    if get_origin(annotation) is dict:
        return "arguments"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    if field.alias == "import":
        return "import"
    return "choice"


def leaves(section, path=()):
    """Every setting: path, kind, whether a list, whether null is allowed."""
    for name, field in section.model_fields.items():
        annotation = next((t for t in get_args(field.annotation) if t is not NoneType), None)
        inner = annotation if isinstance(annotation, type) else field.annotation
        own = (*path, field.alias or name)
        yield own, *kind_of(field)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from leaves(inner, own)


SETTINGS = [
    *(
        (("experiments", "mine", *path), *rest)
        for path, *rest in leaves(settings.ExperimentSettings)
    ),
    *((("devices", "own", *path), *rest) for path, *rest in leaves(settings.DeviceSettings)),
    *((("data_sets", "pics", *path), *rest) for path, *rest in leaves(settings.OwnDataSet)),
    (("data_root",), "path", False, False),
    (("download",), "bool", False, False),
]
SECTIONS = ("data_sets", "devices", "experiments", "comparisons")


def base():
    """Content whose leaves are spellings."""
    return {
        "devices": {"own": {"M": "4", "K": "2", "write_verify": "redraw"}, "four_bit": {}},
        "data_sets": {"pics": {"folder": "pictures"}},
        "experiments": {"mine": {"devices": "[own]", "dataset": "pics"}, "other": {"seed": "1"}},
    }


def put(content, path, spelling):
    for key in path[:-1]:
        if not isinstance(content.get(key), dict):
            content[key] = {}
        content = content[key]
    content[path[-1]] = spelling


def written(content, indent=0):
    """YAML of it."""
    lines = []
    for key, value in content.items():
        before = " " * indent + str(key) + ":"
        if isinstance(value, dict) and value:
            lines += [before, *written(value, indent + 2)]
        else:
            lines.append(f"{before} {value if value != {} else '{}'}")
    return lines


class Case:
    """A file of settings, what is wrong with it, and what it says where nothing is."""

    def __init__(self, random_):
        self.random, self.content = random_, base()
        self.wrong, self.right = [], []

    def make(self):
        change = self.random.choice(
            [self.bad_value, self.bad_value, self.bad_value, self.bad_name, self.structure,
             self.good_value, self.good_value, self.good_name]
        )  # fmt: skip
        change()
        return self

    def _setting(self, kinds=None):
        return self.random.choice([s for s in SETTINGS if kinds is None or s[1] in kinds])

    def bad_value(self):
        path, kind, many, nullable = self._setting()
        pool = list(BAD[kind])
        if kind not in ("section", "arguments") and self.random.random() < 0.2:
            pool = NEVER
        if many and self.random.random() < 0.3:
            pool = BAD["items"]
        elif not nullable and kind in ("int", "float", "choice", "section", "path"):
            pool = [*pool, "null"]
        spelling = self.random.choice(pool)
        if path[-1] == "digital" and spelling == "[]":  # no weights: the default
            return
        if kind == "bool" and path == ("download",) and spelling == "null":
            return
        if many and pool is not BAD["items"]:
            spelling = f"[{spelling}]"
        put(self.content, path, spelling)
        self.wrong.append((path, spelling))

    def good_value(self):
        path, kind, many, _ = self._setting(GOOD)
        if kind == "float" and path[-1] in ("mean", "std", "pulse_gain", "warmup_epochs"):
            return
        if {"variation", "in_situ", "correlate"} & set(path) or path[-1] in (
            "M", "K", "quantised_epochs", "images_per_chip", "precision", "size", "file",
            "checkpoint", "chips", "max_chips", "seed", "epochs", "weight_bits",
        ):  # fmt: skip
            return
        spelling, value = self.random.choice(GOOD[kind])
        if kind == "int" and path[-1] == "activation_bits":
            spelling, value = "3", 3
        put(self.content, path, f"[{spelling}]" if many else spelling)
        self.right.append((path, [value] if many else value))

    def bad_name(self):
        section = self.random.choice(SECTIONS[:3])
        name = self.random.choice(BAD_NAMES)
        put(self.content, (section, name), "{}" if section != "data_sets" else "{folder: x}")
        self.wrong.append(((section,), name))

    def good_name(self):
        name = self.random.choice(GOOD_NAMES)
        section = self.random.choice(["devices", "experiments"])
        put(self.content, (section, name), "{}")
        self.right.append(((section, name.strip('"')), None))

    def structure(self):
        path, spelling = self.random.choice(
            [
                (("experiments", "Mine"), "{}"),
                (("devices", "OWN"), "{}"),
                (("data_sets", "MNIST"), "{folder: x}"),
                (("experiments", "all"), "{}"),
                (("experiments", "Summary"), "{}"),
                (("experiments", "mine", "epochs"), "3"),
                (("experiments", "mine", "chіps"), "3"),
                (("experiment",), "{}"),
                (("pathvars",), "3"),
                (("experiments", "mine", "sigmas"), '["0.1", "0.1"]'),
                (("experiments", "mine", "in_situ"), '{budgets: ["1", "1"]}'),
                (("experiments", "mine", "checkpoint"), "results/mine/model.safetensors"),
                (("experiments", "mine", "checkpoint"), "linked/model.safetensors"),
                (("experiments", "mine", "checkpoint"), "./results/other/model.safetensors"),
                (("experiments", "mine", "checkpoint"), "folder"),
                (("data_sets", "pics"), "{folder: x, mean: [0.5], std: [0.2, 0.2]}"),
                (("data_sets", "pics"), "{folder: x, mean: [123.7]}"),
                (("comparisons", "logs"), "{experiments: [mine]}"),
                (("comparisons", "c"), "{experiments: [mine, mine]}"),
                (("comparisons", "c"), "{experiments: [mіne]}"),
                (("devices", "own", "tolerance"), "1.0e-30"),
                (("experiments",), "[mine]"),
                (("defaults",), "3"),
                (("defaults", "chips"), "1"),
                (("experiments", "mine", '"chips"'), "3\n    chips: 3"),
                (("experiments", "mine", "<<"), "3"),
                (("experiments", "mine", "<<"), "&me {<<: *me}"),
                (("experiments", "mine", "model"), "&m {arguments: *m}"),
                (("experiments", "mine", "model"),
                 "{import: a:f, arguments: " + "{a: " * 60 + "1" + "}" * 61),
            ]
        )  # fmt: skip
        put(self.content, path, spelling)
        self.wrong.append((path, spelling))


def plan(text, label="mine.yaml"):
    """What Snakemake and the rules make of a file: the settings, checked as rules check them."""
    Path(label).write_bytes(text.encode("utf-8", "surrogatepass"))
    origins = settings.Origins([settings.read_source(label)])
    loaded = yte.process_yaml(text, require_use_yte=True)  # Snakemake's own loader
    content = {}
    update_config(content, loaded)
    config = settings.load(content, origins)
    content["download"] = config.download
    content.update(settings.without_gaps(content))
    VALIDATOR.validate(content)
    for name in config.experiments:
        json.dumps(json.loads(settings.resolved_json(config, name)), allow_nan=False)
        check_files(config, name)
    return config


def check_files(config, name):
    own = config.experiments[name]
    fields = ("devices", "sigmas", "methods", "fractions", "budgets")
    files = settings.SummariseJob(**{f: getattr(own, f) for f in fields}).files()
    for file in (*files, *(f"where-{d}-1-sigma-{s}.svg" for d in own.devices for s in own.sigmas)):
        assert max(len(part.encode()) for part in f"{name}-correlation.md/{file}".split("/")) <= 255
    for value in (*own.sigmas, *own.fractions, *(own.budgets or ())):
        assert 0 <= float(value) <= 1e6
        assert len(set(own.sigmas)) == len({float(sigma) for sigma in own.sigmas})


def value_at(config, path):
    for key in path:
        key = {"import": "factory"}.get(key, key)
        config = config[key] if isinstance(config, dict) else getattr(config, key)
    return config


def assert_handled(case):
    """Refused with file and setting named where something is wrong, else as it was written."""
    text = "\n".join(written(case.content)) + "\n"
    try:
        config = plan(text)
    except SettingError as error:
        message = str(error)
        assert case.wrong, (text, message)
        assert "mine.yaml" in message, (text, message)
        assert len(message) < 20_000
        if "not valid YAML" not in message and "nested" not in message:
            path, spelling = case.wrong[0]
            assert any(p.strip('"') in message for p in (path[-1], path[0], spelling[:40])), message
        return
    except Exception as error:
        raise AssertionError(f"raw error for\n{text[:2000]}\n{error!r}"[:3000]) from error
    assert not case.wrong, (case.wrong[0][0], case.wrong[0][1][:200], text[:2000])
    for path, value in case.right:
        found = value_at(config, path)
        assert value is None or found == value, (text, path, found)


def prepare(folder):
    """Files and links that the paths of some cases lead to."""
    for name in ("results/mine", "results/data", "results/other", "folder"):
        (folder / name).mkdir(parents=True)
    (folder / "linked").symlink_to("results/mine")
    (folder / "elsewhere").symlink_to(folder / "results/data")


@pytest.mark.long
def test_faulty_settings_are_refused_by_name_and_valid_ones_mean_what_they_say(
    tmp_path, monkeypatch
):
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    random_ = random.Random(SEED)
    refused = 0
    for _ in range(COUNT):
        case = Case(random_).make()
        assert_handled(case)
        refused += bool(case.wrong)
    assert COUNT * 0.5 < refused < COUNT * 0.9


def test_every_faulty_spelling_of_every_kind_of_setting_is_refused(tmp_path, monkeypatch):
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    one_of_a_kind = {(kind, many): path for path, kind, many, _ in SETTINGS}
    for (kind, many), path in one_of_a_kind.items():
        for spelling in BAD[kind]:
            case = Case(random.Random(0))
            put(case.content, path, f"[{spelling}]" if many else spelling)
            case.wrong.append((path, spelling))
            assert_handled(case)


@pytest.mark.parametrize("kind", sorted(BAD))
def test_the_generator_knows_settings_of_each_kind(kind):
    kinds = {kind for _, kind, _, _ in SETTINGS} | {"items"}
    assert kind in kinds


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        prepare(Path(made).resolve())
        os.chdir(made)
        count, seed = (int(word) for word in itertools.islice(sys.argv, 1, 3))
        source = random.Random(seed)
        cases = [Case(source).make() for _ in range(count)]
        for one in cases:
            assert_handled(one)
        wrong = sum(bool(one.wrong) for one in cases)
        print(f"{count} settings: {wrong} refused by name, {count - wrong} planned as written")
