"""What README and docs show is run: Python, settings, commands, and doctests of docstrings.

Blocks of code are found by a Markdown parser, fenced or indented; their language is the fence's
word, or else told from their text. Python runs page by page, in order, beside what pages take as
given (:func:`given`). Of a shell command, the program, its options and its targets are checked.
"""

import ast
import copy
import doctest
import importlib
import pkgutil
import re
import shlex
import tomllib
from collections import OrderedDict
from dataclasses import dataclass

import click
import numpy as np
import pytest
import snakemake.cli
import torch
import yaml
from markdown_it import MarkdownIt
from snakemake.utils import update_config
from torch import nn

import swim
from swim import settings
from swim.cli import cli
from tests import ROOT

PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "swim/**/*.md", "examples/**/*.md", "tests/**/*.md")
    for page in ROOT.glob(pattern)
    if page.name != "CHANGELOG.md"  # tells of versions that are gone
)
SHIPPED = yaml.safe_load((ROOT / "config.yaml").read_text())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LANGUAGES = {"py": "python", "pycon": "python", "python": "python", "yaml": "yaml", "yml": "yaml",
             "bash": "shell", "sh": "shell", "shell": "shell", "console": "shell"}  # fmt: skip

# Programs of others, whose arguments are not checked.
PROGRAMS = {
    "apt-get", "cat", "cd", "conda", "cp", "export", "git", "ls", "mkdir", "pre-commit", "ruff",
    "mypy", "lint-imports", "snakefmt", "source", "sudo", "tar", "unzip", "venv", ".ci/run",
}  # fmt: skip
# And those that are checked.
OURS = {"swim", "make", "snakemake", "python", "python3", "pytest", "pip"}


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    language: str
    text: str

    def __str__(self):
        return f"{self.page}, line {self.line}"


def language(word, text):
    """Of a block of code; nothing for formulas, trees of files and what programs print."""
    if word:
        return LANGUAGES.get(word.split()[0], "")
    first = next((line for line in text.splitlines() if line.strip()), "")
    if re.split(r"[ =]", first.removeprefix("$ "))[0] in OURS | PROGRAMS:
        return "shell"
    if ">>> " in text or re.search(r"^(import|from) \w|\bswim\.\w+\(", text, re.MULTILINE):
        return "python"
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        content = None
    if isinstance(content, dict) and set(content) <= {*SHIPPED, "defaults", "data_sets"}:
        return "yaml"
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return ""
    return "python" if any(isinstance(node, ast.Call) for node in ast.walk(tree)) else ""


def blocks(page):
    """The page's blocks of code, in order."""
    name = str(page.relative_to(ROOT))
    return [
        Block(name, token.map[0] + 1, language(token.info.strip(), token.content), token.content)
        for token in MarkdownIt().parse(page.read_text())
        if token.type in ("fence", "code_block")
    ]


def spans(page):
    """(line, text) of code within sentences."""
    for token in MarkdownIt("gfm-like", {"linkify": False}).parse(page.read_text()):
        for child in token.children or ():
            if child.type == "code_inline":
                yield token.map[0] + 1, child.content


def of_language(wanted):
    found = [page for page in PAGES if any(block.language == wanted for block in blocks(page))]
    return pytest.mark.parametrize("page", found, ids=lambda page: str(page.relative_to(ROOT)))


def given():
    """Names that pages use and leave to their reader."""
    torch.manual_seed(0)
    layers = {
        "stem": nn.Conv2d(1, 3, 3), "relu": nn.ReLU(), "body": nn.Conv2d(3, 2, 3),
        "flatten": nn.Flatten(), "head": nn.Linear(2 * 16, 10),
    }  # fmt: skip
    model = nn.Sequential(OrderedDict(layers))
    batches = [(torch.rand(8, 1, 8, 8), torch.arange(8)) for _ in range(2)]
    scores = swim.sensitivity(model, batches)
    return {
        "swim": swim, "torch": torch, "nn": nn, "np": np, "model": model, "batches": batches,
        "scores": scores, "mask": swim.select(scores, fraction=0.1),
        "device": swim.Device(sigma=0.1),
    }  # fmt: skip


