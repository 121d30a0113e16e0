"""Paths under results/ are spelt in one module, and its patterns agree with each other.

What counts as spelling a path, in a text of swim/, Snakefile or rules/ (docstrings and comments may
mention examples):
- a word that begins with ``results/``, or has a folder ``sigma-{...}`` or ``sigma-*``;
- a word with a slash that has a folder or file name of the layout in it;
- a file name of the layout that is the whole text (a message in words may mention one; in rules,
  whose texts in words are commands, any), or one of its folders where paths are joined.
The names are read from the layout, so that a new path is covered as soon as it is there.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from swim.settings import SummariseJob, layout
from tests import ROOT

HOME = ROOT / "swim" / "settings" / "layout.py"
PATTERNS = {
    name: value
    for name, value in vars(layout).items()
    if name.isupper() and isinstance(value, str) and value.startswith("results")
}
LOGS = [layout.log("job"), layout.benchmark("job")]
NAMES = {
    part
    for pattern in [*PATTERNS.values(), *LOGS]
    for part in pattern.split("/")
    if "{" not in part and not part.startswith("job.")
}
JOINING = {"Path", "PurePath", "join", "joinpath", "glob", "rglob"}
# The name of a record within a mask's file, which is an archive.
WITHIN_FILES = {("swim/runtime/files.py", "settings.json")}


def spells_path(text: str, command: bool = False) -> bool:
    """Whether a text, which is words for a user or a command, spells a path of the layout."""
    alone = command or not re.search(r"\s", text)
    return any(_word_spells_path(word, alone) for word in re.split(r"[\s`'\",;()=]+", text))


def _word_spells_path(word: str, alone: bool) -> bool:
    if "://" in word:
        return False
    parts = word.split("/")
    if parts[0] == layout.RESULTS and len(parts) > 1:
        return True
    if re.search(r"(^|[/-])sigma-[{*]", word):
        return True
    return bool(NAMES & set(parts)) and (len(parts) > 1 or ("." in word and alone))


def _text(node: ast.AST) -> str:
    """A text as it is written; what it is filled with is in braces."""
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values
        )
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _joined(tree: ast.AST) -> Iterator[str]:
    """Texts that are joined to a path."""
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            yield from (_text(node.left), _text(node.right))
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            yield from map(_text, node.args if name in JOINING else [])


def spelt_in_python(file: Path) -> list[str]:
    """Texts of a module that spell a path, docstrings aside."""
    tree = ast.parse(file.read_text())
    aside = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):  # a docstring, of a module or of anything in it
            aside.add(id(node.value))
        elif isinstance(node, ast.JoinedStr):
            aside |= {id(part) for part in node.values}
    texts = [_text(node) for node in ast.walk(tree) if id(node) not in aside]
    return [text for text in texts if spells_path(text)] + [
        text for text in _joined(tree) if text in NAMES
    ]


def spelt_in_rules(file: Path) -> list[str]:
    """Texts of a file of rules that spell a path, docstrings, captions and names of jobs aside."""
    text = re.sub(r'\b(layout\.(?:log|benchmark)\(|caption=)\s*"[^"]*"', r"\1", file.read_text())
    spelt = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        name = tokenize.tok_name[token.type]
        if name == "FSTRING_MIDDLE" or (name == "STRING" and '"""' not in token.string):
            word = token.string.lstrip("rbfRBF").strip("'\"")
            # Of a text with braces, Python 3.12 yields the parts between them.
            folder = word.rstrip("/") in NAMES - {"none", "all"}  # values of --verify, too
            if spells_path(token.string, command=True) or folder or word.endswith("sigma-"):
                spelt.append(token.string)
    return spelt


