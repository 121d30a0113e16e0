"""Experiment settings: the one source of validation, schema, defaults and help texts.

``config.yaml`` holds ``defaults:`` and, under ``experiments:``, what each experiment changes in
them. :func:`load` merges and checks everything at once, before any work. The JSON schema and
the reference page are made from the same definitions by :mod:`swim.schema`.
"""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from swim import registry
from swim.decimals import canonical
from swim.errors import SettingError
from swim.faults import parse
from swim.registry import suggest

NAME = r"^[A-Za-z0-9][A-Za-z0-9_]*$"
IMPORT = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"


def _known(kind: str) -> Any:
    check = AfterValidator(lambda value: registry.canonical(kind, value))
    names = sorted(registry.KINDS[kind]) + sorted(registry.ALIASES.get(kind, {}))
    return Annotated[str, check, WithJsonSchema({"enum": names})]


def _decimal(low: int, high: int | None, kind: str) -> Any:
    top = None if high is None else Decimal(high)
    check = BeforeValidator(lambda value: canonical(value, Decimal(low), top, kind))
    shape = {"type": "string", "pattern": r"^(0|[1-9]\d*)(\.\d*[1-9])?$"}
    return Annotated[str, check, WithJsonSchema(shape)]


if TYPE_CHECKING:
    Network: TypeAlias = str
    Estimator: TypeAlias = str
    Method: TypeAlias = str
    Fraction: TypeAlias = str
    Sigma: TypeAlias = str
else:
    Network = _known("network")
    Estimator = _known("estimator")
    Method = _known("method")
    Fraction = _decimal(0, 1, "fraction")
    Sigma = _decimal(0, None, "sigma")


class Section(BaseModel):
    """A part of the settings: unknown keys are errors, and so are values of another type."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        validate_default=True,
        serialize_by_alias=True,
    )

    def without_effect(self) -> dict[str, Any]:
        """Settings that change nothing beside the others, as pydantic's ``exclude``."""
        return {}


def _as_in(section: type[Section], name: str) -> Any:
    return section.model_fields[name]


class ModelSettings(Section):
    """The network and its quantisation."""

    model_config = ConfigDict(populate_by_name=True)

    name: Network | None = Field(
        None, description="network to build, lenet unless `import` is given; names of the paper's "
        "first release are accepted, QLeNet is lenet with its bits"
    )  # fmt: skip
    factory: Annotated[str, Field(pattern=IMPORT)] | None = Field(
        None,
        alias="import",
        description="a network of your own, `package.module:function`, instead of a name",
    )
    arguments: dict[str, Any] = Field({}, description="what that function is called with")
    weight_bits: int | None = Field(
        None,
        ge=1,
        le=8,
        description="bits of a weight's magnitude, 4 means levels -15..15; null: float",
    )
    activation_bits: int | None = Field(
        None, ge=1, le=8, description="bits of each layer's input, 4 means 16 levels; null: float"
    )

    @model_validator(mode="before")
    @classmethod
    def _names_of_the_release(cls, content: Any) -> Any:
        """``QLeNet`` stands for a name and for bits, which the settings may change."""
        if isinstance(content, Mapping) and isinstance(content.get("name"), str):
            bits = registry.QUANTISED_ALIASES.get(content["name"])
            if bits:
                return {"weight_bits": bits, "activation_bits": bits, **content}
        return content

    @model_validator(mode="after")
    def _one_network(self) -> "ModelSettings":
        if self.factory is None and self.arguments:
            raise ValueError("arguments are those of `import`; a named network takes none")
        if self.factory is not None and self.name is not None:
            raise ValueError("give name or import, not both (`name: null` where a default has one)")
        if self.factory is None and self.name is None:
            object.__setattr__(self, "name", "lenet")
        return self

    @property
    def network(self) -> str:
        """What :func:`swim.registry.find` knows the network by."""
        return self.name or self.factory or ""

    @property
    def quantised(self) -> bool:
        """Whether weights or activations are."""
        return bool(self.weight_bits or self.activation_bits)

    @property
    def label(self) -> str:
        """The name with its bits, as tables show it."""
        name = self.name or self.network.partition(":")[2]
        bits = (("w", self.weight_bits), ("a", self.activation_bits))
        suffix = "".join(f"{letter}{count}" for letter, count in bits if count)
        return f"{name}-{suffix}" if suffix else name


