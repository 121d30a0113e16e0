"""``config.yaml`` and what is given beside it, merged and checked at once, before any work."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from swim.errors import short
from swim.settings import inputs, layout, registry
from swim.settings.experiments import Config, ExperimentSettings, merge
from swim.settings.origin import Origins
from swim.settings.registry import suggest
from swim.settings.validation import Fault, faults_of, report


@dataclass(frozen=True)
class Images:
    """What a data set holds.

    Attributes:
        shape: of an image: channels, height, width.
        classes: number of classes.
        train: number of training images.
        test: number of test images.
        augmentation: its usual one.
        files: whether each image is a file of its own, which is decoded.
    """

    shape: tuple[int, int, int]
    classes: int
    train: int
    test: int
    augmentation: str = "none"
    files: bool = False


# The known data sets; others are described by their prepared file.
KNOWN_IMAGES = {
    "mnist5k": Images((1, 28, 28), 10, 4_000, 1_000),
    "mnist": Images((1, 28, 28), 10, 60_000, 10_000),
    "cifar10": Images((3, 32, 32), 10, 50_000, 10_000, "crop_flip"),
    "tinyimagenet": Images((3, 64, 64), 200, 100_000, 10_000, "crop_flip", files=True),
}
TRAINING_IMAGES = {name: images.train for name, images in KNOWN_IMAGES.items()}
NAMED = ("data_sets", "devices", "experiments", "comparisons")
Faults = Iterable[Fault]


def load(
    content: Mapping[str, Any], origins: Origins | None = None, taken: Iterable[str] = ()
) -> Config:
    """Resolve and check the content of ``config.yaml``.

    Args:
        content: all settings, merged.
        origins: where each comes from, for messages that name file and line.
        taken: names that no experiment may have, since the workflow has targets of that name;
            those of folders in ``results/`` are taken anyway.

    Raises:
        SettingError: naming each faulty setting, its value and what is allowed.
    """
    faults: list[Fault] = []
    content = _mapping(content, (), faults)
    if origins:
        for path, before in origins.wiped(("defaults", *NAMED)):
            faults.append(Fault(path, f"is empty, which would remove what {before} has there; "
                                "remove the line, or write {} to change nothing"))  # fmt: skip
    defaults = _mapping(content.pop("defaults", None), ("defaults",), faults)
    faults += faults_of(ExperimentSettings, defaults, ("defaults",))[1]
    for section in NAMED:
        content[section] = _mapping(content.get(section), (section,), faults)
    report(faults, origins)
    content["experiments"] = {
        name: merge(defaults, _mapping(own, ("experiments", name), faults))
        for name, own in content["experiments"].items()
    }
    config, more = faults_of(Config, content)
    report([*faults, *more], origins)
    assert config is not None
    report(list(_names(config, taken)), origins)
    for check in (_references, _comparisons, inputs.faulty_paths):
        report(list(check(config)), origins)
    return config


def without_gaps(content: Mapping[str, Any]) -> dict[str, Any]:
    """Valid settings, as the JSON schema has them: what is empty is a mapping of nothing."""
    filled = {key: {} if value is None else value for key, value in content.items()}
    experiments = {name: own or {} for name, own in filled.get("experiments", {}).items()}
    return {**filled, "experiments": experiments}


def _mapping(content: Any, path: tuple[Any, ...], faults: list[Fault]) -> dict[Any, Any]:
    if content is None:
        return {}
    if not isinstance(content, Mapping):
        faults.append(Fault(path, "must be a mapping of settings, `key: value`", content))
        return {}
    return dict(content)


def _names(config: Config, taken_by_targets: Iterable[str]) -> Faults:
    """Names that targets, folders or other names have already, on any file system."""
    reserved = {
        "experiments": frozenset([*taken_by_targets, *layout.TAKEN]),
        "comparisons": frozenset(layout.SUMMARY_FOLDERS),
        "data_sets": frozenset(registry.DATASETS),
        "devices": frozenset[str](),
    }
    for section, taken in reserved.items():
        known = {name.lower(): name for name in taken}
        for name in getattr(config, section):
            other = known.setdefault(name.lower(), name)
            if other in taken:
                like = "" if other == name else f", like {other!r} where case does not count"
                yield Fault((section, name), f"{name!r} is taken{like}; choose another name")
            elif other != name:
                yield Fault((section, name), f"{name!r} differs from {other!r} in case alone, and "
                            "some file systems take them for one; choose another name")  # fmt: skip


def _references(config: Config) -> Faults:
    """Devices and data sets that experiments name."""
    data_sets = [*registry.DATASETS, *config.data_sets]
    for name, experiment in config.experiments.items():
        for device in experiment.devices:
            if device not in config.devices:
                known = suggest(device, config.devices)
                path = ("experiments", name, "devices")
                yield Fault(path, f"unknown device {short(device)}; {known}")
        if (own := experiment.dataset) not in data_sets:
            path = ("experiments", name, "dataset")
            known = suggest(own, data_sets)
            yield Fault(path, f"unknown data set {short(own)}; {known}")
        images, most = experiment.sensitivity_images, TRAINING_IMAGES.get(own)
        if images and most and images > most:
            path = ("experiments", name, "sensitivity_images")
            yield Fault(path, f"must be at most {most}, the training images of {own}", images)


def _comparisons(config: Config) -> Faults:
    for name, comparison in config.comparisons.items():
        yield from _comparison(("comparisons", name, "experiments"), comparison.experiments, config)


def _comparison(path: tuple[str, ...], names: list[str], config: Config) -> Faults:
    """Compared experiments differ in their seed."""
    unknown = [name for name in names if name not in config.experiments]
    for name in unknown:
        known = suggest(name, config.experiments)
        yield Fault(path, f"unknown experiment {short(name)}; {known}")
    if unknown:
        return
    own = {"seed", "checkpoint"}
    one, *others = (config.experiments[name].model_dump() for name in names)
    for name, other in zip(names[1:], others, strict=True):
        keys = [key for key in one if key not in own and one[key] != other[key]]
        if keys:
            yield Fault(path, f"{name} differs from {names[0]} in {', '.join(keys)}; only seed and "
                        "checkpoint may differ")  # fmt: skip
    seeds = [config.experiments[name].seed for name in names]
    if len(set(seeds)) < len(seeds):
        yield Fault(path, f"each needs a seed of its own, these have {seeds}")
