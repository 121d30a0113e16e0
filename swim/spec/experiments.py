"""``config.yaml``: experiments, their defaults, and the checks that concern several sections."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from swim import registry
from swim.errors import SettingError
from swim.faults import parse
from swim.registry import suggest
from swim.spec.jobs import (
    Compute,
    EvaluateJob,
    SensitivityJob,
    TrainJob,
    check_epochs,
    check_precision,
)
from swim.spec.sections import (
    NAME,
    CorrelateSettings,
    DeviceSettings,
    Estimator,
    Fraction,
    InSituSettings,
    Method,
    ModelSettings,
    OwnDataSet,
    Section,
    Sigma,
    TrainingSettings,
    Within,
    as_in,
    check_repeats,
)


class ExperimentSettings(Section):
    """One experiment: a network, its data, and the curves to draw of it."""

    model: ModelSettings = as_in(TrainJob, "model")
    dataset: str = Field(
        "mnist5k",
        description=f"training and test images: {', '.join(registry.DATASETS)}, or a name under "
        "`data_sets:`",
    )
    training: TrainingSettings = as_in(TrainJob, "training")
    checkpoint: str | None = Field(
        None,
        description="a trained network of your own instead of training: safetensors, or a state "
        "dict by torch.save, one of the paper's first release included",
    )
    estimator: Estimator = as_in(SensitivityJob, "estimator")
    estimator_samples: int = as_in(SensitivityJob, "estimator_samples")
    curvature_noise: float = as_in(SensitivityJob, "curvature_noise")
    methods: list[Method] = Field(
        ["swim", "magnitude", "random"], min_length=1, description="selection methods to compare"
    )
    in_situ: InSituSettings | None = Field(
        None, description="also the baseline that trains on the chip; {} for its defaults"
    )
    correlate: CorrelateSettings | None = Field(
        None, description="also each score against measured loss; {} for its defaults"
    )
    devices: list[str] = Field(["four_bit"], min_length=1, description="names under `devices:`")
    sigmas: list[Sigma] = Field(
        ["0.1"], min_length=1, description="unverified devices' standard deviations, of full scale"
    )
    fractions: list[Fraction] = Field(
        ["0", "0.1", "0.3", "0.5", "0.7", "0.9", "1"],
        min_length=1,
        description="parts of the weights to verify",
    )
    budgets: list[Sigma] | None = Field(
        None,
        min_length=1,
        description="normalised write cycles that policies (uswim and below) spend; null: as "
        "`fractions`",
    )
    within: list[Within] = Field(
        ["0.1", "0.5", "1"],
        min_length=1,
        description="points of accuracy below everything verified at which cycles_to_accuracy.csv "
        "says how many cycles each method takes",
    )
    chips: int = as_in(EvaluateJob, "chips")
    precision: float | None = as_in(EvaluateJob, "precision")
    max_chips: int = as_in(EvaluateJob, "max_chips")
    test_images: int | None = as_in(EvaluateJob, "test_images")
    images_per_chip: int | None = as_in(EvaluateJob, "images_per_chip")
    batch_size: int = as_in(SensitivityJob, "batch_size")
    seed: int = as_in(TrainJob, "seed")
    accelerator: Literal["auto", "cpu", "cuda"] = as_in(Compute, "accelerator")
    arithmetic_threads: int = as_in(Compute, "arithmetic_threads")

    @model_validator(mode="after")
    def _an_honest_precision(self) -> "ExperimentSettings":
        check_precision(self.precision, self.chips, self.max_chips)
        return self

    @model_validator(mode="after")
    def _enough_epochs(self) -> "ExperimentSettings":
        check_epochs(self.model, self.training)
        return self

    @property
    def scored(self) -> list[str]:
        """The methods that `correlate` compares; chance gives no score, unless asked by name."""
        own = self.correlate.methods if self.correlate else None
        chosen = [method for method in self.methods if method in registry.METHODS]
        return own or [method for method in chosen if method != "random"]

    @model_validator(mode="after")
    def _something_to_correlate(self) -> "ExperimentSettings":
        if self.correlate and not self.scored:
            raise ValueError("correlate: there is no score but random's; name others in methods")
        return self

    @model_validator(mode="after")
    def _no_repeats(self) -> "ExperimentSettings":
        check_repeats(self, "methods", "devices", "sigmas", "fractions", "budgets", "within")
        return self


class ComparisonSettings(Section):
    """Experiments that differ in their seed alone: cycles to accuracy, averaged over them."""

    experiments: list[str] = Field(
        min_length=1, description="names under `experiments:`, alike but for seed and checkpoint"
    )


class Config(Section):
    """The whole file, resolved."""

    data_root: str = "data"
    download: Annotated[bool, Field(strict=False)] = True
    data_sets: dict[Annotated[str, Field(pattern=NAME)], OwnDataSet] = Field({})
    devices: dict[Annotated[str, Field(pattern=NAME)], DeviceSettings]
    experiments: dict[Annotated[str, Field(pattern=NAME)], ExperimentSettings]
    comparisons: dict[Annotated[str, Field(pattern=NAME)], ComparisonSettings] = Field({})


class ConfigFile(Section):
    """Settings of the SWIM pipeline."""

    data_root: str = Field("data", description="folder with, or for, the original data files")
    download: bool = Field(True, description="whether missing data files may be downloaded")
    data_sets: dict[str, OwnDataSet] = Field({}, description="images of your own by name")
    devices: dict[str, DeviceSettings] = Field(description="memory devices by name")
    defaults: ExperimentSettings = Field(description="what experiments share")
    experiments: dict[str, ExperimentSettings] = Field(
        description="what each changes in the defaults"
    )
    comparisons: dict[str, ComparisonSettings] = Field(
        {}, description="what `snakemake comparisons` puts into one table of cycles to accuracy"
    )


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Deep merge: mappings are merged, everything else, lists included, is replaced."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


# Names of rules and of folders in results/, which no experiment may have.
TAKEN = frozenset(
    {
        "all", "data", "summary", "prepare", "train", "adopt", "settings", "sensitivity", "select",
        "evaluate", "evaluate_none_verified", "evaluate_all_verified", "program", "in_situ",
        "summarise", "plot", "perturb", "correlate",
        "plot_reads", "plot_cycles", "cycles", "compare", "join_comparisons",
        "comparisons", "cycles_to_accuracy",
        "where", "plot_where",
    }
)  # fmt: skip


def _mapping(content: Any, where: str) -> dict[str, Any]:
    if content is None:
        return {}
    if not isinstance(content, Mapping):
        raise SettingError(f"{where}: expected a mapping of settings, got {content!r}")
    return dict(content)


def load(content: Mapping[str, Any]) -> Config:
    """Resolve and check the content of ``config.yaml``.

    Raises:
        SettingError: naming each faulty setting, its value and what is allowed.
    """
    content = _mapping(content, "config.yaml")
    defaults = _mapping(content.pop("defaults", None), "defaults")
    parse(ExperimentSettings, defaults, "defaults")
    experiments = _mapping(content.get("experiments"), "experiments")
    content["experiments"] = {
        name: merge(defaults, _mapping(own, f"experiments.{name}"))
        for name, own in experiments.items()
    }
    config: Config = parse(Config, content)
    for name in config.data_sets:
        if name in registry.DATASETS:
            raise SettingError(f"data_sets.{name}: {name!r} is taken; choose another name")
    data_sets = [*registry.DATASETS, *config.data_sets]
    for name, experiment in config.experiments.items():
        for device in experiment.devices:
            if device not in config.devices:
                raise SettingError(
                    f"experiments.{name}.devices: unknown device {device!r}; "
                    f"{suggest(device, config.devices)}"
                )
        if experiment.dataset not in data_sets:
            raise SettingError(
                f"experiments.{name}.dataset: unknown data set {experiment.dataset!r}; "
                f"{suggest(experiment.dataset, data_sets)}"
            )
        if name in TAKEN:
            raise SettingError(f"experiments.{name}: {name!r} is taken; choose another name")
    for name, comparison in config.comparisons.items():
        _check_comparison(f"comparisons.{name}.experiments", comparison.experiments, config)
    return config


def _check_comparison(where: str, names: list[str], config: Config) -> None:
    for name in names:
        if name not in config.experiments:
            known = suggest(name, config.experiments)
            raise SettingError(f"{where}: unknown experiment {name!r}; {known}")
    own = {"seed", "checkpoint"}
    one, *others = (config.experiments[name].model_dump() for name in names)
    for name, other in zip(names[1:], others, strict=True):
        keys = [key for key in one if key not in own and one[key] != other[key]]
        if keys:
            raise SettingError(
                f"{where}: {name} differs from {names[0]} in {', '.join(keys)}; only seed and "
                "checkpoint may differ"
            )
    seeds = [config.experiments[name].seed for name in names]
    if len(set(seeds)) < len(seeds):
        raise SettingError(f"{where}: each needs a seed of its own, these have {seeds}")


def section_json(section: Section, exclude: set[str] | None = None) -> str:
    """A section as canonical JSON, without what has no effect: what a job depends on."""
    content = section.model_dump(
        mode="json", exclude={**dict.fromkeys(exclude or (), True), **section.without_effect()}
    )
    return json.dumps(content, sort_keys=True)


def resolved_json(config: Config, name: str) -> str:
    """All that an experiment is made of, its memory devices included, as canonical JSON."""
    experiment = config.experiments[name].model_dump(mode="json")
    experiment["devices"] = {
        d: config.devices[d].model_dump(mode="json") for d in experiment["devices"]
    }
    if own := config.data_sets.get(experiment["dataset"]):
        experiment["data_set"] = own.model_dump(mode="json")
    return json.dumps({"experiment": name, **experiment}, sort_keys=True)