@of_language("python")
def test_python_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = {f"x_{split}": np.zeros((20, 32, 32, 3), np.uint8) for split in ("train", "test")}
    labels = {f"y_{split}": np.arange(20) % 10 for split in ("train", "test")}
    np.savez("cifar10.npz", **images, **labels)
    (tmp_path / "levels.csv").write_text("level,sigma\n0,0.02\n0.5,0.08\n1,0.04\n")
    names = given()
    for block in blocks(page):
        if block.language != "python":
            continue
        if ">>> " in block.text:
            run_doctest(block.text, names, str(block))
        else:
            exec(compile("\n" * block.line + block.text, block.page, "exec"), names)


def run_doctest(text, names, name):
    test = doctest.DocTestParser().get_doctest(text, names, name, name, 0)
    said = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    runner.run(test, out=said.append, clear_globs=False)
    assert runner.failures == 0, "".join(said)
    names.update(test.globs)


@of_language("yaml")
def test_settings_of_a_page_are_valid(page):
    content = page_settings(page)
    assert content != SHIPPED
    settings.load(content)


def page_settings(page):
    """The shipped settings with all that the page shows, as ``--configfile`` adds them."""
    content = copy.deepcopy(SHIPPED)
    for block in blocks(page):
        if block.language == "yaml":
            update_config(content, yaml.safe_load(block.text))
    return content


def commands(page):
    """(where, words) of each command that a page shows, in blocks and within sentences."""
    name = page.relative_to(ROOT)
    for block in blocks(page):
        if block.language == "shell":
            text = block.text
            if re.search(r"^\$ ", text, re.MULTILINE):  # between prompts: what commands print
                text = "\n".join(re.findall(r"^\$ (.*)", text, re.MULTILINE))
            yield from split(str(block), text)
    for line, text in spans(page):
        if text.split(" ")[0] in ("swim", "make", "snakemake", "pytest", "python") and " " in text:
            yield from split(f"{name}, line {line}", text)


def split(where, text):
    """(where, words) of each command of a shell's text."""
    text = re.sub(
        r"(^|\s)#.*$", "", text.replace("\\\n", " ").replace("...", ""), flags=re.MULTILINE
    )
    lexer = shlex.shlex(text, posix=True, punctuation_chars="&|;<>\n")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t", True, ""
    words = []
    for word in [*lexer, ";"]:
        if set(word) <= set("&|;<>\n"):
            if words:
                yield where, words
            words = []
        else:
            words.append(word)


def check_swim(words, page):
    """The step and its options exist; values may be placeholders."""
    context = click.Context(cli, info_name="swim")
    step, *arguments = words
    if step.startswith("-"):
        assert step in ("-h", "--help", "--version")
        return
    command = cli.get_command(context, step)
    assert command is not None, f"no step {step!r}"
    try:
        command.make_parser(click.Context(command)).parse_args(list(arguments))
    except click.BadOptionUsage:
        if arguments[-1] not in command_options(command):
            raise  # else: a sentence that names an option, without its value


def command_options(command):
    return [option for parameter in command.params for option in parameter.opts]


