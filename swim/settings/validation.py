"""What a user reads about a faulty setting: its name, its value and what is allowed."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from swim.errors import SettingError, short
from swim.settings.registry import suggest

if TYPE_CHECKING:
    from swim.settings.origin import Origins

Model = TypeVar("Model", bound=BaseModel)
NOTHING = object()
MAPPING = ("model_type", "dict_type", "model_attributes_type", "mapping_type")


@dataclass(frozen=True)
class Fault:
    """One fault: the setting's path, what is wrong, and the value unless the message has it."""

    path: tuple[Any, ...]
    message: str
    value: Any = NOTHING

    def line(self, origins: "Origins | None" = None) -> str:
        """One line: where it is written, the setting, the fault and the value."""
        name = ".".join(map(str, self.path)) or "settings"
        where = origins.where(self.path) if origins else ""
        return f"{where + ': ' if where else ''}{name}: {self.message}{self._got(origins)}"

    def _got(self, origins: "Origins | None") -> str:
        if self.value is NOTHING:
            return ""
        shown = short(self.value)
        spelt = origins.spelling(self.path) if origins else None
        if spelt is not None and spelt not in (shown, str(self.value)):
            if isinstance(self.value, float) and not math.isfinite(self.value):
                return f" (got {spelt})"
            quote = (
                ""
                if isinstance(self.value, int) and not isinstance(self.value, bool)
                else ("; quote it if text is meant")
            )
            return f" (got {spelt[:60] or 'nothing'}, which YAML reads as {shown}{quote})"
        if origins and isinstance(self.value, str) and origins.from_command_line(self.path):
            return (
                f" (got {shown}; --config hands over what is in a mapping or list as text: write "
                "it into a file, for --configfile)"
            )
        return f" (got {shown})"


def report(faults: Sequence[Fault], origins: "Origins | None" = None) -> None:
    """Raise a SettingError with one line a fault, if there are any."""
    if faults:
        raise SettingError("\n".join(dict.fromkeys(fault.line(origins) for fault in faults)))


def _fields_at(model: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    """Known keys of the section that ``path`` leads to, past names of experiments and devices."""
    for part in path:
        field = model.model_fields.get(str(part))
        found = [] if field is None else list(_sections_in(field.annotation))
        model = found[0] if found else model
    return [field.alias or name for name, field in model.model_fields.items()]


def _sections_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The sections that an annotation is made of, such as an entry of a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _sections_in(inner)


def explain(
    error: ValidationError, model: type[BaseModel], prefix: tuple[Any, ...] = ()
) -> list[Fault]:
    """Each fault that pydantic found, in a user's words."""
    return [_explained(fault, model, prefix) for fault in error.errors()]


def _explained(fault: Any, model: type[BaseModel], prefix: tuple[Any, ...]) -> Fault:
    kind, value = fault["type"], fault["input"]
    # Without pydantic's own words: a key of a mapping, and which kind of entry a list's is.
    path = (*prefix, *(part for part in fault["loc"] if not str(part).startswith("[")))
    if kind == "extra_forbidden":
        known = _fields_at(model, fault["loc"][:-1])
        return Fault(path, f"unknown setting; {suggest(str(fault['loc'][-1]), known)}")
    message = fault["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if kind == "value_error":
        return Fault(path, message)
    if kind == "missing":
        return Fault(path, "is missing")
    if kind in MAPPING:
        message = "must be a mapping of settings, `key: value`"
        if value is None:
            return Fault(path, f"{message}; nothing is under it: write {{}} or remove the key")
    if kind == "finite_number":
        message = "must be a finite number"
    if kind == "string_pattern_mismatch":
        message = "must be `package.module:function`"
    if kind in ("float_type", "int_type") and _is_number(value):
        message += (
            "; text is not, and YAML reads 1e-3 and 1e3 as text: write 1.0e-3, or 1000 for a whole "
            "number"
        )
    return Fault(path, message, value)


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return isinstance(value, str)


def faults_of(
    section: type[Model], content: Mapping[str, Any], prefix: tuple[Any, ...] = ()
) -> tuple[Model | None, list[Fault]]:
    """A validated section, or what is wrong with it."""
    try:
        return section.model_validate(content), []
    except ValidationError as error:
        return None, explain(error, section, prefix)
    except RecursionError:
        return None, [Fault(prefix, "is nested too deeply")]


def parse(section: type[Model], content: Mapping[str, Any], where: str = "") -> Model:
    """Validate one section.

    Raises:
        SettingError: something is unknown, mistyped or out of range.
    """
    made, faults = faults_of(section, content, (where,) if where else ())
    report(faults)
    assert made is not None
    return made
