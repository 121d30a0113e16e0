"""Where each setting comes from, and what YAML would read otherwise than it was meant.

Snakemake's loader keeps the last of two equal keys, reads ``010`` as 8 and ``1:30`` as 90, and
says nothing. A file is read here as its author wrote it, before the loader, so that such faults
are reported, and faults of values later on, with the file and the line.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swim.errors import SettingError
from swim.settings.yaml_nodes import Mark, Steps, read_nodes

COMMAND_LINE = "--config"


@dataclass(frozen=True)
class Source:
    """One place that settings come from.

    Attributes:
        label: what users know it by, such as ``mine.yaml``.
        marks: path of a setting, as text, to where and how it is written.
    """

    label: str
    marks: Mapping[Steps, Mark] = field(default_factory=dict)

    def keys(self, *section: str) -> list[str]:
        """The names under a section, in their order."""
        depth = len(section)
        return [
            path[depth] for path in self.marks if len(path) == depth + 1 and path[:depth] == section
        ]

    def says(self, path: Steps) -> Mark | None:
        """The mark of a setting, if this source has it."""
        return self.marks.get(path)


def read(path: str | os.PathLike[str], label: str | None = None) -> Source:
    """A file of settings, JSON or YAML, as it is written.

    What is no regular file, such as a pipe, can be read but once: it is left to Snakemake.

    Raises:
        SettingError: it cannot be read, or holds what YAML would change silently; every such
            fault is named with its line.
    """
    label = label or os.fspath(path)
    if not Path(path).is_file() and Path(path).exists() and not Path(path).is_dir():
        return Source(label)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SettingError(
            f"{label}: is not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from None
    except OSError as error:
        raise SettingError(f"{label}: cannot be read ({error.strerror})") from None
    content = _json(text, label)
    marks = read_nodes(text, label) if content is None else dict(_marks(content))
    return Source(label, marks)


def of_command_line(settings: Mapping[str, Any]) -> Source:
    """What ``--config key=value`` gives, as Snakemake has parsed it."""
    return Source(COMMAND_LINE, dict(_marks(settings)))


def _json(text: str, label: str) -> Any:
    """The content of a JSON file; None where it is none."""
    repeated: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        repeated.extend(sorted({key for key in keys if keys.count(key) > 1}))
        return dict(pairs)

    try:
        content = json.loads(text, object_pairs_hook=unique)
    except RecursionError:
        raise SettingError(f"{label}: is nested too deeply") from None
    except ValueError:
        return None
    if not isinstance(content, Mapping):
        raise SettingError(f"{label}: holds no `key: value` settings at its top level")
    if repeated:
        twice = ", ".join(map(repr, repeated))
        raise SettingError(f"{label}: {twice} is given twice in one object; remove one of them")
    return content


def _marks(content: Any, path: Steps = ()) -> Iterator[tuple[Steps, Mark]]:
    if isinstance(content, Mapping):
        inside = [(str(key), value) for key, value in content.items()]
    elif isinstance(content, list):
        inside = [(str(index), value) for index, value in enumerate(content)]
    else:
        return
    for key, value in inside:
        yield (*path, key), Mark(empty=value is None)
        yield from _marks(value, (*path, key))


class Origins:
    """All sources of a run's settings, each over those before it."""

    def __init__(self, sources: Sequence[Source] = ()):
        self._sources = list(sources)

    def where(self, path: Sequence[Any]) -> str:
        """File and line of a setting, or of what it is missing in; empty without sources."""
        found = self._find(tuple(map(str, path)))
        if found is None:
            return ""
        source, mark = found
        return source.label if mark.line is None else f"{source.label}, line {mark.line}"

    def spelling(self, path: Sequence[Any]) -> str | None:
        """A value as its file spells it, if it is a plain scalar."""
        steps = tuple(map(str, path))
        exact = self._exact(steps)
        return exact[1].text if exact else None

    def from_command_line(self, path: Sequence[Any]) -> bool:
        """Whether ``--config`` has set a value."""
        exact = self._exact(tuple(map(str, path)))
        return exact is not None and exact[0].label == COMMAND_LINE

    def named(self, section: str) -> list[str]:
        """Names under a section in what the user adds to the first source, in their order."""
        names = (name for source in self._sources[1:] for name in source.keys(section))
        return list(dict.fromkeys(names))

    @property
    def added(self) -> list[str]:
        """Labels of the sources that the user adds."""
        return [source.label for source in self._sources[1:]]

    def wiped(self, sections: Sequence[str]) -> Iterator[tuple[Steps, str]]:
        """Empty sections and entries that would silently remove what an earlier source says."""
        for index, source in enumerate(self._sources):
            for path, mark in source.marks.items():
                if not mark.empty or len(path) > 2 or path[0] not in sections:
                    continue
                for before in self._sources[:index]:
                    if any(p[: len(path)] == path and len(p) > len(path) for p in before.marks):
                        yield path, before.label

    def _find(self, steps: Steps) -> tuple[Source, Mark] | None:
        exact = self._exact(steps)
        while exact is None and steps:
            steps = steps[:-1]
            exact = self._exact(steps, defaults=False)
        if exact is None and self._sources:
            return self._sources[0], Mark()
        return exact

    def _exact(self, steps: Steps, defaults: bool = True) -> tuple[Source, Mark] | None:
        """The last source that says this; an experiment's setting may be that of `defaults`."""
        paths = [steps]
        if defaults and len(steps) > 2 and steps[0] == "experiments":
            paths.append(("defaults", *steps[2:]))
        for path in paths:
            for source in reversed(self._sources):
                mark = source.says(path)
                if mark is not None:
                    return source, mark
        return None