class TrainingSettings(Section):
    """Optimisation. The last epoch is the checkpoint; the test set is never looked at."""

    epochs: int = Field(20, ge=0, description="passes over the training images in all")
    quantised_epochs: int = Field(
        5,
        ge=0,
        description="how many of these, at the end, run with quantised weights and activations",
    )
    batch_size: int = Field(128, ge=1, description="images a step")
    optimizer: Literal["adam", "sgd"] = Field("adam", description="sgd has momentum 0.9")
    learning_rate: float = Field(
        1e-3, gt=0, description="the highest; falls to zero along a cosine"
    )
    warmup_epochs: float = Field(
        0.0, ge=0, description="in which the learning rate first rises along a line"
    )
    weight_decay: float = Field(0.0, ge=0, description="L2 penalty of the optimiser")
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="part of a label that is spread over all classes"
    )
    weight_noise: float = Field(
        0.0,
        ge=0,
        description="noise-aware training: standard deviation of a fresh error of each weight in "
        "each step, of max|W_layer|; a device `release` of sigma s leaves 0.577 s",
    )
    augment: bool = Field(
        True,
        description="the data set's usual augmentation, in training alone: cifar10 and "
        "tinyimagenet are shifted and mirrored, MNIST is left as it is",
    )
    calibration_images: int = Field(
        2000, ge=1, description="training images that fix the activation ranges"
    )


class DeviceSettings(Section):
    """A memory device: how a weight's magnitude is sliced and how devices vary."""

    M: int = Field(4, ge=1, le=16, description="bits of a weight's magnitude")
    K: int = Field(4, ge=1, le=16, description="bits a device; M/K devices hold a weight")
    verified_sigma: float = Field(
        0.03, ge=0, description="standard deviation after write-verify, of a device's full scale"
    )
    tolerance: float = Field(
        0.06,
        gt=0,
        description="error inside which write-verify leaves a device, of its full scale; counts "
        "the cycles of `in_situ`",
    )
    convention: Literal["full-scale", "release"] = Field(
        "full-scale", description="significance of the slices, see docs/method.md"
    )

    @model_validator(mode="after")
    def _whole_slices(self) -> "DeviceSettings":
        if self.M % self.K:
            raise ValueError(f"M ({self.M}) must be a multiple of K ({self.K})")
        return self


class OwnDataSet(Section):
    """Images of your own: one .npz file, or a folder of image files; see docs/data.md."""

    file: str | None = Field(
        None,
        description=".npz file with uint8 images x_train and x_test, (N, H, W), (N, H, W, C) or "
        "(N, C, H, W), and their classes y_train and y_test, from 0",
    )
    folder: str | None = Field(
        None,
        description="instead of it, a folder with train/CLASS/*.png and test/CLASS/*.png (or .jpg "
        "and others; or val/), or with the files of Tiny ImageNet",
    )
    size: int | None = Field(
        None,
        ge=1,
        description="pixels; the shorter side of each image of a folder is resized to it and the "
        "central square kept; null: images have one size already",
    )
    mean: list[float] | None = Field(
        None, description="of pixels in [0, 1], a channel; null: that of the training images"
    )
    std: list[Annotated[float, Field(gt=0)]] | None = Field(None, description="the same")
    augmentation: Literal["none", "crop_flip"] = Field(
        "none", description="of training images; crop_flip shifts by up to 4 pixels and mirrors"
    )

    @model_validator(mode="after")
    def _one_source(self) -> "OwnDataSet":
        if (self.file is None) == (self.folder is None):
            raise ValueError("give either `file` (a .npz file) or `folder` (of image files)")
        if self.file is not None and self.size is not None:
            raise ValueError("size is for images of a `folder`; those of a `file` have one size")
        return self

    @property
    def kind(self) -> Literal["file", "folder"]:
        """Which of the two it is."""
        return "file" if self.folder is None else "folder"

    def without_effect(self) -> dict[str, Any]:
        """The other one's settings."""
        return {"folder": True, "size": True} if self.kind == "file" else {"file": True}


class Compute(Section):
    """Where and how a job calculates."""

    accelerator: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where networks run; auto: a GPU if the job sees one"
    )
    arithmetic_threads: int = Field(
        1, ge=1, description="CPU threads of a job; part of the result, since sums depend on it"
    )


