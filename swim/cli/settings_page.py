"""The reference page of all settings, docs/settings.md, made from the JSON schema."""

import json
from collections.abc import Iterator
from typing import Any

from swim.runtime.markdown import table
from swim.settings.reference import schema


def page() -> str:
    """The reference page of all settings, as Markdown."""
    root = schema()
    sections = {"ConfigFile": root, **root["$defs"]}
    lines = [
        "# Settings",
        "",
        "Every key of `config.yaml`. Made by `python -m swim schema` from `swim/settings`; a test",
        "fails when they differ. `defaults:` and each entry of `experiments:` take the keys of an",
        "experiment; an entry's mappings are merged into the defaults', its lists replace them.",
        "`--configfile mine.yaml` is merged over `config.yaml`, key by key, and so are single keys",
        "given with `--config`. Without a target, `snakemake --configfile mine.yaml` makes the",
        "experiments that mine.yaml names, if it names any; `all` is every experiment.",
        "",
    ]
    for name, section in sections.items():
        lines += [f"## {_heading(name)}", "", section["description"].split("\n")[0], ""]
        rows = _rows(section["properties"])
        lines += [*table(["key", "values", "default", "meaning"], rows, "llll"), ""]
    return "\n".join(lines)


def _heading(name: str) -> str:
    words = {
        "ConfigFile": "The file",
        "ExperimentSettings": "An experiment",
        "OwnDataSet": "Images of your own",
        "ComparisonSettings": "A comparison",
        "InSituSettings": "`in_situ`",
        "CorrelateSettings": "`correlate`",
        "CustomMethod": "A method of your own",
    }
    return words.get(name) or f"`{name.removesuffix('Settings').lower()}`"


def _rows(properties: dict[str, Any]) -> Iterator[list[str]]:
    for key, node in properties.items():
        default = node.get("default", {})
        cell = "" if isinstance(default, dict) else f"`{json.dumps(default)}`"
        yield [f"`{key}`", _values(node), cell, node.get("description", "")]


def _values(node: dict[str, Any]) -> str:
    if "$ref" in node:
        return _heading(node["$ref"].rsplit("/", 1)[-1])
    if choices := node.get("anyOf") or node.get("oneOf"):
        return " or ".join(_values(choice) for choice in choices)
    if "enum" in node:
        return ", ".join(f"`{value}`" for value in node["enum"])
    if node.get("type") == "array":
        return f"list of: {_values(node['items'])}"
    if node.get("type") == "object":
        values = node["additionalProperties"]
        return "name: value" if values is True else f"name: {_values(values)}"
    if "pattern" in node:
        return "package.module:function" if ":" in node["pattern"] else "quoted decimal"
    limits = [
        f"{sign} {node[key]}"
        for key, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"))
        if key in node
    ]
    return " ".join([node.get("type", "any"), *limits])
