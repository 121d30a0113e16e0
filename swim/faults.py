"""What a user reads about a faulty setting: its name, its value and what is allowed."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from swim.errors import SettingError
from swim.registry import suggest

Model = TypeVar("Model", bound=BaseModel)


def _fields_at(model: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    """Known keys of the section that ``path`` leads to, past names of experiments and devices."""
    for part in path:
        field = model.model_fields.get(str(part))
        if field is None:
            continue
        inner = [field.annotation, *getattr(field.annotation, "__args__", ())]
        found = [t for t in inner if isinstance(t, type) and issubclass(t, BaseModel)]
        model = found[0] if found else model
    return list(model.model_fields)


def explain(error: ValidationError, model: type[BaseModel], prefix: str = "") -> str:
    """One line a fault: the setting, the value and what is allowed."""
    lines = []
    for fault in error.errors():
        where = prefix + ".".join(str(part) for part in fault["loc"] if part != "[key]")
        where = where.removesuffix(".")
        if fault["type"] == "extra_forbidden":
            known = _fields_at(model, fault["loc"][:-1])
            lines.append(f"{where}: unknown setting; {suggest(str(fault['loc'][-1]), known)}")
            continue
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] in ("float_type", "int_type") and _is_number(fault["input"]):
            message += "; text is not, and YAML reads 1e-3 as text: write 1.0e-3"
        value = "" if fault["type"] == "value_error" else f" (got {fault['input']!r})"
        lines.append(f"{where or 'settings'}: {message[0].lower()}{message[1:]}{value}")
    return "\n".join(lines)


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return isinstance(value, str)


def parse(section: type[Model], content: Mapping[str, Any], where: str = "") -> Model:
    """Validate one section.

    Raises:
        SettingError: something is unknown, mistyped or out of range.
    """
    try:
        return section.model_validate(content)
    except ValidationError as error:
        raise SettingError(explain(error, section, f"{where}." if where else "")) from None