class TrainJob(Compute):
    """What a checkpoint depends on, beside its data."""

    model: ModelSettings = Field(ModelSettings(), description="network")
    training: TrainingSettings = Field(TrainingSettings(), description="optimisation")
    seed: int = Field(0, ge=0, description="the one seed of all random streams")

    @model_validator(mode="after")
    def _enough_epochs(self) -> "TrainJob":
        _check_epochs(self.model, self.training)
        return self

    def without_effect(self) -> dict[str, Any]:
        """A float network has no quantised epochs."""
        unused = {"quantised_epochs", "calibration_images"}
        return {} if self.model.quantised else {"training": unused}


class AdoptJob(Section):
    """What a checkpoint of the user's own becomes, beside its file and the data."""

    model: ModelSettings = Field(ModelSettings(), description="network")
    calibration_images: int = _as_in(TrainingSettings, "calibration_images")


def _check_epochs(model: ModelSettings, training: TrainingSettings) -> None:
    if 0 < training.epochs <= training.warmup_epochs:
        raise ValueError(
            f"training.warmup_epochs ({training.warmup_epochs}) must be less than "
            f"training.epochs ({training.epochs})"
        )
    if model.quantised and training.quantised_epochs > training.epochs:
        raise ValueError(
            f"training.quantised_epochs ({training.quantised_epochs}) is more than "
            f"training.epochs ({training.epochs}); set both"
        )


class SensitivityJob(Compute):
    """What second derivatives depend on, beside the checkpoint and its data."""

    estimator: Estimator = Field(
        "recursion",
        description="where second derivatives come from, for the methods that do not name their "
        "own estimator: swim, layer_greedy, second, saliency; see docs/estimators.md",
    )
    estimator_samples: int = Field(
        1,
        ge=1,
        description="draws of the estimators that draw: labels an image (monte_carlo_fisher), "
        "probes every 50 images (hutchinson)",
    )
    seed: int = Field(0, ge=0, description="seed of the estimators that draw")
    batch_size: int = Field(500, ge=1, description="images at once in sensitivity and evaluation")

    def without_effect(self) -> dict[str, Any]:
        """Most estimators draw nothing."""
        drawing = self.estimator in registry.DRAWING
        return {} if drawing else {"estimator_samples": True, "seed": True}


class SelectJob(Section):
    """What a mask depends on, beside the checkpoint and its second derivatives."""

    method: Method = Field("swim", description="selection method")
    fraction: Fraction = Field("0.1", description="part of the weights to verify")
    seed: int = Field(0, ge=0, description="seed of the methods that draw")


class EvaluateJob(Compute):
    """What a chips file depends on, beside checkpoint, data and mask."""

    device: DeviceSettings = Field(DeviceSettings(), description="memory device")
    sigma: Sigma = Field("0.1", description="standard deviation of an unverified device")
    chips: int = Field(
        100,
        ge=2,
        description="programmed accelerators a point (Monte Carlo); with a precision, at least",
    )
    precision: float | None = Field(
        None,
        gt=0,
        description="stop once the half-width of the mean accuracy's 95 % interval is at most "
        "this, 0.0005 is 0.05 points; null: exactly `chips`",
    )
    max_chips: int = Field(10_000, ge=2, description="stop here in any case, with a precision")
    seed: int = Field(0, ge=0, description="seed of the devices' draws")
    test_images: int | None = Field(
        None, ge=1, description="evaluate on the first so many test images; null: all of them"
    )
    images_per_chip: int | None = Field(
        None,
        ge=50,
        description="measure each chip on about so many images, drawn afresh for each; the mean "
        "stays unbiased, std and percentiles are not reported; null: on all of them",
    )
    batch_size: int = Field(500, ge=1, description="images at once in sensitivity and evaluation")

    @model_validator(mode="after")
    def _an_honest_precision(self) -> "EvaluateJob":
        _check_precision(self.precision, self.chips, self.max_chips)
        return self

    def without_effect(self) -> dict[str, Any]:
        """Without a precision there is no maximum."""
        return {"max_chips": True} if self.precision is None else {}


class InSituSettings(Section):
    """The baseline that trains on the chip: SGD whose every step writes every device once."""

    budgets: list[Sigma] = Field(
        ["0.2", "0.4", "0.6", "0.8", "1", "2", "5", "10"],
        min_length=1,
        description="normalised write cycles to spend, in whole steps; 1 is verifying everything",
    )
    learning_rate: float = Field(1e-4, gt=0, description="of SGD, the first release's by default")
    momentum: float = Field(0.9, ge=0, lt=1, description="of its steps")
    batch_size: int = Field(128, ge=1, description="training images a step")


