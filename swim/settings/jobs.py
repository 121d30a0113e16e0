"""What each step's result depends on, beside the files that it reads."""

from typing import Any, Literal, TypeAlias

from pydantic import (
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from swim.errors import SettingError
from swim.settings import estimator_traits, layout, policies, registry
from swim.settings.methods import CustomScore
from swim.settings.sections import (
    LARGEST_SEED,
    LONGEST_LIST,
    MOST,
    Arithmetic,
    Budget,
    DeviceSettings,
    Estimator,
    Fraction,
    ImagesPerChip,
    ModelSettings,
    Name,
    Policy,
    Section,
    Sigma,
    TrainingSettings,
    as_in,
)
from swim.settings.studies import CorrelateSettings, InSituTraining

FigureWidth: TypeAlias = Literal["column", "page", "slide"]


class Compute(Section):
    """Where and how a job calculates."""

    accelerator: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where networks run; auto: a GPU if the job sees one"
    )
    arithmetic_threads: int = Field(
        1,
        ge=1,
        le=1024,
        description="CPU threads of a job; part of the result, since sums depend on it",
    )


class TrainJob(Compute):
    """What a checkpoint depends on, beside its data."""

    model: ModelSettings = Field(ModelSettings(), description="network")
    training: TrainingSettings = Field(TrainingSettings(), description="optimisation")
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="the one seed of all random streams")

    @model_validator(mode="after")
    def _enough_epochs(self) -> "TrainJob":
        check_epochs(self.model, self.training)
        return self

    def without_effect(self) -> dict[str, Any]:
        """A float network has no quantised epochs."""
        unused = {"quantised_epochs", "calibration_images"}
        return {} if self.model.quantised else {"training": unused}


class AdoptJob(Section):
    """What a checkpoint of the user's own becomes, beside its file and the data."""

    model: ModelSettings = Field(ModelSettings(), description="network")
    calibration_images: int = as_in(TrainingSettings, "calibration_images")


def check_epochs(model: ModelSettings, training: TrainingSettings) -> None:
    """Raise ValueError where some epochs would not fit into all of them."""
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
        description="where second derivatives come from, for policies, scores of your own with "
        "`needs: curvature`, and the methods that do not name their own estimator: "
        f"{registry.BY_CURVATURE}; see docs/estimators.md",
    )
    estimator_samples: int = Field(
        1,
        ge=1,
        le=1_000_000,
        description="draws of the estimators that draw: passes over the images "
        "(gauss_newton_probe), labels an image (monte_carlo_fisher), probes every 50 images "
        "(hutchinson)",
    )
    probe: Literal["signs", "labels"] = Field(
        "signs",
        description="random vectors of gauss_newton_probe: independent signs, or the residual of a "
        "label drawn from the network's softmax, which varies more",
    )
    curvature_noise: float = Field(
        0.0,
        ge=0,
        le=100,
        description="second derivatives at weights with errors of this standard deviation, of "
        "max|W_layer|, each batch with its own: an average over programmed chips; a device "
        "`release` of sigma s leaves 0.577 s",
    )
    sensitivity_images: int | None = Field(
        None,
        ge=1,
        le=MOST,
        description="number of training images that second derivatives are taken on, a random "
        "subset drawn by the seed, whose larger ones contain the smaller; null: all",
    )
    seed: int = Field(
        0,
        ge=0,
        le=LARGEST_SEED,
        description="seed of the estimators that draw, of that noise, and of that subset",
    )
    batch_size: int = Field(
        500, ge=1, le=MOST, description="images at once in sensitivity and evaluation"
    )

    def without_effect(self) -> dict[str, Any]:
        """Most estimators draw nothing, and one chooses between random vectors."""
        drawing = self.estimator in estimator_traits.DRAWING
        unused = {} if drawing else {"estimator_samples": True}
        if self.estimator not in estimator_traits.PROBING:
            unused["probe"] = True
        seeded = drawing or self.curvature_noise or self.sensitivity_images is not None
        return unused if seeded else {**unused, "seed": True}


def _canonical(kind: str, name: str, custom: list[str]) -> str:
    try:
        return registry.canonical(kind, name, custom)
    except SettingError as error:
        raise ValueError(str(error)) from None


