"""Command-line flags made from the settings' own definitions, so that they cannot drift."""

import functools
import json
import math
import os
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from swim.errors import SettingError, short
from swim.settings import PlotJob, Section, merge, registry, validation
from swim.settings.jobs import FigureWidth
from swim.settings.text import check_json

Keys = tuple[str, ...]


def _leaves(section: type[BaseModel], prefix: Keys = ()) -> Iterator[tuple[Keys, FieldInfo]]:
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


class _JsonObject(click.ParamType):  # type: ignore[type-arg] # click 8.1: not generic
    name = "json"

    def convert(self, value: Any, param: Any, ctx: Any) -> dict[str, Any]:
        return value if isinstance(value, dict) else json_object(value)


def _help(field: FieldInfo) -> str:
    default = field.get_default()
    return f"{field.description}  [default: {'none' if default is None else default}]"


class _Setting(click.Option):
    """A setting's flag, whose help asks the registry for names only where help is shown."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        self.help = registry.with_names(self.help or "")
        return super().get_help_record(ctx)


def settings_options(section: type[Section]) -> Callable[..., Any]:
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
                    content = merge(content, functools.reduce(_wrap, reversed(path), value))
            return function(settings=validation.parse(section, content), **values)

        for name, path in reversed(names.items()):
            flag = "--" + "-".join(path).replace("_", "-")
            field = leaves[path]
            details = {"type": _type(field), "default": None, "help": _help(field)}
            option = click.option(flag, name, cls=_Setting, **details)
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
        SettingError: it is none, gives a key twice, or has a number that is not finite.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise SettingError(f"{', '.join(map(repr, twice))} is given twice in {short(text)}")
        return dict(pairs)

    try:
        content = json.loads(text, object_pairs_hook=unique)
    except SettingError:
        raise
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise SettingError(f"not JSON: {short(text)} ({reason})") from None
    if not isinstance(content, dict):
        raise SettingError(f"not a JSON object: {short(text)}")
    try:
        check_json(content)
    except ValueError as error:
        raise SettingError(str(error)) from None
    return content


def figure_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of figures; it gets them as ``job``, a :class:`PlotJob`."""

    @functools.wraps(function)
    def run(titles: str, width: str | None, **values: Any) -> Any:
        content = json_object(titles) | ({"figure_width": width} if width else {})
        return function(job=validation.parse(PlotJob, content, "titles"), **values)

    widths = click.Choice(get_args(FigureWidth))
    run = click.option("--width", type=widths, help="of figures; it wins over --titles")(run)
    return click.option(
        "--titles",
        default="{}",
        help="model, dataset, devices (by name, as in config.yaml) and figure_width, as JSON: what "
        "titles say",
    )(run)


class Finite(click.FloatRange):
    """A number in a range; infinity and NaN, which compares false with any limit, are none."""

    name = "number"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """The number."""
        found: float = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"{value} is not a finite number", param, ctx)
        return found


# Names of the options that say what a step writes; all its other paths are read.
WRITTEN = frozenset({"out", "history", "clean", "scores", "markdown", "figure", "paired"})


def with_paths_checked(command: click.Command) -> click.Command:
    """Let a step refuse to write over what it reads, before it does any work."""
    step = command.callback
    if step is None or hasattr(step, "paths_checked"):
        return command

    @functools.wraps(step)
    def run(*given: Any, **values: Any) -> Any:
        _check_paths(command, values)
        return step(*given, **values)

    run.paths_checked = True  # type: ignore[attr-defined]
    command.callback = run
    return command


def _check_paths(command: click.Command, values: dict[str, Any]) -> None:
    """Raise SettingError where an output is an input, another output, or cannot be a file."""
    read: dict[str, str] = {}
    written: dict[str, str] = {}
    for parameter in command.params:
        value = values.get(parameter.name or "")
        if not isinstance(parameter.type, click.Path) or not value:
            if isinstance(parameter.type, click.Path) and value == "":
                raise SettingError(f"{parameter.opts[0]} is empty; name a file")
            continue
        name = parameter.opts[0] if parameter.name in WRITTEN else (parameter.name or "")
        for path in [value] if isinstance(value, str) else value:
            real = os.path.realpath(path)
            if parameter.name not in WRITTEN:
                read[real] = parameter.opts[0]
                continue
            if real in written:
                raise SettingError(f"{name} and {written[real]} are the same file, {path}")
            written[real] = name
            for folder in Path(real).parents:
                if folder.is_file():
                    raise SettingError(f"{name} {path}: {folder} is a file, not a folder")
    for real, name in written.items():
        if real in read:
            raise SettingError(
                f"{name} would write over {read[real]}, {real}; name another file to write"
            )
