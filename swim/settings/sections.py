"""What settings are made of: values, and the sections of networks, training, devices and data."""

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)

from swim.errors import short
from swim.settings import registry, text
from swim.settings.decimals import canonical

IMPORT = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"


def _known(kind: str) -> Any:
    check = AfterValidator(lambda value: registry.canonical(kind, value))
    names = sorted(registry.KINDS[kind]) + sorted(registry.ALIASES.get(kind, {}))
    return Annotated[str, check, WithJsonSchema({"enum": names})]


def _decimal(low: int, high: int | None, kind: str) -> Any:
    top = None if high is None else Decimal(high)
    check = BeforeValidator(lambda value: canonical(value, Decimal(low), top, kind))
    shape = {"type": "string", "pattern": r"^(0|[1-9]\d*)(\.\d*[1-9])?$"}
    return Annotated[str, check, WithJsonSchema(shape)]


# Most entries of a list: each is a point of a curve, and steps get them on a command line.
LONGEST_LIST = 1000
MOST = 1_000_000_000  # of whole numbers that count something
LARGEST_SEED = 2**63 - 1
SMALLEST_TOLERANCE = 1e-5  # of full scale; errors are single precision

if TYPE_CHECKING:
    Network: TypeAlias = str
    Estimator: TypeAlias = str
    Method: TypeAlias = str
    SelectionMethod: TypeAlias = str
    Policy: TypeAlias = str
    Variation: TypeAlias = str
    Fraction: TypeAlias = str
    Sigma: TypeAlias = str
    Budget: TypeAlias = str
    Within: TypeAlias = str
    Name: TypeAlias = str
    FilePath: TypeAlias = str
else:
    Network = _known("network")
    Estimator = _known("estimator")
    Method = _known("method")
    SelectionMethod = _known("selection method")
    Policy = _known("policy")
    Variation = _known("variation")
    Fraction = _decimal(0, 1, "fraction")
    Sigma = _decimal(0, 1000, "sigma")
    Budget = _decimal(0, 1_000_000, "budget")
    Name = Annotated[str, BeforeValidator(text.name)]
    FilePath = Annotated[str, AfterValidator(text.path)]
    Within = _decimal(0, 100, "within")


FEWEST_IMAGES = 50


def _images_per_chip(value: Any) -> Any:
    if value == "auto" or (type(value) is int and FEWEST_IMAGES <= value <= MOST):
        return value
    raise ValueError(
        f"must be a whole number from {FEWEST_IMAGES} to {MOST}, or auto, not {short(value)}"
    )


ImagesPerChip: TypeAlias = Annotated[
    int | Literal["auto"],
    PlainValidator(_images_per_chip),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": FEWEST_IMAGES, "maximum": MOST},
                {"enum": ["auto"]},
            ]
        }
    ),
]
Arithmetic: TypeAlias = Literal["float32", "bfloat16"]


class Section(BaseModel):
    """A part of the settings: unknown keys are errors, and so are values of another type."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        validate_default=True,
        serialize_by_alias=True,
        allow_inf_nan=False,
    )

    def without_effect(self) -> dict[str, Any]:
        """Settings that change nothing beside the others, as pydantic's ``exclude``."""
        return {}


