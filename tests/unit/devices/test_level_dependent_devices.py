"""Devices whose standard deviation depends on what they hold: where they come from, and raises."""

import importlib
import json
import math
import os
import subprocess
import sys

import pandas as pd
import pytest
import torch

import swim
from swim.cli.evaluate import CLEAN
from swim.data import level_table
from swim.devices.equal_variance import at_equal_variance, relative_variance
from swim.devices.four_level import MiddleLevels
from swim.devices.from_settings import of_settings
from swim.devices.measured import Table
from swim.errors import DataError, SettingError
from swim.programming.chip import Chip
from swim.reports import device_variance
from swim.runtime import code_digest, files
from swim.settings import DeviceSettings, EvaluateJob, PerturbJob, registry, section_json
from tests.unit.conftest import forget_sources, run

FOUR = torch.tensor([0, 1 / 3, 2 / 3, 1])
RATIOS = {"rram1": 1, "fefet2": 2, "rram4": 4, "fefet6": 6}
BITS = (1, 2, 4)


def made(sigma=0.1, **settings):
    return of_settings({"M": 4, "K": 2, **settings}, sigma)


def accepts(name, bits):
    """Whether a known device says itself that it has so many bits."""
    try:
        getattr(registry.find("variation", name), "check", lambda bits: None)(bits)
    except SettingError:
        return False
    return True


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("name", registry.VARIATIONS)
def test_a_known_device_has_factors_at_every_level_or_is_refused_by_name(name, bits):
    settings = {"M": 8, "K": bits, "variation": {"name": name}}
    if not accepts(name, bits):
        with pytest.raises(SettingError, match=rf"^variation '{name}': .*K is {bits}"):
            of_settings(settings, 0.1)
        return
    levels = torch.arange(2**bits) / (2**bits - 1)
    factors = of_settings(settings, 0.1).variation(levels)
    assert factors.shape == levels.shape
    assert factors.dtype == levels.dtype
    assert (factors.isfinite() & (factors >= 0)).all()


@pytest.mark.parametrize("name", registry.VARIATIONS)
def test_a_known_device_is_meant_for_some_number_of_bits(name):
    assert any(accepts(name, bits) for bits in BITS)


def test_the_pipeline_asks_known_devices_for_their_bits_without_torch():
    code = (
        "import contextlib, sys\n"
        "from swim.devices import known\n"
        "from swim.errors import SettingError\n"
        "from swim.settings import registry\n"
        "for name in registry.VARIATIONS:\n"
        "    with contextlib.suppress(SettingError):\n"
        "        known.variation(name, 2)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", RATIOS)
def test_the_four_levels_of_a_known_device(name):
    s = RATIOS[name]
    n = math.sqrt(0.4 * s**2 + 0.6)
    factors = made(variation={"name": name}).variation(FOUR)
    torch.testing.assert_close(factors, torch.tensor([1 / n, s / n, s / n, 1 / n]))
    # Two in five devices in the middle: the mean variance is sigma's.
    assert 0.4 * (s / n) ** 2 + 0.6 / n**2 == pytest.approx(1)


def test_the_band_has_open_ends():
    levels = torch.tensor([0.25, 0.2501, 0.7499, 0.75])
    high = MiddleLevels(4)(levels) > 1
    assert high.tolist() == [False, True, True, False]


@pytest.mark.parametrize("name", RATIOS)
def test_a_one_bit_device_has_no_middle_level(name):
    variation = registry.find("variation", name)
    with pytest.raises(SettingError, match=r"^K is 1.*holds no middle level; set K to 2"):
        swim.Device(0.1, M=8, K=1, variation=variation)
    with pytest.raises(SettingError, match=rf"^variation '{name}': K is 1.*set K to 2"):
        of_settings({"M": 8, "K": 1, "variation": {"name": name}}, 0.1)
    assert made(K=4, variation={"name": name}).slices == 1


@pytest.mark.parametrize("level", [-0.01, 1.01, math.nan])
def test_levels_outside_of_full_scale(level):
    with pytest.raises(SettingError, match=f"level {level:g} is not between 0 and 1"):
        MiddleLevels(2)(torch.tensor([0.5, level]))


