"""A YAML file as its author wrote it: lines, spellings, and what its loader changes in silence."""

import re
from dataclasses import dataclass
from typing import Any, TypeAlias

import yaml

from swim.errors import SettingError

Steps: TypeAlias = tuple[str, ...]
PREFIX = "tag:yaml.org,2002:"
MOST_SETTINGS, MOST_LEVELS, MOST_DIGITS = 100_000, 50, 400


@dataclass(frozen=True)
class Mark:
    """Where a setting is written, from line 1, its spelling if plain, and whether it is empty."""

    line: int | None = None
    text: str | None = None
    empty: bool = False


def read_nodes(text: str, label: str) -> dict[Steps, Mark]:
    """Each setting of a YAML text, merges (``<<``) and aliases resolved.

    Raises:
        SettingError: it is no YAML, no mapping, or its loader would change it silently.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = label if mark is None else f"{label}, line {mark.line + 1}"
        raise SettingError(f"{where}: is not valid YAML: {_problem(error)}") from None
    except yaml.YAMLError as error:
        raise SettingError(f"{label}: is not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise SettingError(f"{label}: is nested too deeply") from None
    if root is None:
        raise SettingError(f"{label}: is empty; it needs `key: value` settings")
    if not isinstance(root, yaml.MappingNode):
        raise SettingError(f"{label}: holds no `key: value` settings at its top level")
    reader = _Reader(label)
    reader.mapping(root, (), ())
    if reader.faults:
        raise SettingError("\n".join(reader.faults))
    return reader.marks


def _problem(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "it cannot be parsed"
    if "'\\t'" in problem or "\t" in problem:
        return f"{problem}; it has a tab, and YAML indents by spaces"
    if "mapping values are not allowed" in problem:
        return f"{problem}; quote a value that has a colon"
    return problem


class _Reader:
    """Walks the nodes of one file, and notes marks and faults."""

    def __init__(self, label: str):
        self.marks: dict[Steps, Mark] = {}
        self.faults: list[str] = []
        self._label = label
        self._count = 0
        self._reported: set[int] = set()

    def _fault(self, node: yaml.Node, path: Steps, message: str) -> None:
        """Note a fault, once for a node that several aliases share."""
        if id(node) in self._reported:
            return
        self._reported.add(id(node))
        line = node.start_mark.line + 1
        name = f"{'.'.join(path)}: " if path else ""
        self.faults.append(f"{self._label}, line {line}: {name}{message}")

    def _enter(self, node: yaml.Node, path: Steps, inside: tuple[int, ...]) -> None:
        self._count += 1
        problem = None
        if id(node) in inside:
            problem = "contains itself (`*` refers to an `&` around it)"
        elif len(inside) > MOST_LEVELS:
            problem = f"is nested more than {MOST_LEVELS} levels deep"
        elif self._count > MOST_SETTINGS:
            problem = (
                f"the file stands for more than {MOST_SETTINGS:,} settings; are all `*` meant?"
            )
        if problem:
            self._fault(node, path[:5], problem)
            raise SettingError("\n".join(self.faults))

    def mapping(self, node: yaml.MappingNode, path: Steps, inside: tuple[int, ...]) -> None:
        self._enter(node, path, inside)
        for key, (key_node, value) in self._entries(node, path, inside).items():
            own = (*path, key)
            text = value.value if _is_plain(value) else None
            empty = value.tag == PREFIX + "null"
            self.marks[own] = Mark(key_node.start_mark.line + 1, text, empty)
            self._value(value, own, (*inside, id(node)))

    def _value(self, node: yaml.Node, path: Steps, inside: tuple[int, ...]) -> None:
        if isinstance(node, yaml.MappingNode) and node.tag == PREFIX + "map":
            self.mapping(node, path, inside)
        elif isinstance(node, yaml.SequenceNode) and node.tag == PREFIX + "seq":
            self._enter(node, path, inside)
            for index, item in enumerate(node.value):
                own = (*path, str(index))
                text = item.value if _is_plain(item) else None
                self.marks[own] = Mark(item.start_mark.line + 1, text)
                self._value(item, own, (*inside, id(node)))
        elif problem := _misread(node):
            self._fault(node, path, problem)

    def _entries(
        self, node: yaml.MappingNode, path: Steps, inside: tuple[int, ...]
    ) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Key -> nodes of key and value; keys written here win over merged ones."""
        written: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        merged: list[yaml.Node] = []
        for key_node, value in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._fault(key_node, path, "a key must be text, not a list or a mapping")
                continue
            key = key_node.value
            if key in written:
                first = written[key][0].start_mark.line + 1
                way_out = "list them, `<<: [*a, *b]`" if key == "<<" else "remove one of them"
                own = (*path, key)
                self._fault(key_node, own, f"is given twice, first in line {first}; {way_out}")
                continue
            if key_node.tag == PREFIX + "merge":
                merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
            elif key_node.tag != PREFIX + "str":
                self._fault(key_node, (*path, key), f"{_other(key_node)} as a key; quote it")
            written[key] = (key_node, value)
        found = {key: nodes for key, nodes in written.items() if nodes[0].tag != PREFIX + "merge"}
        for other in merged:
            if not isinstance(other, yaml.MappingNode):
                self._fault(other, (*path, "<<"), "takes a mapping, such as `*name`, or a list")
                continue
            self._enter(other, path, (*inside, id(node)))
            for key, nodes in self._entries(other, path, (*inside, id(node))).items():
                found.setdefault(key, nodes)
        return found


def _is_plain(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.style is None


def _other(node: yaml.ScalarNode) -> str:
    kind = {"int": "a number", "float": "a number", "timestamp": "a date", "null": "nothing",
            "bool": "true or false"}.get(node.tag.removeprefix(PREFIX), node.tag)  # fmt: skip
    return f"YAML reads {node.value or 'no text'} as {kind}"


def _misread(node: yaml.Node) -> str | None:
    """What is wrong with a value that YAML takes for something else than it looks like."""
    tag = node.tag.removeprefix(PREFIX)
    text = node.value if isinstance(node, yaml.ScalarNode) else ""
    if tag in ("int", "float"):
        if ":" in text:
            return f'YAML reads {text} in base 60; write the number in full, or quote it: "{text}"'
        if re.fullmatch(r"[-+]?0[0-9_]+", text):
            return (
                f"YAML reads {text} in base 8, as {_octal(text)}; write the number without the "
                f'leading 0, or quote it: "{text}"'
            )
        if len(text) > MOST_DIGITS - 1:
            return f"is a number of {len(text)} characters, {text[:12]}...; write a shorter one"
    elif tag == "timestamp":
        return f'YAML reads {text} as a date; quote it: "{text}"'
    elif tag in ("value", "merge"):
        return f'{text} has a meaning of its own in YAML; quote it: "{text}"'
    elif tag not in ("str", "bool", "null"):
        return f"the YAML tag {node.tag.replace(PREFIX, '!!')} is not for settings; remove it"
    return None


def _octal(text: str) -> Any:
    return int(text.replace("_", ""), 8) if len(text) < MOST_DIGITS else "a long one"
