"""The digest covers what a step runs, and nothing else."""

import ast
import hashlib
import json
import subprocess
import sys

import pytest

from swim.errors import SettingError
from swim.runtime import code_digest, source_summaries
from swim.runtime.files import write_table, write_text
from swim.settings import registry
from tests.unit.conftest import forget_sources

CHOICES = {
    "prepare": {"data_set": "mnist5k"},
    "train": {"network": "lenet"},
    "sensitivity": {"network": "lenet", "estimator": "recursion"},
    "select": {"method": "swim"},
    "evaluate": {"network": "lenet"},
    "perturb": {"network": "lenet"},
    "correlate": {"method": "swim"},
    "summarise": {},
    "cycles": {},
    "claims": {},
    "tables": {},
    "explore": {},
    "where": {"policy": "swim_device"},
    "plot": {},
    "describe": {},
}


@pytest.fixture(scope="module", autouse=True)
def sources_read_once():
    """A source with the same bytes is parsed once: most files are the same in all tests."""
    trees, summaries = {}, {}
    parse, summarise = ast.parse, source_summaries.summarise

    def tree_of(source, *args, **options):
        if args or options or not isinstance(source, bytes):
            return parse(source, *args, **options)
        if source not in trees:
            trees[source] = parse(source)
        return trees[source]

    def summary_of(source, tree, exports=False):
        key = source, exports
        if key not in summaries:
            summaries[key] = summarise(source, tree, exports)
        return summaries[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ast, "parse", tree_of)
        patch.setattr(source_summaries, "summarise", summary_of)
        # Nothing is kept beside the sources, so that their edits are what counts here.
        patch.setattr(sys, "dont_write_bytecode", True)
        yield


def copied(folder):
    pages = [path for kind in code_digest._PAGES for path in code_digest.ROOT.rglob(kind)]
    for path in [*code_digest.ROOT.rglob("*.py"), *pages]:
        write_text(folder / path.relative_to(code_digest.ROOT), path.read_text())
    return folder


@pytest.fixture
def code(tmp_path, monkeypatch):
    """A copy of the package's sources that may be edited."""
    copied(tmp_path)
    monkeypatch.setattr(code_digest, "ROOT", tmp_path)
    forget_sources()
    yield tmp_path
    forget_sources()