@pytest.mark.parametrize(
    ("variation", "text"),
    [
        ({}, "device.variation: give one of name, table and import"),
        ({"name": "rram4", "table": "x.csv"}, "give one of name"),
        ({"name": "ram4"}, r"device\.variation\.name: .*did you mean 'rram4'\?"),
        ({"name": "rram4", "arguments": {"s": 3}}, "arguments are those of `import`"),
        ({"import": "a.b"}, "import"),
        ({"nam": "rram4"}, r"device\.variation\.nam: unknown setting; did you mean 'name'"),
        ({"name": "rram4", "equal_variance": 1}, "equal_variance"),
    ],
)
def test_settings_that_cannot_be(variation, text):
    with pytest.raises(SettingError, match=text):
        made(variation=variation)


def test_without_a_variation_nothing_depends_on_there_being_one():
    """Results of devices of one sigma are not made again because there are others."""
    job = EvaluateJob()
    assert "variation" not in section_json(job)
    assert "variation" not in section_json(PerturbJob())
    own = DeviceSettings.model_validate({"K": 2, "variation": {"import": "a:b"}})
    stored = json.loads(section_json(EvaluateJob(device=own)))
    assert stored["device"]["variation"]["import"] == "a:b"
    assert of_settings(DeviceSettings(), "0.1") == swim.Device(0.1)


@pytest.fixture
def table(tmp_path):
    def write(text, name="levels.csv"):
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


def test_a_table_is_interpolated_and_absolute(table):
    path = table("# some chip\nlevel,note,sigma\n\n0,a,0.02\n0.5,b,0.08\n1,c,0.04\n")
    device = made("1", variation={"table": path})
    torch.testing.assert_close(
        device.variation(torch.tensor([[0, 0.25], [0.75, 1]])),
        torch.tensor([[0.02, 0.05], [0.06, 0.04]]),
    )
    twice = made("2", M=2, variation={"table": path})
    assert twice.weight_std_at(torch.ones(1)).item() == pytest.approx(2 * 0.04)


def test_a_table_does_not_go_beyond_what_was_measured(table):
    path = table("level,sigma\n0.1,0.02\n1,0.04\n")
    with pytest.raises(SettingError, match=r"levels\.csv: covers levels from 0\.1 to 1.*level 0;"):
        made("1", variation={"table": path})
    with pytest.raises(SettingError, match=r"hold level 0\.95"):
        Table("x", (0.0, 0.9), (0.1, 0.1))(torch.tensor([0.5, 0.95]))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("level,std\n0,1\n1,1\n", "lacks the column sigma;.*this one has level, std"),
        ("", "lacks the column level and sigma;.*this one has none"),
        ("level,sigma\n0,0.1\nhalf,0.1\n", "line 3: level is 'half', not a number"),
        ("level,sigma\n0,0.1\n1\n", "line 3: sigma is '', not a number"),
        ("level,sigma\n0,nan\n1,0\n", "line 2: sigma is nan, not a finite number"),
        ("# x\nlevel,sigma\n0,0.1\n1,0.1\n0.5,0.1\n", "line 5: level 0.5 follows 1; levels must"),
        ("level,sigma\n0,0.1\n0,0.1\n", "line 3: level 0 follows 0;"),
        ("level,sigma\n0,0.1\n1,-0.1\n", "line 3: sigma -0.1 is negative"),
        ("level,sigma\n0,0.1\n1.5,0.1\n", "line 3: level 1.5 is not between 0 and 1"),
        ("level,sigma\n0,0.1\n", "needs two levels or more; this one has 1"),
    ],
)
def test_a_faulty_table_is_named_with_its_line(table, text, part):
    with pytest.raises(DataError, match=r"levels\.csv.*" + part):
        level_table.read(table(text))


def test_a_table_that_is_nowhere():
    with pytest.raises(DataError, match=r"nowhere\.csv: a table of levels cannot be read"):
        made("1", variation={"table": "nowhere.csv"})