class SelectJob(Section):
    """What a mask depends on, beside the checkpoint and its second derivatives."""

    score: CustomScore | None = Field(
        None, description="of a method of your own, which --method then names; null: a known one"
    )
    method: Name = Field("swim", description="selection method")
    fraction: Fraction = Field("0.1", description="part of the weights to verify")
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="seed of the methods that draw")

    @field_validator("method")
    @classmethod
    def _known(cls, method: str, others: ValidationInfo) -> str:
        own = [method] if others.data.get("score") else []
        if own and method in registry.KINDS["method"]:
            raise ValueError(f"{method!r} is a known method; give `score` another name")
        return _canonical("selection method", method, own)

    def without_effect(self) -> dict[str, Any]:
        """A known method has no score of the user's own."""
        return {} if self.score else {"score": True}


class EvaluateJob(Compute):
    """What a chips file depends on, beside checkpoint, data and mask."""

    device: DeviceSettings = Field(DeviceSettings(), description="memory device")
    sigma: Sigma = Field("0.1", description="standard deviation of an unverified device")
    chips: int = Field(
        100,
        ge=2,
        le=MOST,
        description="programmed accelerators a point (Monte Carlo); with a precision, at least",
    )
    precision: float | None = Field(
        None,
        gt=0,
        le=0.5,
        description="stop once the half-width of the mean accuracy's 95 % interval is at most "
        "this, 0.0005 is 0.05 points; null: exactly `chips`",
    )
    max_chips: int = Field(
        10_000, ge=2, le=MOST, description="stop here in any case, with a precision"
    )
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="seed of the devices' draws")
    test_images: int | None = Field(
        None,
        ge=1,
        le=MOST,
        description="evaluate on the first so many test images; null: all of them",
    )
    arithmetic: Arithmetic = Field(
        "float32",
        description="of the network's products and of what layers hand on; bfloat16 rounds "
        "weights, with their errors, and activations, which is faster for large networks on "
        "processors and GPUs with units for it; docs/monte-carlo.md says what it changes",
    )
    images_per_chip: ImagesPerChip | None = Field(
        None,
        description="measure each chip on about so many images, drawn afresh for each; the mean "
        "stays unbiased, std and percentiles are not reported; auto: as many as make the mean "
        "precise at least cost, by the first 16 chips; null: on all of them",
    )
    batch_size: int = Field(
        500, ge=1, le=MOST, description="images at once in sensitivity and evaluation"
    )

    @model_validator(mode="after")
    def _an_honest_precision(self) -> "EvaluateJob":
        check_precision(self.precision, self.chips, self.max_chips)
        return self

    def without_effect(self) -> dict[str, Any]:
        """Without a precision there is no maximum; and what the device does not use."""
        unused: dict[str, Any] = {"device": self.device.without_effect()}
        return unused | ({"max_chips": True} if self.precision is None else {})


class ProgramJob(EvaluateJob):
    """What a chips file of a policy depends on, beside checkpoint, data and second derivatives."""

    policy: Policy = Field("swim_device", description="programming policy")
    budget: Budget = Field("0.1", description="normalised write cycles to spend")

    @model_validator(mode="after")
    def _fine_enough(self) -> "ProgramJob":
        policies.check_arithmetic(self.arithmetic, [self.policy])
        return self


class WhereJob(Compute):
    """What a table of where cycles go depends on, beside checkpoint, masks and derivatives."""

    device: DeviceSettings = as_in(EvaluateJob, "device")
    sigma: Sigma = as_in(EvaluateJob, "sigma")
    budget: Budget = as_in(ProgramJob, "budget")
    chips: int = Field(4, ge=1, le=MOST, description="chips to program, without evaluating them")
    seed: int = as_in(EvaluateJob, "seed")

    def without_effect(self) -> dict[str, Any]:
        """What the device does not use."""
        return {"device": self.device.without_effect()}


class InSituJob(EvaluateJob):
    """What a chips file of on-device training depends on."""

    budget: Budget = Field("1", description="normalised write cycles to spend, in whole steps")
    in_situ: InSituTraining = Field(InSituTraining(), description="on-device training")


