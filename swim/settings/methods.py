"""Entries of ``methods:``: names of the registry, and scores of the user's own."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
)

from swim.errors import short
from swim.settings import registry, text
from swim.settings.sections import IMPORT, Method, ModelSettings, Section, as_in

# What a method may rank by, beside estimators: weights alone, or the experiment's estimator.
NEEDS = ("weights", "curvature")
# Names that tables use in the place of a method's, and columns of scores.csv.
TAKEN = frozenset(
    {"none", "all", "clean", registry.IN_SITU, "experiment", "model", "dataset", "device", "sigma"}
    | {"layer", "index", "weight", "delta", "increase", "plus", "minus", "increase_error", "around"}
)


def _needs(value: str) -> str:
    if value not in (known := [*NEEDS, *registry.ESTIMATORS]):
        raise ValueError(f"unknown need {short(value)}; {registry.suggest(value, known)}")
    return value


def _free_name(value: Any) -> Any:
    """A name that no other method has, on any file system; it becomes a folder."""
    name = text.name(value)
    known = [*registry.KINDS["method"], *registry.ALIASES["method"], *TAKEN]
    if others := [other for other in known if other.lower() == name.lower()]:
        like = "" if name in others else f", like {others[0]!r} where case does not count"
        raise ValueError(f"{short(name)} is taken{like}; choose another name")
    return name


if TYPE_CHECKING:
    Need: TypeAlias = str
    FreeName: TypeAlias = str
else:
    Need = Annotated[
        str,
        AfterValidator(_needs),
        WithJsonSchema({"enum": [*NEEDS, *sorted(registry.ESTIMATORS)]}),
    ]
    FreeName = Annotated[str, BeforeValidator(_free_name)]


class CustomScore(Section):
    """A score of your own: a function in a module of yours."""

    factory: Annotated[str, Field(pattern=IMPORT)] = Field(
        alias="import",
        description="the function, `package.module:function`; see docs/selection.md",
    )
    arguments: dict[str, Any] = as_in(ModelSettings, "arguments")
    needs: Need = Field(
        "weights",
        description="what it ranks by: weights alone; curvature, which is what the experiment's "
        "`estimator` computes; or the name of the one estimator that it is defined by",
    )


class CustomMethod(CustomScore):
    """A selection method of your own, in `methods:` beside the names of known ones."""

    name: FreeName = Field(description="what tables, figures and folders call it")

    @property
    def score(self) -> CustomScore:
        """What a step needs beside the name."""
        return CustomScore.model_validate(self.model_dump(exclude={"name"}))


def _kind(value: Any) -> str:
    return "[custom]" if isinstance(value, Mapping | CustomMethod) else "[name]"


if TYPE_CHECKING:
    MethodEntry: TypeAlias = str | CustomMethod
else:
    MethodEntry = Annotated[
        Annotated[Method, Tag("[name]")] | Annotated[CustomMethod, Tag("[custom]")],
        Discriminator(_kind),
    ]


def names(entries: Iterable["str | CustomMethod"]) -> list[str]:
    """The name of each entry."""
    return [entry if isinstance(entry, str) else entry.name for entry in entries]


def custom(entries: Iterable["str | CustomMethod"]) -> dict[str, CustomScore]:
    """The scores of the user's own among entries, by name."""
    return {entry.name: entry.score for entry in entries if not isinstance(entry, str)}


def _selection_name(value: Any) -> Any:
    """A known selection method's one name; another may be the user's own."""
    known = {*registry.METHODS, *registry.ALIASES["selection method"]}
    if isinstance(value, str) and value in known:
        return registry.canonical("selection method", value)
    return text.name(value)


if TYPE_CHECKING:
    SelectionName: TypeAlias = str
else:
    _NAMES = sorted({*registry.METHODS, *registry.ALIASES["selection method"]})
    SelectionName = Annotated[
        str,
        BeforeValidator(_selection_name),
        WithJsonSchema({"anyOf": [{"enum": _NAMES}, {"type": "string"}]}),
    ]