@pytest.fixture(scope="module")
def unedited(tmp_path_factory):
    """Another, which each test leaves as it was, and the digests of its steps."""
    folder = copied(tmp_path_factory.mktemp("code"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(code_digest, "ROOT", folder)
        return folder, digests()


def digests():
    forget_sources()
    return {step: code_digest.digest(step, **chosen) for step, chosen in CHOICES.items()}


def nested_lists(node):
    """What a module adds to a digest, as lists: the slow twin of its text."""
    if isinstance(node, list):
        return [nested_lists(item) for item in node if not source_summaries._is_docstring(item)]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [[name, nested_lists(value)] for name, value in ast.iter_fields(node)
              if value is not None and value != []]  # fmt: skip
    return [type(node).__name__, *fields]


LAYOUT = '''"""A docstring."""
é = {**{}, "a": None, "\\n\\u2028": [b"x", 1e400j, ...]}
global_ = lambda *a, b=None, **c: (yield)
def f():
    "Another."
    global é, global_
'''


def test_the_text_of_a_digest_is_that_of_nested_lists():
    files = [*(code_digest.ROOT / "runtime").glob("*.py"), code_digest.ROOT / "cli/__init__.py"]
    for source in [LAYOUT, *(file.read_text() for file in files)]:
        tree = ast.parse(source)
        assert source_summaries._skeleton(tree) == json.dumps(nested_lists(tree))
    name = "swim.reports.explorer"
    pages = code_digest._pages(name)
    assert len(pages) == 4
    expected = json.dumps([nested_lists(code_digest._tree(name)), *pages])
    assert code_digest._content(name) == expected
    contents = {name: json.loads(expected)}
    text = json.dumps([contents, ["é"]]).encode()
    found = code_digest._digest((name,), ("é",))
    assert found == hashlib.blake2b(text, digest_size=8).hexdigest()


PLACES = """
import a.b
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import never
else:
    import c
class C:
    import d
    async def f(self, x=lambda: 1):
        with x:
            try:
                from e import f as g
            except OSError:
                import h
            else:
                import i
            finally:
                import j
        match x:
            case 1:
                import k
            case _:
                for y in x:
                    import l
                else:
                    while x:
                        from . import m, n
"""
BY_CALL = "h = [x(lambda y=importlib.import_module('.o', z): y) for x in ()]\n"


@pytest.mark.parametrize(("calls", "others"), [("", set()), (BY_CALL, {"p.o"})])
def test_imports_are_found_in_every_place(calls, others, tmp_path, monkeypatch):
    (tmp_path / "p").mkdir()
    (tmp_path / "p/q.py").write_text(PLACES + calls)
    monkeypatch.chdir(tmp_path)
    forget_sources()
    found = set(code_digest._imported("p.q"))
    names = {"a.b", "typing", "typing.TYPE_CHECKING", "e", "e.f", "p", "p.m", "p.n"}
    assert found == {*names, *"cdhijkl", *others}
    forget_sources()


EDITS = [
    ("networks/training.py", "momentum=0.9", "momentum=0.8", {"train"}),
    ("reports/crossings.py", "SAME = 1e-12", "SAME = 1e-11",
     {"cycles", "plot", "claims", "explore", "tables"}),
    ("reports/plots/accuracy_figure.py", '_FEW = 6', '_FEW = 7', {"plot"}),
    ("reports/plots/style.py", '"SWIM", BLUE', '"SWIM", GREEN',
     {"plot", "correlate", "explore", "tables"}),
    ("reports/cycles_to_accuracy.py", "RESAMPLES = 2000", "RESAMPLES = 1000",
     {"cycles", "plot", "claims", "explore", "tables"}),
    ("reports/claims.py", "FEWEST = 10", "FEWEST = 11", {"claims"}),
    ("reports/tables_page.py", "* .45", "* .5", {"tables"}),
    ("reports/explorer/look.py", "WIDTH = 2", "WIDTH = 3", {"explore"}),
    ("reports/explorer/page.js", "size: 8", "size: 9", {"explore"}),
    ("curvature/recursion.py", "(40, 0, -40)", "(40, 0)", {"sensitivity"}),
    ("curvature/shared.py", "alpha=unit", "alpha=2 * unit", {"sensitivity"}),
    ("curvature/hutchinson.py", "BLOCK = 50", "BLOCK = 60", set()),
    ("selection/masks.py", '"0.5"', '"0.4"', {"select"}),
    ("selection/scores/swim.py", '"curvature"', '"release"', {"select", "correlate"}),
    ("selection/scores/base.py", "** 2", "** 3", {"select", "correlate", "where"}),
    ("selection/scores/magnitude.py", "np.abs(weight)", "-weight", set()),
    ("networks/zoo/lenet.py", "120", "121", {"train", "sensitivity", "evaluate", "perturb"}),
    ("data/sources/mnist5k.py", "4::5", "3::5", {"prepare"}),
    ("data/sources/mnist.py", "0.1307", "0.1308", set()),
    ("data/sources/folder.py", "labelled = []", "labelled = list()", set()),
    ("data/download.py", "TRIES = 10", "TRIES = 11", set()),
    ("programming/mask.py", "weight_std(True)", "weight_std(False)",
     {"evaluate", "perturb", "where"}),
    ("devices/equal_variance.py", "1 / math.sqrt", "2 / math.sqrt",
     {"evaluate", "perturb", "where"}),
    ("devices/four_level.py", "s=6", "s=5", set()),
    ("engine/chip_batch.py", "repeat(self.chips)", "repeat(1)", {"evaluate", "perturb"}),
    # Behind the door of a package whose names are imported when they are first used.
    ("engine/compiled/sums.py", "16 * each", "17 * each", {"evaluate", "perturb"}),
    # All that draw normals, or import what can.
    ("runtime/compilation.py", 'VARIABLE, "1"', 'VARIABLE, "0"',
     set(CHOICES) - {"prepare", "select", "summarise", "describe"}),
    ("evaluation/perturbation.py", "(1, -1)", "(-1, 1)", {"perturb"}),
    ("reports/correlation.py", "FEWEST = 20", "FEWEST = 30", {"correlate"}),
    ("reports/plots/scatter_figure.py", "alpha=0.75", "alpha=0.7", {"correlate"}),
    ("evaluation/statistics.py", "5: 60", "5: 61",
     {"summarise", "cycles", "plot", "claims", "explore", "tables"}),
    ("evaluation/stopping.py", "0.975", "0.995",
     {"evaluate", "summarise", "cycles", "plot", "claims", "explore", "tables"}),
    ("cli/console.py", '"--network"', '"--net"', set()),
    ("runtime/progress_bar.py", "leave=False", "leave=True", set()),
    ("settings/layout.py", "/accuracy.csv", "/table.csv", set()),
    ("runtime/provenance.py", "path.parent.name, path.stem", "path.stem, path.parent.name",
     {"correlate", "cycles", "plot", "summarise", "claims", "explore", "tables"}),
    ("cli/accelerator.py", "tf32 = False", "tf32 = True",
     {"train", "sensitivity", "evaluate", "perturb", "where"}),
    ("programming/swim_device.py", "part.gain /", "part.gain * 2 /", {"where"}),
    ("evaluation/spending.py", "cycles > 0", "cycles >= 1", {"where"}),
    ("runtime/files.py", "indent=2", "indent=3", set(CHOICES)),
    ("runtime/writing.py", "os.replace", "os.rename", set(CHOICES)),
    ("settings/policies.py", 'uswim", ends_verified=True', 'uswim", ends_verified=False',
     {"summarise", "cycles", "plot", "claims", "explore", "tables"}),
    ("settings/estimator_traits.py", 'DRAWING = frozenset({', 'DRAWING = frozenset({"recursion", ',
     {"sensitivity"}),
    ("runtime/finished_rows.py", "list(row)", "list(row)[:1]", {"evaluate", "perturb", "train"}),
    ("settings/registry.py", '"random": "swim.sel', '"chance": "swim.sel', set()),
    ("settings/sections.py", "Field(20, ge=0", "Field(21, ge=0", set()),
    ("networks/training.py", "import math\n", "# why\nimport math\n\n\n", set()),
    ("networks/training.py", '"""Train a network.', '"""Optimise a network.', set()),
]  # fmt: skip


def identifier(value):
    """Sets in a fixed order: every worker of pytest-xdist must name a test alike."""
    return " ".join(sorted(value)) or "nothing" if isinstance(value, set) else value[:24]


@pytest.mark.long
@pytest.mark.parametrize(("file", "old", "new", "changed"), EDITS, ids=identifier)
def test_an_edit_changes_the_steps_that_run_it(unedited, monkeypatch, file, old, new, changed):
    folder, before = unedited
    monkeypatch.setattr(code_digest, "ROOT", folder)
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new))
    try:
        after = digests()
    finally:
        (folder / file).write_text(text)
        forget_sources()
    assert {step for step in CHOICES if before[step] != after[step]} == changed


