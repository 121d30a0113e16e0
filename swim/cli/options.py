"""Command-line flags made from the settings' own definitions, so that they cannot drift."""

import functools
import json
import types
from collections.abc import Callable, Iterator
from typing import Any, Literal, Union, get_args, get_origin

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from swim import faults, spec
from swim.errors import SettingError

Path = tuple[str, ...]


def _leaves(section: type[BaseModel], prefix: Path = ()) -> Iterator[tuple[Path, FieldInfo]]:
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _leaves(field.annotation, (*prefix, name))
        else:
            yield (*prefix, field.alias or name), field


def _type(field: FieldInfo) -> Any:
    annotation = field.annotation
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(t for t in get_args(annotation) if t is not type(None))
    if get_origin(annotation) is Literal:
        return click.Choice(get_args(annotation))
    section = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    if section or get_origin(annotation) is dict:
        return _JsonObject()
    return annotation if annotation in (int, float, bool) else str


class _JsonObject(click.ParamType):
    name = "json"

    def convert(self, value: Any, param: Any, ctx: Any) -> dict[str, Any]:
        return value if isinstance(value, dict) else json_object(value)


def _help(field: FieldInfo) -> str:
    default = field.get_default()
    return f"{field.description}  [default: {'none' if default is None else default}]"


def settings_options(section: type[spec.Section]) -> Callable[..., Any]:
    """Give a command one flag per setting of ``section`` and ``--settings`` for all at once.

    The command gets the validated section as ``settings``. A nested setting's flag is its path:
    ``training.epochs`` is ``--training-epochs``.
    """
    leaves = dict(_leaves(section))
    names = {"__".join(path): path for path in leaves}

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def run(settings: str, **values: Any) -> Any:
            content = json_object(settings)
            for name, path in names.items():
                value = values.pop(name)
                if value is not None:
                    content = spec.merge(content, functools.reduce(_wrap, reversed(path), value))
            return function(settings=faults.parse(section, content), **values)

        for name, path in reversed(names.items()):
            flag = "--" + "-".join(path).replace("_", "-")
            field = leaves[path]
            option = click.option(flag, name, type=_type(field), default=None, help=_help(field))
            run = option(run)
        return click.option(
            "--settings", default="{}", help="these settings as JSON; flags win over it"
        )(run)

    return decorate


def _wrap(value: Any, key: str) -> dict[str, Any]:
    return {key: value}


def json_object(text: str) -> dict[str, Any]:
    """A JSON object given on the command line.

    Raises:
        SettingError: it is none.
    """
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise SettingError(f"not JSON: {text!r} ({error})") from None
    if not isinstance(content, dict):
        raise SettingError(f"not a JSON object: {text!r}")
    return content