def as_in(section: type[Section], name: str) -> Any:
    """The same setting in another section: its description, limits and default."""
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
    arguments: Annotated[dict[str, Any], AfterValidator(text.arguments)] = Field(
        {}, description="what that function is called with"
    )
    weight_bits: int | None = Field(
        None,
        ge=1,
        le=8,
        description="bits of a weight's magnitude, 4 means levels -15..15; null: float",
    )
    activation_bits: int | None = Field(
        None, ge=1, le=8, description="bits of each layer's input, 4 means 16 levels; null: float"
    )
    digital: list[str] = Field(
        [], description="names, or patterns such as `head.*`, of weights that no device holds"
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
        """What :func:`swim.settings.registry.find` knows the network by."""
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

    epochs: int = Field(20, ge=0, le=MOST, description="passes over the training images in all")
    quantised_epochs: int = Field(
        5,
        ge=0,
        le=MOST,
        description="how many of these, at the end, run with quantised weights and activations",
    )
    batch_size: int = Field(128, ge=1, le=MOST, description="images a step")
    optimizer: Literal["adam", "sgd"] = Field(
        "adam", description="sgd has Nesterov's momentum, 0.9"
    )
    arithmetic: Arithmetic = Field(
        "float32",
        description="of convolutions, linear layers and what they hand on; with bfloat16 weights "
        "and the optimiser stay in float32; docs/training.md says what it gains",
    )
    learning_rate: float = Field(
        1e-3, gt=0, le=1000, description="the highest; falls to zero along a cosine"
    )
    warmup_epochs: float = Field(
        0.0, ge=0, le=MOST, description="in which the learning rate first rises along a line"
    )
    weight_decay: float = Field(
        0.0, ge=0, le=1000, description="L2 penalty of weights; biases and norms have none"
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="part of a label that is spread over all classes"
    )
    weight_noise: float = Field(
        0.0,
        ge=0,
        le=100,
        description="noise-aware training: standard deviation of a fresh error of each weight in "
        "each step, of max|W_layer|; a device `release` of sigma s leaves 0.577 s",
    )
    augment: bool = Field(
        True,
        description="the data set's usual augmentation, in training alone; docs/data.md names each "
        "data set's",
    )
    calibration_images: int = Field(
        2000, ge=1, le=MOST, description="training images that fix the activation ranges"
    )


class VariationSettings(Section):
    """How a device's standard deviation depends on the level that it holds; see docs/devices.md."""

    model_config = ConfigDict(populate_by_name=True)

    name: Variation | None = Field(
        None, description="a known device; docs/devices.md says for which K each is meant"
    )
    table: FilePath | None = Field(
        None,
        description="instead of it, a CSV file of measurements with the columns level and sigma, "
        'both of full scale; the experiment\'s sigma is then a factor, "1": as measured',
    )
    factory: Annotated[str, Field(pattern=IMPORT)] | None = Field(
        None,
        alias="import",
        description="instead of them, a function of your own, `package.module:function`, from "
        "levels to factors of sigma, or a class of such functions",
    )
    arguments: dict[str, Any] = as_in(ModelSettings, "arguments")
    equal_variance: bool = Field(
        False,
        description="rescale all sigmas for each network, so that the mean variance of its weights "
        "is that of devices of one sigma",
    )

    @model_validator(mode="after")
    def _one_source(self) -> "VariationSettings":
        if sum(own is not None for own in (self.name, self.table, self.factory)) != 1:
            raise ValueError("give one of name, table and import")
        if self.factory is None and self.arguments:
            raise ValueError("arguments are those of `import`; a name or a table takes none")
        return self

    @property
    def source(self) -> str:
        """What :func:`swim.settings.registry.find` knows its code by."""
        return self.name or self.factory or "swim.devices.measured:read"


class DeviceSettings(Section):
    """A memory device: how a weight's magnitude is sliced and how devices vary."""

    M: int = Field(4, ge=1, le=16, description="bits of a weight's magnitude")
    K: int = Field(4, ge=1, le=16, description="bits a device; M/K devices hold a weight")
    verified_sigma: float = Field(
        0.03,
        ge=0,
        le=100,
        description="standard deviation after write-verify, of a device's full scale",
    )
    write_verify: Literal["closed_form", "redraw", "pulse"] = Field(
        "closed_form",
        description="closed_form: a verified device has verified_sigma, its cycles are expected "
        "ones; redraw, pulse: written cycle by cycle, and counted; see docs/write-verify.md",
    )
    tolerance: float = Field(
        0.06,
        gt=0,
        le=100,
        description="error inside which write-verify leaves a device, of its full scale",
    )
    read_noise: float = Field(
        0.0,
        ge=0,
        le=100,
        description="standard deviation of a read, of full scale; redraw and pulse",
    )
    clip: bool = Field(
        False,
        description="whether a conductance stays between zero and full scale; redraw and pulse",
    )
    cycle_limit: int = Field(
        1000,
        ge=1,
        le=1_000_000,
        description="rewrites of a device, after which write-verify gives up",
    )
    pulse_gain: float = Field(
        0.2, gt=0, le=1, description="part of the remaining error that a pulse takes away; pulse"
    )
    convention: Literal["full-scale", "release"] = Field(
        "full-scale", description="significance of the slices, see docs/devices.md"
    )
    variation: VariationSettings | None = Field(
        None, description="how sigma depends on what a device holds; null: one sigma for all"
    )

    @model_validator(mode="after")
    def _whole_slices(self) -> "DeviceSettings":
        if self.M % self.K:
            raise ValueError(f"M ({self.M}) must be a multiple of K ({self.K})")
        if self.write_verify == "closed_form" and (self.read_noise or self.clip):
            raise ValueError("read_noise and clip need write_verify: redraw or pulse")
        if self.tolerance < SMALLEST_TOLERANCE:
            raise ValueError(
                f"tolerance ({self.tolerance}) must be at least {SMALLEST_TOLERANCE:g}: what is "
                "smaller is lost in rounding"
            )
        return self

    def without_effect(self) -> dict[str, Any]:
        """The closed form has no single cycles; what it leaves is not simulated."""
        unused = {} if self.variation else {"variation": True}
        if self.write_verify == "closed_form":
            return unused | dict.fromkeys(("read_noise", "clip", "pulse_gain"), True)
        unused["verified_sigma"] = True
        return unused if self.write_verify == "pulse" else {**unused, "pulse_gain": True}


class OwnDataSet(Section):
    """Images of your own: one .npz file, or a folder of image files; see docs/data.md."""

    file: FilePath | None = Field(
        None,
        description=".npz file with uint8 images x_train and x_test, (N, H, W), (N, H, W, C) or "
        "(N, C, H, W), and their classes y_train and y_test, from 0",
    )
    folder: FilePath | None = Field(
        None,
        description="instead of it, a folder with train/CLASS/*.png and test/CLASS/*.png (or .jpg "
        "and others; or val/), or with the files of Tiny ImageNet",
    )
    size: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="pixels; the shorter side of each image of a folder is resized to it and the "
        "central square kept; null: images have one size already",
    )
    mean: list[Annotated[float, Field(ge=0, le=1)]] | None = Field(
        None,
        min_length=1,
        max_length=LONGEST_LIST,
        description="of pixels in [0, 1], a channel; null: that of the training images",
    )
    std: list[Annotated[float, Field(ge=1e-4, le=1)]] | None = Field(
        None, min_length=1, max_length=LONGEST_LIST, description="the same"
    )
    augmentation: Literal["none", "crop_flip"] = Field(
        "none", description="of training images; crop_flip shifts by up to 4 pixels and mirrors"
    )

    @model_validator(mode="after")
    def _one_source(self) -> "OwnDataSet":
        if (self.file is None) == (self.folder is None):
            raise ValueError("give either `file` (a .npz file) or `folder` (of image files)")
        if self.file is not None and self.size is not None:
            raise ValueError("size is for images of a `folder`; those of a `file` have one size")
        if self.mean and self.std and len(self.mean) != len(self.std):
            raise ValueError(
                f"mean has {len(self.mean)} channels and std {len(self.std)}; give one of each a "
                "channel"
            )
        return self

    @property
    def kind(self) -> Literal["file", "folder"]:
        """Which of the two it is."""
        return "file" if self.folder is None else "folder"

    def without_effect(self) -> dict[str, Any]:
        """The other one's settings."""
        return {"folder": True, "size": True} if self.kind == "file" else {"file": True}
