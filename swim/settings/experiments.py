"""``config.yaml``: experiments, their defaults, and the checks that concern several sections."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from swim.errors import SettingError
from swim.settings import policies, registry
from swim.settings.jobs import (
    Compute,
    EvaluateJob,
    FigureWidth,
    PlotJob,
    SensitivityJob,
    TrainJob,
    check_epochs,
    check_precision,
)
from swim.settings.methods import CustomScore, MethodEntry, custom, names
from swim.settings.sections import (
    LONGEST_LIST,
    Arithmetic,
    Budget,
    DeviceSettings,
    Estimator,
    FilePath,
    Fraction,
    ImagesPerChip,
    ModelSettings,
    Name,
    OwnDataSet,
    Section,
    Sigma,
    TrainingSettings,
    Within,
    as_in,
)
from swim.settings.studies import CorrelateSettings, InSituSettings, check_repeats


class ExperimentSettings(Section):
    """One experiment: a network, its data, and the curves to draw of it."""

    model: ModelSettings = as_in(TrainJob, "model")
    dataset: str = Field(
        "mnist5k",
        description=f"training and test images: {', '.join(registry.DATASETS)}, or a name under "
        "`data_sets:`",
    )
    training: TrainingSettings = as_in(TrainJob, "training")
    checkpoint: FilePath | None = Field(
        None,
        description="a trained network instead of training: what `swim export` stored (some lie in "
        "docs/checkpoints/), or a file of your own: safetensors, or a state dict by torch.save, "
        "one of the paper's first release included",
    )
    estimator: Estimator = as_in(SensitivityJob, "estimator")
    estimator_samples: int = as_in(SensitivityJob, "estimator_samples")
    probe: Literal["signs", "labels"] = as_in(SensitivityJob, "probe")
    curvature_noise: float = as_in(SensitivityJob, "curvature_noise")
    sensitivity_images: int | None = as_in(SensitivityJob, "sensitivity_images")
    methods: list[MethodEntry] = Field(
        ["swim", "magnitude", "random"],
        min_length=1,
        max_length=LONGEST_LIST,
        description="selection methods and policies to compare",
    )
    in_situ: InSituSettings | None = Field(
        None, description="also the baseline that trains on the chip; {} for its defaults"
    )
    correlate: CorrelateSettings | None = Field(
        None, description="also each score against measured loss; {} for its defaults"
    )
    devices: list[str] = Field(
        ["four_bit"],
        min_length=1,
        max_length=LONGEST_LIST,
        description="names under `devices:`",
    )
    sigmas: list[Sigma] = Field(
        ["0.1"],
        min_length=1,
        max_length=LONGEST_LIST,
        description="unverified devices' standard deviations, of full scale",
    )
    fractions: list[Fraction] = Field(
        ["0", "0.1", "0.3", "0.5", "0.7", "0.9", "1"],
        min_length=1,
        max_length=LONGEST_LIST,
        description="parts of the weights to verify",
    )
    budgets: list[Budget] | None = Field(
        None,
        min_length=1,
        max_length=LONGEST_LIST,
        description="normalised write cycles that policies (docs/policies.md) spend; null: as "
        "`fractions`",
    )
    within: list[Within] = Field(
        ["0.1", "0.5", "1"],
        min_length=1,
        max_length=LONGEST_LIST,
        description="points of accuracy below everything verified at which cycles_to_accuracy.csv "
        "says how many cycles each method takes",
    )
    chips: int = as_in(EvaluateJob, "chips")
    precision: float | None = as_in(EvaluateJob, "precision")
    max_chips: int = as_in(EvaluateJob, "max_chips")
    test_images: int | None = as_in(EvaluateJob, "test_images")
    images_per_chip: ImagesPerChip | None = as_in(EvaluateJob, "images_per_chip")
    arithmetic: Arithmetic = as_in(EvaluateJob, "arithmetic")
    figure_width: FigureWidth = as_in(PlotJob, "figure_width")
    batch_size: int = as_in(SensitivityJob, "batch_size")
    seed: int = as_in(TrainJob, "seed")
    accelerator: Literal["auto", "cpu", "cuda"] = as_in(Compute, "accelerator")
    arithmetic_threads: int = as_in(Compute, "arithmetic_threads")
    training_threads: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="CPU threads of training, the longest job; null: `arithmetic_threads`",
    )

    @model_validator(mode="after")
    def _an_honest_precision(self) -> "ExperimentSettings":
        check_precision(self.precision, self.chips, self.max_chips)
        return self

    @model_validator(mode="after")
    def _enough_epochs(self) -> "ExperimentSettings":
        check_epochs(self.model, self.training)
        return self

    @model_validator(mode="after")
    def _fine_enough(self) -> "ExperimentSettings":
        policies.check_arithmetic(self.arithmetic, self.method_names)
        return self

    @property
    def method_names(self) -> list[str]:
        """The methods by their names."""
        return names(self.methods)

    @property
    def threads_to_train(self) -> int:
        """CPU threads of training."""
        return self.training_threads or self.arithmetic_threads

    @property
    def custom_scores(self) -> dict[str, CustomScore]:
        """The scores of the user's own among the methods, by name."""
        return custom(self.methods)

    @property
    def scored(self) -> list[str]:
        """The methods that `correlate` compares; chance gives no score, unless asked by name."""
        own = self.correlate.methods if self.correlate else None
        chosen = [name for name in self.method_names if name not in registry.POLICIES]
        return own or [method for method in chosen if method != "random"]

    @model_validator(mode="after")
    def _known_scores(self) -> "ExperimentSettings":
        for name in (self.correlate.methods if self.correlate else None) or []:
            try:
                registry.canonical("selection method", name, self.custom_scores)
            except SettingError as error:
                raise ValueError(f"correlate.methods: {error}") from None
        return self

    @model_validator(mode="after")
    def _something_to_correlate(self) -> "ExperimentSettings":
        if self.correlate and not self.scored:
            raise ValueError("correlate: there is no score but random's; name others in methods")
        return self

    @model_validator(mode="after")
    def _no_repeats(self) -> "ExperimentSettings":
        folded = [name.lower() for name in self.custom_scores]
        if twice := sorted({name for name in self.custom_scores if folded.count(name.lower()) > 1}):
            raise ValueError(
                f"methods: {', '.join(twice)} differ in case alone, and some file systems take "
                "them for one; choose another name"
            )
        check_repeats(self, "method_names", "devices", "sigmas", "fractions", "budgets", "within")
        return self


class ComparisonSettings(Section):
    """Experiments that differ in their seed alone: cycles to accuracy, averaged over them."""

    experiments: list[str] = Field(
        min_length=1,
        max_length=LONGEST_LIST,
        description="names under `experiments:`, alike but for seed and checkpoint",
    )


class Config(Section):
    """The whole file, resolved."""

    data_root: FilePath = "data"
    download: Annotated[bool, Field(strict=False)] = True
    data_sets: dict[Name, OwnDataSet] = Field({})
    devices: dict[Name, DeviceSettings] = Field({})
    experiments: dict[Name, ExperimentSettings] = Field({})
    comparisons: dict[Name, ComparisonSettings] = Field({})


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