def check_make(words, page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {word for word in words if "=" not in word and word[0] != "-"} <= targets


def check_snakemake(words, page):
    """Options are Snakemake's; targets are rules, experiments, or files of an experiment."""
    parser = snakemake.cli.get_argument_parser()
    parser.error = lambda message: pytest.fail(message)
    chosen = parser.parse_args(words)
    content = page_settings(page)
    # Those of other pages, too: a page may refer to another's settings.
    experiments = {name for page in PAGES for name in page_settings(page)["experiments"]}
    for target in chosen.targets:
        if target.isupper():  # a placeholder
            continue
        if target.startswith("results/"):
            others = {"data", "cycles_to_accuracy", *content["comparisons"]}
            owner = re.match(r"results/(?:summary/|data/)?(\w+)", target)[1]
            assert owner in experiments | others, owner
        else:
            assert target in experiments | {"all", "comparisons"}, target


def check_python(words, page):
    """A module of ours with these options, or a script that exists."""
    if words[0] == "-m":
        if words[1] == "swim":
            return check_swim(words[2:], page)
        path = ROOT / (words[1].replace(".", "/") + ".py")
        if not path.is_relative_to(ROOT) or words[1] in ("venv", "pip", "pytest", "snakemake"):
            return CHECKS[words[1]](words[2:], page)
    elif words[0] == "-c":
        return ast.parse(words[1])
    else:
        path = ROOT / words[0]
        if path.name == "selective_write.py":  # of the paper's first release
            return None
    assert path.is_file(), f"no {path}"
    for word in words:
        if word.startswith("--"):
            assert f'"{word.partition("=")[0]}"' in path.read_text(), word
    return None


def check_pytest(words, page):
    for word in words:
        if word.startswith("tests/"):
            assert (ROOT / word.partition("::")[0]).exists(), word


def check_pip(words, page):
    for extra in re.findall(r"\[([\w,]+)\]", " ".join(words)):
        assert set(extra.split(",")) <= set(PROJECT["optional-dependencies"])


def of_others(words, page):
    """A program of the system's."""


CHECKS = {
    **dict.fromkeys(PROGRAMS, of_others),
    "swim": check_swim, "make": check_make, "snakemake": check_snakemake,
    "python": check_python, "python3": check_python, "pytest": check_pytest, "pip": check_pip,
}  # fmt: skip
PROGRAMS = set(CHECKS)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(commands(page))],
    ids=lambda page: str(page.relative_to(ROOT)),
)  # fmt: skip
def test_commands_of_a_page_exist_with_their_options_and_targets(page):
    for where, words in commands(page):
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        program, *rest = words
        assert program in CHECKS, f"{where}: {program} is not a program that this test knows"
        try:
            CHECKS[program](rest, page)
        except (Exception, pytest.fail.Exception) as error:
            pytest.fail(f"{where}: {' '.join(words)}: {error}")


def test_examples_in_docstrings_give_what_they_show():
    for module in pkgutil.walk_packages(swim.__path__, "swim."):
        path = ROOT / (module.name.replace(".", "/") + "/__init__.py" * module.ispkg)
        path = path if module.ispkg else path.with_suffix(".py")
        if ">>> " in path.read_text():
            result = doctest.testmod(
                importlib.import_module(module.name), optionflags=doctest.ELLIPSIS
            )
            assert result.failed == 0, module.name
            assert result.attempted > 0, module.name


WRONG = [
    ("swim train --epoch 3", "No such option"),
    ("swim tarin", "no step"),
    ("make quikc", "quikc"),
    ("snakemake --core 1 --nonsense quick", "--nonsense"),
    ("snakemake --cores 1 quikc", "quikc"),
    ("snakemake results/quikc/accuracy.csv", "quikc"),
    ("python -m benchmarks.engine --nonsense", "--nonsense"),
    ("python -m benchmarks.nothing", "nothing"),
    ("pytest tests/unit/nothing.py", "nothing.py"),
    ('pip install ".[nothing]"', "nothing"),
]


@pytest.mark.parametrize(("command", "said"), WRONG, ids=lambda value: value)
def test_a_command_that_does_not_exist_is_noticed(command, said):
    ((_, words),) = split("here", command)
    with pytest.raises((AssertionError, click.UsageError, pytest.fail.Exception), match=said):
        CHECKS[words[0]](words[1:], ROOT / "README.md")


def test_an_example_with_another_result_is_noticed():
    with pytest.raises(AssertionError, match="Expected"):
        run_doctest(">>> 1 + 1\n3\n", {}, "here")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("import swim\nswim.select(scores)\n", "python"), ("snakemake --cores 2 quick\n", "shell"),
     ("experiments:\n  mine: {chips: 3}\n", "yaml"), ("E[dL] ≈ 1/2 Σ_i H_ii\n", "")],
)  # fmt: skip
def test_language_of_a_block_without_a_word_is_told_from_its_text(text, expected):
    assert language("", text) == expected
