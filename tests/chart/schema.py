"""The values' schema, walked together with values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from chart.helm import CHART

Path = tuple[str | int, ...]


def schema() -> dict[str, Any]:
    """values.schema.json."""
    loaded: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    return loaded


def resolved(part: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    """What a reference stands for, with the description of the place that refers."""
    if "$ref" not in part:
        return part
    target: dict[str, Any] = whole["definitions"][part["$ref"].rpartition("/")[2]]
    return {**target, **{k: v for k, v in part.items() if k != "$ref"}}


def is_closed(part: dict[str, Any]) -> bool:
    """Whether the object takes no key but those that it names."""
    return part.get("additionalProperties") is False


def keys(value: Any, part: dict[str, Any], whole: dict[str, Any]) -> Iterator[tuple[Path, bool]]:
    """Every key in a value, at any depth, and whether the object that holds it is closed."""
    part = resolved(part, whole)
    if isinstance(value, dict):
        named = part.get("properties", {})
        for key, inner in value.items():
            yield (key,), is_closed(part)
            of = named.get(key, part.get("additionalProperties", {}))
            for path, closed in keys(inner, of if isinstance(of, dict) else {}, whole):
                yield (key, *path), closed
    if isinstance(value, list):
        for i, inner in enumerate(value):
            for path, closed in keys(inner, part.get("items", {}), whole):
                yield (i, *path), closed


def at(value: Any, path: Path) -> Any:
    """The part of a value at a path."""
    for key in path:
        value = value[key]
    return value