class PerturbJob(Compute):
    """What the loss measured for single weights depends on, beside checkpoint and data."""

    device: DeviceSettings = Field(DeviceSettings(), description="memory device")
    sigma: Sigma = Field("0.1", description="standard deviation of an unverified device")
    weights: int = as_in(CorrelateSettings, "weights")
    images: int | None = as_in(CorrelateSettings, "images")
    chips: int = Field(
        0,
        ge=0,
        le=MOST,
        description="programmed chips, without write-verify, on top of whose errors weights are "
        "changed; 0: around ideal weights",
    )
    seed: int = Field(
        0,
        ge=0,
        le=LARGEST_SEED,
        description="seed of the samples of weights and images, and of chips",
    )
    batch_size: int = as_in(SensitivityJob, "batch_size")

    def without_effect(self) -> dict[str, Any]:
        """Nothing is verified."""
        unused = {"verified_sigma", "tolerance"}
        return {"device": unused if self.device.variation else unused | {"variation"}}


class CorrelateJob(Section):
    """What correlations depend on, beside what was measured and what scores are made of."""

    estimator: Estimator = as_in(SensitivityJob, "estimator")
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="seed of the intervals' resampling")
    custom: dict[Name, CustomScore] = Field({}, description="scores of your own, by method")

    def without_effect(self) -> dict[str, Any]:
        """Without scores of the user's own."""
        return {} if self.custom else {"custom": True}


def check_precision(precision: float | None, chips: int, most: int) -> None:
    """Raise ValueError where the numbers of chips do not go with a precision."""
    if precision is None:
        return
    if chips < 100:
        raise ValueError(
            f"chips ({chips}) must be at least 100 with a precision: an interval from fewer is "
            "too short when it decides when to stop"
        )
    if most < chips:
        raise ValueError(f"max_chips ({most}) is less than chips ({chips})")


class ClaimsJob(Section):
    """What verdicts on claims depend on, beside the tables."""

    estimator: Estimator = as_in(SensitivityJob, "estimator")
    level_dependent: list[str] = Field(
        [], description="names of devices whose error depends on their level"
    )


class SummariseJob(Section):
    """Which points a table holds."""

    devices: list[str] = Field(min_length=1, description="names of memory devices")
    sigmas: list[Sigma] = Field(min_length=1, description="standard deviations")
    custom: list[Name] = Field([], description="names of methods of your own")
    methods: list[str] = Field(min_length=1, description="selection methods and policies")
    fractions: list[Fraction] = Field(min_length=1, description="verified parts")
    budgets: list[Budget] | None = Field(
        None, max_length=LONGEST_LIST, description="of policies; null: the fractions"
    )
    in_situ: list[Budget] = Field(
        [], max_length=LONGEST_LIST, description="budgets of on-device training"
    )

    @field_validator("methods")
    @classmethod
    def _known(cls, methods: list[str], others: ValidationInfo) -> list[str]:
        own = others.data.get("custom", [])
        return [_canonical("method", method, own) for method in methods]

    def without_effect(self) -> dict[str, Any]:
        """Without methods of the user's own."""
        return {} if self.custom else {"custom": True}

    def files(self) -> list[str]:
        """Their chips files, relative to the chips folder; end points are shared by methods."""
        points = []
        for method in self.methods:
            spent = self.fractions
            if method in registry.POLICIES:
                spent = self.fractions if self.budgets is None else self.budgets
            points += [
                layout.METHOD_POINT.format(method=method, fraction=part)
                for part in policies.own_points(method, spent)
            ]
        points += [layout.IN_SITU_POINT.format(budget=budget) for budget in self.in_situ]
        shared = [layout.CLEAN, layout.NONE_VERIFIED, layout.ALL_VERIFIED]
        return [
            layout.POINT.format(device=device, sigma=sigma, point=point)
            for device in self.devices
            for sigma in self.sigmas
            for point in [*shared, *points]
        ]


class PlotJob(Section):
    """What figures say of an experiment, and how wide they are."""

    model: ModelSettings | None = Field(None, description="network, for titles")
    dataset: str = Field("", description="training and test images, for titles")
    devices: dict[str, DeviceSettings] = Field({}, description="memory devices, for titles")
    figure_width: FigureWidth = Field(
        "page",
        description="of figures: `column` 3.5 inches, `page` 7.1 inches, both with text of 7 "
        "points, or `slide`",
    )
