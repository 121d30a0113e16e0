"""What no digest covers changes no number: modules, and settings without effect."""

import ast
import inspect

import numpy as np
import pytest
import torch

from swim.curvature.estimate import second_derivative
from swim.devices.from_settings import of_settings
from swim.errors import SettingError
from swim.networks import checkpoint
from swim.networks.training import train
from swim.programming.chip import Chip
from swim.programming.lookup import of_name
from swim.programming.mask import VerifyMask
from swim.runtime import code_digest
from swim.settings import (
    DeviceSettings,
    ModelSettings,
    PerturbJob,
    SensitivityJob,
    TrainingSettings,
    TrainJob,
    estimator_traits,
    registry,
)

# All that modules in digests take from those that are not, and why it changes no number there.
TAKEN = {
    "swim.cli.console": {"FILE", "trusted_network"},  # flags, messages
    "swim.cli.options": {"Finite", "figure_options", "json_object", "settings_options"},  # settings
    # Checks a setting, and gives it back as it is; the spelling of a number in swim.sweep's tables.
    "swim.settings.decimals": {"canonical", "spelt"},
    "swim.data.download": {"is_original", "obtain", "unpack"},  # files of known sums
    # Errors and their words.
    "swim.errors": {"DataError", "SettingError", "SwimError", "UnsupportedOperationError", "short"},
    "swim.settings.validation": {"parse"},  # settings
    "swim.runtime.lazy": {"exports"},  # names, which digests follow to their modules
    # Records and messages, whether a processor has the units that training asks for, and on how
    # many cores an estimate measures its parts.
    "swim.runtime.machine": {"bfloat16_units", "cores", "hardware", "line", "runs_on", "versions"},
    # Progress on a terminal.
    "swim.runtime.progress_bar": {"Bars", "duration", "meter", "progress_bar"},
    # Names, which are settings, and where their code is, which digests follow. POLICIES chooses
    # words of captions, KINDS which names of folders are checked; with_names completes help texts.
    "swim.settings.registry": {
        "ALIASES", "DATASETS", "KINDS", "METHODS", "POLICIES", "canonical", "find", "with_names",
    },
    "swim.runtime.code_digest": {"digest_of"},
    # Names of files, which make their files again where they change.
    "swim.settings.layout": {
        "ACCURACY", "ALL_CHIPS_FILES", "ALL_POINTS", "ALL_VERIFIED", "CHIPS_FOLDER", "CLAIMS_PAGE",
        "CLEAN", "DATA_FILE", "EXPERIMENT", "FIGURES", "MODEL_FILE", "ON_CHIPS", "PERTURBATIONS",
        "POINT", "SENSITIVITY", "SETTINGS", "SIGMA_PREFIX", "SUMMARY", "benchmark", "file_name",
    },
    "swim.settings.sections": {"SMALLEST_TOLERANCE"},  # bounds what may be asked for
    # Sections, whose values are in digests; MOST bounds what may be asked for.
    "swim.settings": {
        "AdoptJob", "ClaimsJob", "Compute", "ConfigFile", "CorrelateJob", "CustomScore",
        "DeviceSettings",
        "EvaluateJob", "InSituJob", "MOST", "ModelSettings", "OwnDataSet", "PerturbJob",
        "PlotJob", "ProgramJob", "SelectJob", "SensitivityJob", "SummariseJob", "TrainJob",
        "TrainingSettings", "VariationSettings", "WhereJob", "section_json",
    },
}  # fmt: skip