def test_relative_imports_are_followed(code):
    scores = code / "selection/scores"
    (scores / "swim.py").write_text("from . import helper\nfrom .other import thing\n")
    (scores / "helper.py").write_text("from ...runtime.rng import key\n")
    (scores / "other.py").write_text("thing = 1\n")
    forget_sources()
    found = code_digest.sources("swim.selection.scores.swim")
    assert {
        "swim.selection.scores.helper",
        "swim.selection.scores.other",
        "swim.runtime.rng",
    } <= set(found)


USER = {
    "nets.py": "import json\nfrom torch import nn\nimport helper\nfrom parts import layers\n"
               "def make():\n    from late import thing\n    return nn.Linear(helper.N, 2)\n",
    "helper.py": "import deep.inner\nfrom importlib import import_module\n"
                 "N = 3\nother = import_module('called')\n",
    "parts/layers.py": "from . import beside\n",  # a folder without an __init__.py
    "parts/beside.py": "a = 1\n",
    "late.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import unused\nelse:\n"
               "    import used\nthing = 1\n",
    "deep/__init__.py": "",
    "deep/inner.py": "x = 1\n",
    "called.py": "y = 1\n",
    "used.py": "z = 1\n",
    "unused.py": "z = 1\n",
    "stranger.py": "z = 1\n",
}  # fmt: skip
SEEN = set(USER) - {"unused.py", "stranger.py"}