class InSituJob(EvaluateJob):
    """What a chips file of on-device training depends on."""

    budget: Sigma = Field("1", description="normalised write cycles to spend, in whole steps")
    in_situ: InSituSettings = Field(InSituSettings(), description="on-device training")

    def without_effect(self) -> dict[str, Any]:
        """One job has one budget."""
        return {**super().without_effect(), "in_situ": {"budgets"}}


def _check_precision(precision: float | None, chips: int, most: int) -> None:
    if precision is None:
        return
    if chips < 100:
        raise ValueError(
            f"chips ({chips}) must be at least 100 with a precision: an interval from fewer is "
            "too short when it decides when to stop"
        )
    if most < chips:
        raise ValueError(f"max_chips ({most}) is less than chips ({chips})")


class SummariseJob(Section):
    """Which points a table holds."""

    devices: list[str] = Field(min_length=1, description="names of memory devices")
    sigmas: list[Sigma] = Field(min_length=1, description="standard deviations")
    methods: list[Method] = Field(min_length=1, description="selection methods")
    fractions: list[Fraction] = Field(min_length=1, description="verified parts")
    in_situ: list[Sigma] = Field([], description="budgets of on-device training")

    def files(self) -> list[str]:
        """Their chips files, relative to the chips folder; end points are shared by methods."""
        points = [f"{m}/{f}" for m in self.methods for f in self.fractions if f not in "01"]
        points += [f"in_situ/{budget}" for budget in self.in_situ]
        return [
            f"{device}/sigma-{sigma}/{point}.csv"
            for device in self.devices
            for sigma in self.sigmas
            for point in ["clean", "none/0", "all/1", *points]
        ]


class ExperimentSettings(Section):
    """One experiment: a network, its data, and the curves to draw of it."""

    model: ModelSettings = _as_in(TrainJob, "model")
    dataset: str = Field(
        "mnist5k",
        description=f"training and test images: {', '.join(registry.DATASETS)}, or a name under "
        "`data_sets:`",
    )
    training: TrainingSettings = _as_in(TrainJob, "training")
    checkpoint: str | None = Field(
        None,
        description="a trained network of your own instead of training: safetensors, or a state "
        "dict by torch.save, one of the paper's first release included",
    )
    estimator: Estimator = _as_in(SensitivityJob, "estimator")
    estimator_samples: int = _as_in(SensitivityJob, "estimator_samples")
    methods: list[Method] = Field(
        ["swim", "magnitude", "random"], min_length=1, description="selection methods to compare"
    )
    in_situ: InSituSettings | None = Field(
        None, description="also the baseline that trains on the chip; {} for its defaults"
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
    chips: int = _as_in(EvaluateJob, "chips")
    precision: float | None = _as_in(EvaluateJob, "precision")
    max_chips: int = _as_in(EvaluateJob, "max_chips")
    test_images: int | None = _as_in(EvaluateJob, "test_images")
    images_per_chip: int | None = _as_in(EvaluateJob, "images_per_chip")
    batch_size: int = _as_in(SensitivityJob, "batch_size")
    seed: int = _as_in(TrainJob, "seed")
    accelerator: Literal["auto", "cpu", "cuda"] = _as_in(Compute, "accelerator")
    arithmetic_threads: int = _as_in(Compute, "arithmetic_threads")

    @model_validator(mode="after")
    def _an_honest_precision(self) -> "ExperimentSettings":
        _check_precision(self.precision, self.chips, self.max_chips)
        return self

    @model_validator(mode="after")
    def _enough_epochs(self) -> "ExperimentSettings":
        _check_epochs(self.model, self.training)
        return self

    @model_validator(mode="after")
    def _no_repeats(self) -> "ExperimentSettings":
        for name in ("methods", "devices", "sigmas", "fractions"):
            values = getattr(self, name)
            twice = sorted({str(v) for v in values if values.count(v) > 1})
            if twice:
                raise ValueError(f"{name} lists {', '.join(twice)} twice")
        return self


class Config(Section):
    """The whole file, resolved."""

    data_root: str = "data"
    download: Annotated[bool, Field(strict=False)] = True
    data_sets: dict[Annotated[str, Field(pattern=NAME)], OwnDataSet] = {}
    devices: dict[Annotated[str, Field(pattern=NAME)], DeviceSettings]
    experiments: dict[Annotated[str, Field(pattern=NAME)], ExperimentSettings]


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
        "evaluate", "evaluate_none_verified", "evaluate_all_verified", "in_situ", "summarise",
        "plot",
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
    return config


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
