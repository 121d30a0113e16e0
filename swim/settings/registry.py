"""Everything that settings choose by name. To add one, write its file and add its line here.

Names lead to ``module:attribute`` (or a module) as text, so that nothing is imported before it
is used and a step depends on the code of what it chose alone.
"""

import difflib
import os
import sys
import unicodedata
from collections.abc import Collection
from importlib import import_module
from typing import Any

from swim.errors import SettingError, short
from swim.settings import policies

# Functions of (in_channels, classes) that give an nn.Module.
NETWORKS = {
    "mlp3": "swim.networks.zoo.mlp:mlp3",
    "mlp4": "swim.networks.zoo.mlp:mlp4",
    "lenet": "swim.networks.zoo.lenet:LeNet",
    "convnet": "swim.networks.zoo.convnet:ConvNet",
    "resnet18": "swim.networks.zoo.resnet:resnet18",
    "vgg11": "swim.networks.zoo.vgg:vgg11",
    "densenet121": "swim.networks.zoo.densenet:densenet121",
}

# Modules with CLASSES, MEAN, STD, AUGMENTATION, HELP and load(root, download), see
# swim.data.sources.
DATASETS = {
    "mnist5k": "swim.data.sources.mnist5k",
    "mnist": "swim.data.sources.mnist",
    "cifar10": "swim.data.sources.cifar10",
    "tinyimagenet": "swim.data.sources.tinyimagenet",
}

# Modules with load(own), for images of the user's own; keys are those of swim.settings.OwnDataSet.
OWN_DATASETS = {
    "file": "swim.data.sources.npz",
    "folder": "swim.data.sources.folder",
}

# Functions of (model, batches, *, loss, progress, control) that return second derivatives, or what
# is ranked in their place: one float64 tensor per weight, summed over samples; see swim.curvature.
# Those that swim.settings.estimator_traits.DRAWING names take seed and samples, too.
ESTIMATORS = {
    "recursion": "swim.curvature.recursion:recursion",
    "recursion_coherent": "swim.curvature.recursion_coherent:recursion_coherent",
    "release": "swim.curvature.release:release",
    "gradient": "swim.curvature.gradient:gradient",
    "empirical_fisher": "swim.curvature.empirical_fisher:empirical_fisher",
    "gauss_newton": "swim.curvature.gauss_newton:gauss_newton",
    "gauss_newton_probe": "swim.curvature.gauss_newton_probe:gauss_newton_probe",
    "monte_carlo_fisher": "swim.curvature.monte_carlo_fisher:monte_carlo_fisher",
    "hutchinson": "swim.curvature.hutchinson:hutchinson",
}

# Modules with NEEDS and score(inputs); see swim.selection.scores.
METHODS = {
    "swim": "swim.selection.scores.swim",
    "swim_coherent": "swim.selection.scores.swim_coherent",
    "swim_release": "swim.selection.scores.swim_release",
    "layer_greedy": "swim.selection.scores.layer_greedy",
    "second": "swim.selection.scores.second",
    "saliency": "swim.selection.scores.saliency",
    "gradient": "swim.selection.scores.gradient",
    "fisher": "swim.selection.scores.fisher",
    "monte_carlo_fisher": "swim.selection.scores.monte_carlo_fisher",
    "gauss_newton": "swim.selection.scores.gauss_newton",
    "gauss_newton_probe": "swim.selection.scores.gauss_newton_probe",
    "hutchinson": "swim.selection.scores.hutchinson",
    "magnitude": "swim.selection.scores.magnitude",
    "random": "swim.selection.scores.random",
}

# Policies that decide on each chip, by what is read, within a budget of write cycles; their lines
# are in swim/settings/policies.py.
POLICIES = {name: entry.home for name, entry in policies.ENTRIES.items()}
IN_SITU = policies.IN_SITU

# Functions of levels that give factors of sigma; see swim.devices.
VARIATIONS = {
    "rram1": "swim.devices.four_level:RRAM1",
    "fefet2": "swim.devices.four_level:FEFET2",
    "rram4": "swim.devices.four_level:RRAM4",
    "fefet6": "swim.devices.four_level:FEFET6",
}

# Other names of the same, as the paper's first release has them.
ALIASES = {
    "network": {
        "MLP3": "mlp3",
        "MLP4": "mlp4",
        "LeNet": "lenet",
        "QLeNet": "lenet",
        "CIFAR": "convnet",
        "QCIFAR": "convnet",
        "Res18": "resnet18",
        "QRes18": "resnet18",
        "TIN": "resnet18",
        "QTIN": "resnet18",
        "QVGG": "vgg11",
        "QDENSE": "densenet121",
    },
    "method": {"SM": "swim"},
    "selection method": {"SM": "swim"},
}
# The bits of weights and activations that an alias of a network stands for.
QUANTISED_ALIASES = {"QLeNet": 4, "QCIFAR": 6, "QRes18": 8, "QTIN": 8, "QVGG": 8, "QDENSE": 8}