@pytest.mark.parametrize("kind", ["network", "variation"])
def test_modules_beside_a_users_own_are_part_of_the_digest(tmp_path, monkeypatch, kind):
    for name, text in USER.items():
        write_text(tmp_path / name, text)
    monkeypatch.chdir(tmp_path)

    def found():
        forget_sources()
        return code_digest.digest_of(**{kind: "nets:make"})

    before = found()
    changed = set()
    for name, text in USER.items():
        write_text(tmp_path / name, text + "more = 1\n")
        if found() != before:
            changed.add(name)
        write_text(tmp_path / name, "# why\n" + text)
        assert found() == before, name
        write_text(tmp_path / name, text)
    assert changed == SEEN
    (tmp_path / "deep/inner.py").write_text("x = (")
    with pytest.raises(SettingError, match=r"inner\.py: cannot be read as Python"):
        found()
    forget_sources()


def test_a_package_that_is_installed_counts_by_its_release(tmp_path, monkeypatch):
    write_text(tmp_path / "nets.py", "import yaml\nimport torch\n")
    monkeypatch.chdir(tmp_path)
    forget_sources()
    found = code_digest.sources("nets")
    assert "yaml" in found
    assert "torch" not in found
    assert code_digest._content("yaml").split()[-1][0].isdigit()
    forget_sources()


def test_when_to_stop_is_no_part_of_a_chip(code):
    """Another block size reruns evaluations, which then go on from the chips that are done."""
    modules = ("swim.evaluation.monte_carlo", "swim.networks.checkpoint", "swim.data.dataset")
    forget_sources()
    before = code_digest.digest_of(*modules, network="lenet"), code_digest.digest("evaluate")
    stopping = code / "evaluation/stopping.py"
    stopping.write_text(stopping.read_text().replace("50", "60"))
    forget_sources()
    assert code_digest.digest_of(*modules, network="lenet") == before[0]
    assert code_digest.digest("evaluate") != before[1]


def test_images_of_ones_own_are_prepared_by_the_code_of_their_kind():
    found = {kind: set(code_digest.sources("swim.cli.prepare", own_data_set=kind))
             for kind in ("file", "folder")}  # fmt: skip
    assert found["folder"] - found["file"] == {"swim.data.sources.folder", "swim.data.image_files"}
    assert found["file"] - found["folder"] == {"swim.data.sources.npz"}


def test_another_function_of_the_same_module_is_another_choice(monkeypatch):
    forget_sources()
    before = (
        code_digest.digest("train", network="mlp3"),
        code_digest.digest("train", network="mlp4"),
    )
    monkeypatch.setitem(registry.NETWORKS, "mlp3", registry.NETWORKS["mlp4"])
    assert code_digest.digest("train", network="mlp3") != before[0]
    assert before[0] != before[1]


def test_an_unknown_choice():
    with pytest.raises(SettingError, match="known: swim"):
        code_digest.digest("select", method="swin")


# A process that has the libraries and nothing of ours, forked for each command that it is told.
STEPS = """
import json, os, sys
import click, matplotlib.backends.backend_agg, matplotlib.figure, pandas, pydantic
import safetensors.torch, scipy.stats, torch, torchvision
for line in sys.stdin:
    process = os.fork()
    if process == 0:
        answer, null = os.dup(1), os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        from swim.cli import cli
        cli.main(json.loads(line), standalone_mode=False)
        ours = [name for name in sys.modules if name.split(".")[0] == "swim"]
        os.write(answer, f"{' '.join(ours)}\\n".encode())
        os._exit(0)
    assert os.waitpid(process, 0)[1] == 0, line
"""