def modules():
    for path in code_digest.ROOT.rglob("*.py"):
        parts = ["swim", *path.relative_to(code_digest.ROOT).with_suffix("").parts]
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def taken_by(name):
    """(module, name) pairs of all that a module takes from modules without digests."""
    tree, package = code_digest._tree(name), code_digest._package(name)
    inert, aliases = code_digest.INERT, {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                assert alias.name not in inert or alias.asname, f"{name}: import {alias.name}"
                aliases[alias.asname] = alias.name
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                if code_digest._path(inner):
                    aliases[alias.asname or alias.name] = inner
                elif module in inert:
                    yield module, alias.name
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = aliases.get(node.value.id)
            if module in inert and not code_digest._path(f"{module}.{node.attr}"):
                yield module, node.attr


def test_all_that_is_taken_from_modules_without_a_digest_is_known():
    found = {}
    for name in modules():
        if name not in code_digest.INERT:
            for module, attribute in taken_by(name):
                found.setdefault(module, set()).add(attribute)
    assert found == TAKEN


def test_modules_without_a_digest_exist():
    assert set(modules()) >= code_digest.INERT


@pytest.mark.parametrize("name", registry.ESTIMATORS)
def test_estimators_that_draw_are_those_with_a_seed(name):
    taken = inspect.signature(registry.find("estimator", name)).parameters
    assert set(registry.ESTIMATORS) >= estimator_traits.DRAWING
    assert ({"seed", "samples"} <= set(taken)) == (name in estimator_traits.DRAWING)
    assert ("probe" in taken) == (name in estimator_traits.PROBING)


OTHER = {"verified_sigma": 0.01, "read_noise": 0.5, "clip": True, "pulse_gain": 0.7,
         "tolerance": 0.2, "variation": {"name": "rram1"}}  # fmt: skip
TARGETS = {"a": torch.randn(9, 11, generator=torch.Generator().manual_seed(0))}
CURVATURE = {name: target.double().square() for name, target in TARGETS.items()}


def left_out(settings):
    return [name for name, out in settings.without_effect().items() if out is True]


@pytest.mark.parametrize("way", ["closed_form", "redraw", "pulse"])
@pytest.mark.parametrize("policy", ["mask", *registry.POLICIES])
def test_a_devices_settings_without_effect_change_no_chip(way, policy):
    settings = DeviceSettings(write_verify=way, M=4, K=2)
    names = [name for name in left_out(settings) if name != "variation"]
    assert names

    def chips(settings):
        rule = VerifyMask({"a": TARGETS["a"] > 0}) if policy == "mask" else of_name(
            policy, 0.2, CURVATURE
        )  # fmt: skip
        device = of_settings(settings, "0.2")
        return [rule.program(Chip(TARGETS, device, 3, index)) for index in range(2)]

    try:
        right = chips(settings)
    except SettingError as error:  # who reads each write cannot be asked where none is simulated
        assert way == "closed_form", error  # noqa: PT017
        return
    for name in names:
        # A closed form with reads is refused; what it would do with them is still to be nothing.
        changed = settings.model_copy(update={name: OTHER[name]})
        if way == "closed_form" and name in ("read_noise", "clip"):
            with pytest.raises(ValueError, match="need write_verify"):
                DeviceSettings(**{**settings.model_dump(), name: OTHER[name]})
            continue
        for one, other in zip(right, chips(changed), strict=True):
            assert torch.equal(one.weights["a"], other.weights["a"]), name
            assert (one.nwc, one.reads) == (other.nwc, other.reads), name


def test_a_perturbation_does_not_depend_on_what_its_digest_leaves_out():
    job = PerturbJob()
    names = job.without_effect()["device"]
    assert names == {"verified_sigma", "tolerance", "variation"}
    plain = of_settings(job.device, "0.2").weight_std(False)
    for name in names - {"variation"}:  # which is left out where it is none
        changed = job.device.model_copy(update={name: OTHER[name]})
        assert of_settings(changed, "0.2").weight_std(False) == plain


@pytest.mark.parametrize("estimator", registry.ESTIMATORS)
def test_an_estimators_settings_without_effect_change_no_score(digits, estimator):
    settings = ModelSettings(name="mlp3")
    model = checkpoint.initial(settings, digits, 0).eval()
    batches = list(digits.batches("train", 50, 100))
    job = SensitivityJob(estimator=estimator)
    drawing = set() if estimator in estimator_traits.DRAWING else {"estimator_samples", "seed"}
    probing = set() if estimator in estimator_traits.PROBING else {"probe"}
    assert set(left_out(job)) == drawing | probing

    def scores(**options):
        found = second_derivative(model, batches, estimator=estimator, **options)
        return torch.cat([h.flatten() for h in found.values()])

    names = {"estimator_samples": "samples", "seed": "seed", "probe": "probe"}
    others = {"estimator_samples": 3, "seed": 7, "probe": "labels"}
    for setting, name in names.items():
        same = torch.equal(scores(), scores(**{name: others[setting]}))
        assert same == (setting in left_out(job)), setting


def test_training_without_quantisation_depends_on_none_of_its_settings(digits):
    model = ModelSettings(name="mlp3")
    unused = TrainJob(model=model).without_effect()["training"]
    assert unused == {"quantised_epochs", "calibration_images"}

    def weights(**settings):
        chosen = TrainingSettings(**{"epochs": 1, "quantised_epochs": 0, **settings})
        made, _ = train(model, chosen, digits, seed=0, place=torch.device("cpu"))
        return np.concatenate([v.numpy().ravel() for v in made.state_dict().values()])

    right = weights()
    for changed in ({"quantised_epochs": 1}, {"calibration_images": 10}):
        assert np.array_equal(weights(**changed), right), changed
