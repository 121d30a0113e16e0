"""What an experiment may study beside its curves: single weights, and training on the chip."""

from pydantic import Field, field_validator, model_validator

from swim.settings.methods import SelectionName
from swim.settings.sections import LONGEST_LIST, MOST, Budget, Section, Sigma


class CorrelateSettings(Section):
    """Each score against the loss measured when one weight alone is changed."""

    weights: int = Field(
        500,
        ge=2,
        le=MOST,
        description="weights to change, as many of each layer; all of a smaller one",
    )
    images: int | None = Field(
        4000,
        ge=1,
        le=MOST,
        description="training images to take the loss on, drawn once; null: all",
    )
    sigmas: list[Sigma] = Field(
        ["0.1"],
        min_length=1,
        max_length=100,
        description="a weight is changed by the standard deviation that an unverified device of "
        "this sigma leaves in it, up and down",
    )
    chips: int = Field(
        0,
        ge=0,
        le=MOST,
        description="measure also on top of the errors of so many programmed chips, whose mean is "
        "taken: no write-verify, the sigma of the change; 0: around ideal weights alone",
    )
    methods: list[SelectionName] | None = Field(
        None,
        min_length=1,
        max_length=LONGEST_LIST,
        description="whose scores, names of your own under the experiment's `methods` too; null: "
        "all of these, but random",
    )

    @field_validator("sigmas")
    @classmethod
    def _a_change(cls, sigmas: list[str]) -> list[str]:
        if "0" in sigmas:
            raise ValueError('sigma "0" changes no weight')
        return sigmas

    @model_validator(mode="after")
    def _no_repeats(self) -> "CorrelateSettings":
        check_repeats(self, "sigmas", "methods")
        return self


def check_repeats(section: Section, *names: str) -> None:
    """Raise ValueError where a list says something twice."""
    for name in names:
        values = getattr(section, name) or []
        twice = sorted({str(v) for v in values if values.count(v) > 1})
        if twice:
            listed = "methods" if name == "method_names" else name
            raise ValueError(f"{listed} lists {', '.join(twice)} twice")


class InSituTraining(Section):
    """SGD on the chip."""

    learning_rate: float = Field(
        1e-4, gt=0, le=1000, description="of SGD, the first release's by default"
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="of its steps")
    batch_size: int = Field(128, ge=1, le=MOST, description="training images a step")


class InSituSettings(InSituTraining):
    """The baseline that trains on the chip: SGD whose every step writes every device once."""

    budgets: list[Budget] = Field(
        ["0.2", "0.4", "0.6", "0.8", "1", "2", "5", "10"],
        min_length=1,
        max_length=LONGEST_LIST,
        description="normalised write cycles to spend, in whole steps; 1 is verifying everything",
    )

    @model_validator(mode="after")
    def _no_repeats(self) -> "InSituSettings":
        check_repeats(self, "budgets")
        return self