CODE = """
import torch
from swim.errors import SettingError

def rising(levels, slope=1.0):
    return 1 + slope * levels

class Rising:
    def __init__(self, slope):
        self.slope = slope
    def __call__(self, levels):
        return 1 + self.slope * levels

class Silent:
    pass

class TwoBits:
    def check(self, bits):
        if bits != 2:
            raise ValueError(f"two bits, not {bits}")
    def __call__(self, levels):
        return 1 + levels

def fails(levels):
    raise KeyError("no such thing")

def refuses(levels):
    raise SettingError("only below half of full scale")

def number(levels):
    return 2.0

def scalar(levels):
    return torch.tensor(2.0)

def negative(levels):
    return levels - 0.5

def random(levels):
    return torch.rand_like(levels)

constant = 3
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"own_{os.urandom(4).hex()}"
    (tmp_path / f"{name}.py").write_text(CODE)
    forget_sources()
    yield name
    forget_sources()


@pytest.mark.parametrize("name", ["rising", "Rising"])
def test_ones_own_function_or_class(module, name):
    device = made(variation={"import": f"{module}:{name}", "arguments": {"slope": 3.0}})
    torch.testing.assert_close(device.variation(FOUR), 1 + 3 * FOUR)
    assert device.weight_std_at(torch.ones(1)).item() == pytest.approx(4 * device.weight_std(False))


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        ("fails", {}, r":fails raised KeyError\('no such thing'\)"),
        ("refuses", {}, "^only below half"),
        (
            "number",
            {},
            r":number returned float; it must return a tensor shaped like the levels, \(4,\)",
        ),
        ("scalar", {}, r":scalar returned a tensor of shape \(\)"),
        (
            "negative",
            {},
            r":negative returned the factor -0\.5 at level 0;.*finite and not negative",
        ),
        ("random", {}, "same levels returned different factors"),
        ("rising", {"slop": 1}, r"raised TypeError.*slop"),
        ("Rising", {"slop": 1}, r"Rising\(slop=1\) raised TypeError"),
        ("Silent", {}, r"give its class a method __call__\(self, levels\)"),
        ("constant", {}, "is neither a function nor a class: 3"),
        ("missing", {}, "cannot be imported"),
    ],
)
def test_what_is_wrong_with_it_is_said(module, name, arguments, text):
    with pytest.raises(SettingError, match=text):
        made(variation={"import": f"{module}:{name}", "arguments": arguments})


def test_the_check_of_ones_own_class_decides_about_bits(module):
    variation = {"import": f"{module}:TwoBits"}
    assert made(variation=variation).K == 2
    with pytest.raises(SettingError, match=r":TwoBits\.check\(4\) raised ValueError.*not 4"):
        made(K=4, variation=variation)


def other_when_fewer(levels):
    return levels / levels.max()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("fails", r"fails raised KeyError\('no such thing'\)"),
        ("refuses", "^only below half"),
        ("number", "number returned float; it must return a tensor shaped like"),
        ("scalar", r"scalar returned a tensor of shape \(\)"),
        ("negative", "finite and not negative"),
        ("random", "same levels returned different factors"),
    ],
)
def test_a_function_in_python_is_checked_as_one_of_the_settings(module, name, text):
    function = getattr(importlib.import_module(module), name)
    with pytest.raises(SettingError, match=text):
        swim.Device(0.1, K=2, variation=function)
    with pytest.raises(SettingError, match=text):
        swim.Device(0.1, K=2, variation=swim.variation(f"{module}:{name}"))


@pytest.mark.parametrize(
    ("variation", "text"),
    [
        ("rram4", r"a function of levels, or None, not 'rram4'; swim\.variation\(name\)"),
        ({"name": "rram4"}, r"a function of levels, or None.*swim\.table\(path\)"),
        (other_when_fewer, "with some levels and with all returned different factors"),
        (lambda levels: levels.bool(), r"returned torch\.bool"),
        (
            lambda levels: levels.where(levels < 0.5, torch.nan),
            "the factor nan at level 0.6.*finite",
        ),
        (type("List", (list,), {"__call__": lambda self, levels: levels})(), "cannot be hashed"),
    ],
)
def test_what_is_no_variation_of_a_device(variation, text):
    with pytest.raises(SettingError, match=text):
        swim.Device(0.1, K=2, variation=variation)


@pytest.mark.parametrize(
    ("levels", "sigmas", "text"),
    [
        ((0.0,), (0.1,), "at least two levels that rise"),
        ((0.0, 1.0, 0.5), (0.1, 0.1, 0.1), "at least two levels that rise"),
        ((0.0, 1.5), (0.1, 0.1), "rise from 0 to 1"),
        ((0.0, 1.0), (0.1,), "and a sigma of each"),
        ((0.0, 1.0), (0.1, -0.1), "a sigma is negative or not finite"),
        ((0.0, 1.0), (0.1, math.nan), "a sigma is negative or not finite"),
    ],
)
def test_what_is_no_table(levels, sigmas, text):
    with pytest.raises(SettingError, match=f"mine: .*{text}"):
        Table("mine", levels, sigmas)


def test_a_device_in_python_is_that_of_the_settings(module, table):
    path = table("level,sigma\n0,0.02\n1,0.04\n")
    shape = {"M": 4, "K": 2, "equal_variance": True}
    assert swim.Device(2, **shape, variation=swim.table(path)) == made(
        "2", variation={"table": path, "equal_variance": True}
    )
    assert swim.Device(0.1, **shape, variation=swim.variation("fefet2")) == made(
        variation={"name": "fefet2", "equal_variance": True}
    )
    own = swim.Device(0.1, M=4, K=2, variation=swim.variation(f"{module}:rising", {"slope": 3.0}))
    torch.testing.assert_close(own.factors(FOUR), 1 + 3 * FOUR)


def test_a_tolerance_lost_in_rounding_is_refused_in_python_too():
    for make in (made, lambda **settings: swim.Device(0.1, **settings)):
        with pytest.raises(SettingError, match=r"tolerance \(1e-06\) must be at least 1e-05"):
            make(tolerance=1e-6)


@pytest.mark.long
def test_the_code_of_a_device_is_among_the_sources_of_what_programs_it(module, tmp_path):
    chosen = {"network": "lenet", "variation": f"{module}:rising"}
    before = code_digest.digest("evaluate", **chosen)
    (tmp_path / f"{module}.py").write_text(CODE.replace("1 + slope", "2 + slope"))
    forget_sources()
    assert code_digest.digest("evaluate", **chosen) != before
    found = {
        name: set(code_digest.sources("swim.cli.evaluate", variation=name))
        for name in ("rram4", "fefet6", "swim.devices.measured:read")
    }
    plain = set(code_digest.sources("swim.cli.evaluate"))
    assert found["rram4"] - plain == {"swim.devices.four_level"}
    assert found["fefet6"] == found["rram4"]
    assert found["swim.devices.measured:read"] - plain == {"swim.devices.measured"}


def test_equal_variance_needs_a_variation_that_varies():
    with pytest.raises(SettingError, match="this device has none"):
        swim.Device(0.1, equal_variance=True)
    still = swim.Device(0.1, variation=Table("x", (0.0, 1.0), (0.0, 0.0)), equal_variance=True)
    with pytest.raises(SettingError, match="sigma is 0 at every level"):
        Chip({"w": torch.ones(3)}, still, 0, 0)


def test_a_device_of_one_sigma_stays_what_it_is():
    targets = {"w": torch.randn(5, 4)}
    for device in (swim.Device(0.1), made(variation={"name": "rram1"})):
        assert relative_variance(device, targets) == 1
    device = made(variation={"name": "rram4"})
    assert at_equal_variance(device, targets) is device


def clean(folder, *options):
    out = folder / "d" / "sigma-0.1"
    run("evaluate", "--model", folder / "model", "--data", folder / "data", "--verify", "none",
        "--out", out / "none" / "0.csv", "--clean", out / "clean.csv", "--chips", 2,
        "--test-images", 50, "--device-M", 4, "--device-K", 2, *options)  # fmt: skip
    return out / "clean.csv"


@pytest.mark.long
@pytest.mark.parametrize("equal", [False, True])
def test_the_command_reports_the_variance(folder, equal):
    weights, _ = files.load_arrays(folder / "model")
    targets = {name: torch.from_numpy(w) for name, w in weights.items() if name.endswith("weight")}
    expected = relative_variance(made(variation={"name": "fefet6"}), targets)
    assert 0.2 < expected < 2
    choice = json.dumps({"name": "fefet6", "equal_variance": equal})
    path = clean(folder, "--device-variation", choice)
    row = pd.read_csv(path)
    assert tuple(row) == CLEAN
    variance, factor = (1, expected**-0.5) if equal else (expected, 1)
    assert row["variance"].item() == pytest.approx(variance, rel=1e-12)
    assert row["sigma_factor"].item() == pytest.approx(factor, rel=1e-12)
    (text,) = device_variance.markdown([path, path.parent / "none/0.csv"])
    assert f"| d | 0.1 | {variance:.4g} | {factor:.4g} |" in text


def test_the_report_is_for_devices_that_differ(folder):
    path = clean(folder)
    assert pd.read_csv(path)["variance"].tolist() == [1]
    assert device_variance.markdown([path]) == []


def test_a_changed_table_begins_again(folder, table):
    choice = json.dumps({"table": table("level,sigma\n0,0.1\n1,0.1\n")})
    path = clean(folder, "--sigma", "1", "--device-variation", choice).parent / "none/0.csv"
    first = path.read_bytes()
    table("level,sigma\n0,0.2\n1,0.2\n")
    clean(folder, "--sigma", "1", "--device-variation", choice)
    assert path.read_bytes() != first
    table("level,sigma\n0,0.1\n1,0.1\n")
    clean(folder, "--sigma", "1", "--device-variation", choice)
    assert path.read_bytes() == first