KINDS = {
    "network": NETWORKS,
    "data set": DATASETS,
    "own data set": OWN_DATASETS,
    "estimator": ESTIMATORS,
    "selection method": METHODS,
    "policy": POLICIES,
    "variation": VARIATIONS,
    "method": {**METHODS, **POLICIES},
}
# Kinds that may also be the user's own code, by its import, ``package.module:function``.
CUSTOM = ("network", "variation", "selection method")


# Stands in a description for the methods that rank by the experiment's estimator.
BY_CURVATURE = "<methods with NEEDS curvature>"


def with_names(description: str) -> str:
    """A setting's description with :data:`BY_CURVATURE` replaced by names, from their files."""
    if BY_CURVATURE not in description:
        return description
    named = [name for name in METHODS if find("selection method", name).NEEDS == "curvature"]
    return description.replace(BY_CURVATURE, ", ".join(named))


def suggest(value: str, known: Collection[str]) -> str:
    """The allowed names, the closest one first, and letters that only look like Latin ones."""
    close = difflib.get_close_matches(value[:100], known, 1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    odd = foreign(value)
    return f"{f'it has {odd}; ' if odd else ''}{hint}known: {', '.join(known)}"


def foreign(text: str) -> str:
    """The first character beyond ASCII, by its code and name; nothing if there is none."""
    for character in text:
        if not character.isascii():
            return f"U+{ord(character):04X} ({unicodedata.name(character, 'no character').lower()})"
    return ""


def canonical(kind: str, name: str, custom: Collection[str] = ()) -> str:
    """The name, or what an alias stands for.

    Args:
        kind: a key of :data:`KINDS`.
        name: as a user writes it.
        custom: further names, of what is the user's own.

    Raises:
        SettingError: nothing of that kind has it; the message lists what there is.
    """
    aliases = ALIASES.get(kind, {})
    if not isinstance(name, str):
        raise SettingError(f"{kind}: a name is text, not {short(name)}")
    if name in custom:
        return name
    if name not in KINDS[kind] and name not in aliases:
        known = suggest(name, [*custom, *KINDS[kind], *aliases])
        raise SettingError(f"unknown {kind} {short(name)}{_elsewhere(kind, name)}; {known}")
    return aliases.get(name, name)


def _elsewhere(kind: str, name: str) -> str:
    """What a name stands for that was taken for one of another kind: masks and policies differ."""
    other = {"selection method": "policy", "policy": "selection method"}.get(kind, "")
    if name not in KINDS.get(other, ()) and name not in ALIASES.get(other, {}):
        return ""
    asked = {
        "policy": "a policy, which decides on each chip (in Python swim.policy)",
        "selection method": "a selection method, which gives a mask (in Python swim.select)",
    }
    return f", which is {asked[other]}"


def home(kind: str, name: str) -> str:
    """``module:attribute``, or a module, that a name of a kind stands for.

    A network, a device's variation or a selection method may also be that itself:
    ``mypackage.nets:make``.
    """
    if kind in CUSTOM and ":" in str(name):
        return name
    return KINDS[kind][canonical(kind, name)]


def find(kind: str, name: str) -> Any:
    """What a name of a kind (a key of :data:`KINDS`) stands for, imported.

    Raises:
        SettingError: nothing of that kind has the name, or the user's own cannot be imported.
    """
    place = home(kind, name)
    module, _, attribute = place.partition(":")
    if name in KINDS[kind] or place != name:
        found = import_module(module)
        return getattr(found, attribute) if attribute else found
    return _custom(f"{kind} {name!r} cannot be imported", module, attribute)


def _custom(fault: str, module: str, attribute: str) -> Any:
    """What an import of the user's own leads to; the folder that the command runs in comes first.

    Raises:
        SettingError: there is no such module, it raises, or it lacks the attribute.
    """
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:  # `python -m swim` has it, the script has not
        sys.path.insert(0, here)
    try:
        found = import_module(module)
    except Exception as error:  # whatever a user's code raises as it is imported
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{module}.".startswith(f"{missing}."):
            raise SettingError(f"{fault}: {nowhere(module)}") from error
        raise SettingError(f"{fault}: importing {module} raised {error!r}") from error
    if not hasattr(found, attribute):
        names = [key for key in vars(found) if not key.startswith("_")]
        raise SettingError(f"{fault}: {module} has no {attribute!r}; {suggest(attribute, names)}")
    return getattr(found, attribute)


def nowhere(module: str) -> str:
    """What to say of a module that is not there: where it was searched."""
    others = os.environ.get("PYTHONPATH", "")
    return (
        f"there is no module {module!r}: it must be installed, or lie in the folder that the "
        f"command runs in ({os.getcwd()}) or in one of PYTHONPATH ({others or 'which is not set'})"
    )