@pytest.fixture(scope="module")
def modules_of():
    """A function of a command's arguments: the modules of ours that its process imports."""
    with subprocess.Popen(
        [sys.executable, "-c", STEPS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def run(*arguments):
            print(json.dumps([str(a) for a in arguments]), file=process.stdin, flush=True)
            answer = process.stdout.readline()
            assert answer, f"{arguments} failed, see above"
            return set(answer.split())

        yield run
        process.stdin.close()


@pytest.mark.long
def test_a_real_run_of_each_step_imports_only_what_its_digest_covers(tmp_path, modules_of):
    at = {name: tmp_path / name for name in ("data", "model", "second", "mask", "table.csv")}
    files = ["--model", at["model"], "--data", at["data"]]
    chips = tmp_path / "chips/d/sigma-0.1"
    few = ["--chips", 2, "--test-images", 50]
    runs = {
        "prepare": ["--dataset", "mnist5k", "--out", at["data"]],
        "train": ["--data", at["data"], "--out", at["model"], "--training-epochs", 1,
                  "--training-quantised-epochs", 1, "--model-weight-bits", 4,
                  "--model-activation-bits", 4],
        "sensitivity": [*files, "--out", at["second"]],
        "select": ["--model", at["model"], "--sensitivity", at["second"], "--out", at["mask"]],
        "evaluate": [*files, "--mask", at["mask"], "--out", chips / "swim/0.1.csv", *few,
                     "--clean", chips / "clean.csv"],
        "perturb": [*files, "--out", tmp_path / "d/sigma-0.1.csv", "--weights", 5, "--images", 50],
        "correlate": [tmp_path / "d/sigma-0.1.csv", "--model", at["model"], "--sensitivity",
                      at["second"], "--method", "swim", "--experiment", "e", "--label", "m",
                      "--dataset", "d", "--out", tmp_path / "c.csv", "--figure",
                      tmp_path / "f.png"],
        "summarise": [chips / "swim/0.1.csv", chips / "all/1.csv", chips / "clean.csv",
                      "--experiment", "e", "--model", "m", "--dataset", "d", "--out",
                      at["table.csv"], "--paired", tmp_path / "paired.csv"],
        "cycles": [tmp_path / "chips", "--experiment", "e", "--out", tmp_path / "cycles.csv"],
        "claims": ["--cycles", tmp_path / "cycles.csv", "--accuracy", at["table.csv"],
                   "--out", tmp_path / "claims.json", "--html", tmp_path / "claims.html"],
        "tables": ["--cycles", tmp_path / "cycles.csv", "--accuracy", at["table.csv"], "--paired",
                   tmp_path / "paired.csv", "--experiment", "e", "--out", tmp_path / "t.html"],
        "explore": [tmp_path / "chips", "--experiment", "e", "--out", tmp_path / "e.html"],
        "where": ["--model", at["model"], "--sensitivity", at["second"], "--mask", at["mask"],
                  "--policy", "swim_device", "--chips", 1, "--out", tmp_path / "where.csv"],
        "plot": [at["table.csv"], "--out", tmp_path],
        "describe": ["--out", tmp_path / "settings.json"],
    }  # fmt: skip
    assert list(runs) == list(CHOICES)
    for step, arguments in runs.items():
        if step == "summarise":  # its table and later ones need something to compare with
            write_table(chips / "all/1.csv", (chips / "swim/0.1.csv").read_text())
        covered = set(code_digest.sources(f"swim.cli.{step}", **CHOICES[step])) | code_digest.INERT
        # Settings read these two as well; who decides by them imports them, see test_left_out.
        settings = {"swim.settings.policies", "swim.settings.estimator_traits"}
        assert modules_of(step, *arguments) <= covered | settings, step


def test_everything_registered_exists():
    for kind, names in registry.KINDS.items():
        for name in names:
            assert registry.find(kind, name) is not None