LIBRARY = sorted(path for path in (ROOT / "swim").rglob("*.py") if path != HOME)
RULES = sorted(
    [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk"), *(ROOT / "rules").glob("*.py")]
)


def test_no_module_but_the_layout_spells_a_path_under_results():
    spelt = {
        (str(file.relative_to(ROOT)), text) for file in LIBRARY for text in spelt_in_python(file)
    }
    assert spelt == WITHIN_FILES


def test_no_rule_spells_a_path_under_results():
    spelt = {(str(file.relative_to(ROOT)), text) for file in RULES for text in spelt_in_rules(file)}
    assert spelt == set()


@pytest.mark.parametrize("line", [
    'f"results/{name}/chips/{device}/x.csv"', '"results/{experiment}/model.safetensors"',
    'f"{folder}/masks/{device}/a.npz"', 'Path(folder, f"sigma-{sigma}")', '"accuracy.csv"',
    'folder / "chips/all"', '"*/sigma-*/*.csv"', '"--out results/a.csv"',
    'f"{layout.EXPERIMENT}/sensitivity/{estimator}.safetensors"', '"{experiment}/where/{device}"',
    'os.path.join("results", name)', 'Path("results") / name', 'Path(folder, "chips", device)',
    'folder / "masks"', 'folder / "sensitivity" / name', 'folder.glob("perturbation")',
    'f"{folder}/train.csv"', '"settings.json"', '"scores.csv"', '"clean.csv"', '"none/0.csv"',
    'f"{folder}/in_situ/{budget}.csv"', 'f"{folder}/logs/{job}.log"', 'f"{folder}/figures/{x}.png"',
    'f"{name}-sigma-{sigma}"', 'folder + "/masks/" + device', 'f"{folder}/data/{name}.safetensors"',
])  # fmt: skip
def test_a_path_that_is_spelt_elsewhere_is_found(tmp_path, line):
    (tmp_path / "a.py").write_text(f"x = {line}\n")
    assert spelt_in_python(tmp_path / "a.py")
    (tmp_path / "a.smk").write_text(f"rule a:\n    input:\n        {line},\n")
    assert spelt_in_rules(tmp_path / "a.smk")


def test_a_file_name_in_a_rules_command_is_found(tmp_path):
    (tmp_path / "a.smk").write_text('rule a:\n    shell:\n        "swim plot --out accuracy.csv"\n')
    assert spelt_in_rules(tmp_path / "a.smk")


@pytest.mark.parametrize("line", [
    'layout.MODEL.format(experiment="quick")', 'f"{chips} chips"', '"sensitivity"', '"all"',
    '"DEVICE/sigma-SIGMA/METHOD/FRACTION.csv"', '"https://example.org/data/a.csv"',
])  # fmt: skip
def test_a_name_that_is_no_path_is_not_taken_for_one(tmp_path, line):
    (tmp_path / "a.py").write_text(f'"""Writes results/x.csv."""\nx = {line}\n')
    assert spelt_in_python(tmp_path / "a.py") == []


def test_every_pattern_lies_under_results_and_names_its_wildcards_once():
    assert len(PATTERNS) > 20
    for value in PATTERNS.values():
        names = re.findall(r"{(\w+)}", value)
        assert len(names) == len(set(names))
    shared = {layout.RESULTS: 1}  # every other path has one name
    counts = {value: list(PATTERNS.values()).count(value) for value in PATTERNS.values()}
    assert {value for value, count in counts.items() if count > 1} <= shared.keys()


def test_every_point_of_a_table_is_made_by_one_kind_of_rule():
    job = SummariseJob(
        devices=["d"], sigmas=["0.1"], methods=["swim", "uswim"], fractions=["0.1", "1"],
        budgets=["0.3"], in_situ=["0.2"],
    )  # fmt: skip
    folder = layout.CHIPS_FOLDER.format(experiment="e")
    names = {"experiment": "e", "device": "d", "sigma": "0.1"}
    made = {
        layout.CHIPS.format(**names, method="swim", fraction="0.1"),
        layout.PROGRAMMED.format(**names, policy="uswim", budget="0.3"),
        layout.IN_SITU.format(**names, budget="0.2"),
        *(end.format(**names) for end in (layout.CLEAN_CHIPS, layout.NONE_CHIPS, layout.ALL_CHIPS)),
    }
    assert {f"{folder}/{file}" for file in job.files()} == made


def test_logs_and_benchmarks_lie_with_what_they_are_of():
    assert layout.log("a-{sigma}") == "results/{experiment}/logs/a-{sigma}.log"
    assert layout.benchmark("a", of="summary") == "results/summary/benchmarks/a.tsv"
