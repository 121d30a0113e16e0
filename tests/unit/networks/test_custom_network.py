"""A network of the user's own, named by its import; and the first release's names."""

import json
import os

import pytest
import torch
from click.testing import CliRunner

from swim.cli import cli
from swim.errors import DataError, SettingError
from swim.networks import checkpoint
from swim.runtime import code_digest
from swim.settings import ModelSettings, SelectJob, registry, section_json
from tests.unit.conftest import forget_sources

CODE = '''
"""Two layers."""
from torch import nn
from .blocks import hidden

def make(width, classes=10):
    return nn.Sequential(nn.Flatten(), nn.Linear(784, width), hidden(), nn.Linear(width, classes))

def broken():
    raise KeyError("no such thing")

def not_a_network():
    return 3
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = tmp_path / f"own_{os.urandom(4).hex()}"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "nets.py").write_text(CODE)
    (folder / "blocks.py").write_text("from torch import nn\nhidden = nn.ReLU\n")
    forget_sources()
    yield folder
    forget_sources()


def settings(package, function="make", **arguments):
    return ModelSettings.model_validate(
        {"import": f"{package.name}.nets:{function}", "arguments": arguments}
    )


def test_it_is_built_with_its_arguments(package, digits):
    model = checkpoint.initial(settings(package, width=7), digits, 0)
    assert model[1].weight.shape == (7, 784)
    again = checkpoint.initial(settings(package, width=7), digits, 0)
    assert torch.equal(model[1].weight, again[1].weight)
    assert settings(package, width=7).label == "make"


@pytest.mark.parametrize(
    ("function", "arguments", "text"),
    [
        ("broken", {}, r"broken\(\) raised KeyError"),
        ("make", {"wdth": 3}, r"make\(wdth=3\) raised TypeError.*wdth"),
        ("not_a_network", {}, "gave int, not an nn.Module"),
        ("missing", {}, "cannot be imported"),
    ],
)
def test_what_is_wrong_is_said(package, digits, function, arguments, text):
    with pytest.raises(SettingError, match=text):
        checkpoint.initial(settings(package, function, **arguments), digits, 0)


def test_network_with_fewer_outputs_than_classes_is_refused(package, digits):
    with pytest.raises(DataError, match=r"gives \(1, 4\).*at least 10 classes"):
        checkpoint.initial(settings(package, width=3, classes=4), digits, 0)


def test_its_code_is_among_the_sources(package):
    name = f"{package.name}.nets:make"
    before = code_digest.digest("train", network=name)
    covered = code_digest.sources("swim.cli.train", network=name)
    assert {f"{package.name}.nets", f"{package.name}.blocks", package.name} <= set(covered)
    (package / "blocks.py").write_text("from torch import nn\nhidden = nn.Tanh\n")
    forget_sources()
    assert code_digest.digest("train", network=name) != before
    (package / "blocks.py").write_text("from torch import nn\n\n# as before\nhidden = nn.ReLU\n")
    forget_sources()
    assert code_digest.digest("train", network=name) == before


def test_an_installed_package_is_its_release():
    forget_sources()
    found = code_digest.sources("swim.cli.train", network="torchvision.models:mobilenet_v2")
    assert [name for name in found if name.startswith("torchvision")] == ["torchvision.models"]


def test_a_module_that_is_nowhere():
    with pytest.raises(SettingError, match=r"there is no module 'nowhere\.nets'"):
        code_digest.digest("train", network="nowhere.nets:make")


def test_a_checkpoint_alone_imports_nothing(package, digits, tmp_path):
    own = settings(package, width=4)
    made = tmp_path / "m.safetensors"
    checkpoint.save(made, checkpoint.initial(own, digits, 0), digits, {"model": own.model_dump()})
    with pytest.raises(SettingError, match=f"if you trust that, add --network {own.factory}"):
        checkpoint.load(made)
    with pytest.raises(SettingError):
        checkpoint.load(made, "os:system")
    loaded, record = checkpoint.load(made, own.factory)
    assert loaded[1].weight.shape == (4, 784)
    assert record["model"]["import"] == own.factory
    result = CliRunner().invoke(cli, ["evaluate", "--model", str(made), "--data", "none", "--out",
                                      "x.csv", "--verify", "none"])  # fmt: skip
    assert isinstance(result.exception, SettingError)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"name": "lenet", "import": "a.b:c"}, "name or import, not both"),
        ({"name": "lenet", "arguments": {"x": 1}}, "a named network takes none"),
        ({"import": "a.b"}, "import"),
        ({"import": "a.b:c()"}, "import"),
        ({"name": "QLenet"}, "did you mean"),
    ],
)
def test_settings_that_cannot_be(content, text):
    with pytest.raises(ValueError, match=text):
        ModelSettings.model_validate(content)


def test_names_of_the_first_release():
    four = ModelSettings.model_validate({"name": "QLeNet"})
    assert (four.name, four.weight_bits, four.activation_bits) == ("lenet", 4, 4)
    six = ModelSettings.model_validate({"name": "QCIFAR", "activation_bits": 8})
    assert (six.name, six.weight_bits, six.activation_bits) == ("convnet", 6, 8)
    assert ModelSettings.model_validate({"name": "TIN"}) == ModelSettings(name="resnet18")
    for kind, aliases in registry.ALIASES.items():
        for alias, name in aliases.items():
            assert registry.find(kind, alias) is registry.find(kind, name)
    assert set(registry.QUANTISED_ALIASES) <= set(registry.ALIASES["network"])
    job = SelectJob.model_validate({"method": "SM"})
    assert json.loads(section_json(job))["method"] == "swim"
