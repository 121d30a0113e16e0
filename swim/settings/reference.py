"""The JSON schema of ``config.yaml``, made from :mod:`swim.settings`."""

from typing import Any

from swim.settings import ConfigFile, registry

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """JSON schema of ``config.yaml``; experiments and defaults may leave anything out."""
    tidy: dict[str, Any] = _tidy(ConfigFile.model_json_schema())
    return {"$schema": DIALECT} | tidy


def _tidy(node: Any) -> Any:
    """Drop ``required`` and titles, and complete descriptions, all the way down."""
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {key: _tidy(value) for key, value in node.items() if key not in ("required", "title")}
    if isinstance(text := kept.get("description"), str):
        kept["description"] = registry.with_names(text)
    return kept
