"""Paths under results/ are spelt in one module, and read back as they were written."""

import ast
import re
from pathlib import Path, PurePath

import pytest

from swim.settings import layout
from tests import ROOT

HOME = ROOT / "swim" / "settings" / "layout.py"
# A path, or the part of one that only the layout says.
SPELT = re.compile(
    r"results/|\bsigma-(?:\{|\*)|(?:^|[/\x22\x27])(?:masks|chips|perturbation|figures|summary)/(?:\{|\w)"
    r"|(?:^|[/\x22\x27])(?:model\.safetensors|(?:accuracy|paired|cycles_to_accuracy)\.\w+)(?:$|[\x22\x27])"
    r"|cycles-sigma"
)


def spelt_in_python(file: Path) -> list[str]:
    """Texts of a module that spell a path, docstrings aside."""
    tree = ast.parse(file.read_text())
    told = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and node.body
        and isinstance(node.body[0], ast.Expr)
    }  # fmt: skip
    texts = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            texts.append(ast.unparse(node))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts += [] if id(node) in told else [node.value]
    return [text for text in texts if SPELT.search(text)]


def spelt_in_rules(file: Path) -> list[str]:
    """Lines of a file of rules that spell a path, comments and docstrings aside."""
    text = re.sub(r'"""[\s\S]*?"""', "", file.read_text())
    text = re.sub(r'caption="report/[^"]*"', "", text)
    text = re.sub(r'layout\.(?:log|benchmark)\("[^"]*"', "", text)  # names of jobs
    lines = [line.partition("#")[0] for line in text.splitlines()]
    return [line.strip() for line in lines if SPELT.search(line)]


LIBRARY = sorted(path for path in (ROOT / "swim").rglob("*.py") if path != HOME)
RULES = sorted(
    [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk"), *(ROOT / "rules").glob("*.py")]
)


def test_no_module_but_the_layout_spells_a_path_under_results():
    found = {
        str(file.relative_to(ROOT)): texts for file in LIBRARY if (texts := spelt_in_python(file))
    }
    assert found == {}


def test_no_rule_spells_a_path_under_results():
    found = {
        str(file.relative_to(ROOT)): lines for file in RULES if (lines := spelt_in_rules(file))
    }
    assert found == {}


@pytest.mark.parametrize("line", [
    'f"results/{name}/chips/{device}/x.csv"', '"results/{experiment}/model.safetensors"',
    'f"{folder}/masks/{device}/a.npz"', 'Path(folder, f"sigma-{sigma}")', '"accuracy.csv"',
    'folder / "chips/all"', '"*/sigma-*/*.csv"',
])  # fmt: skip
def test_a_path_that_is_spelt_elsewhere_is_found(tmp_path, line):
    (tmp_path / "a.py").write_text(f"x = {line}\n")
    assert spelt_in_python(tmp_path / "a.py")
    (tmp_path / "a.smk").write_text(f"rule a:\n    input:\n        {line},\n")
    assert spelt_in_rules(tmp_path / "a.smk")


def test_every_pattern_lies_under_results_and_names_its_wildcards_once():
    patterns = {
        name: value for name, value in vars(layout).items()
        if name.isupper() and isinstance(value, str) and value.startswith("results")
    }  # fmt: skip
    assert len(patterns) > 20
    assert (
        len(set(patterns.values())) >= len(patterns) - 3
    )  # one path may have two names' wildcards
    for value in patterns.values():
        names = re.findall(r"{(\w+)}", value)
        assert len(names) == len(set(names))


@pytest.mark.parametrize(("path", "place"), [
    ("x/four_bit/sigma-0.3/swim/0.1.csv",
     {"device": "four_bit", "sigma": "0.3", "method": "swim", "fraction": "0.1"}),
    ("x/four_bit/sigma-0.3/clean.csv",
     {"device": "four_bit", "sigma": "0.3", "method": "clean", "fraction": ""}),
    ("x/four_bit/sigma-0.3.csv", {"device": "four_bit", "sigma": "0.3"}),
    ("x/four_bit/0.3/swim/0.1.csv", None),
    ("0.1.csv", None),
])  # fmt: skip
def test_a_place_is_read_from_the_names_of_folders(path, place):
    assert layout.place_of(PurePath(path)) == place


def test_places_of_points_are_read_as_they_were_written():
    names = {"experiment": "e", "device": "d", "sigma": "0.15", "method": "m", "fraction": "0.5"}
    found = layout.place_of(PurePath(layout.CHIPS.format(**names)))
    assert found == {key: names[key] for key in ("device", "sigma", "method", "fraction")}


def test_logs_and_benchmarks_lie_with_what_they_are_of():
    assert layout.log("a-{sigma}") == "results/{experiment}/logs/a-{sigma}.log"
    assert layout.benchmark("a", of="summary") == "results/summary/benchmarks/a.tsv"
