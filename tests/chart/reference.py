"""docs/reference/values.md, written from the values and their schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import yaml

from chart.helm import CHART
from chart.rendering import Object
from chart.schema import resolved, schema

_HEAD = """# Values of the chart

Written from `charts/nephra/values.schema.json` and `values.yaml` by `make manifests`. A key that is
not here is refused; `charts/nephra/ci/` has an example for each way of installing.
"""


def reference() -> str:
    """docs/reference/values.md."""
    whole = schema()
    defaults = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    parts = [
        _HEAD,
    ]
    loose = [k for k, v in whole["properties"].items() if not v.get("properties")]
    for key in [None, *(k for k in whole["properties"] if k not in loose)]:
        if key is None:
            parts.append(
                _table("General", "", {k: whole["properties"][k] for k in loose}, defaults, whole)
            )
        else:
            part = whole["properties"][key]
            parts.append(_table(f"`{key}`", part["description"], {key: part}, defaults, whole))
    parts.append("\n## Objects within values\n")
    for name, part in sorted(whole["definitions"].items()):
        parts.append(_definition(name, part, whole))
    return "".join(parts)


def _table(title: str, about: str, parts: Object, defaults: Object, whole: Object) -> str:
    rows = "".join(
        f"| `{path}` | {_type(part, whole)} | {_cell(default)} | {_about(part, whole)} |\n"
        for key in parts
        for path, part, default in _leaves(key, parts[key], defaults[key])
    )
    head = f"\n## {title}\n\n" + (f"{about}\n\n" if about else "")
    return f"{head}| value | type | default | what it is |\n|---|---|---|---|\n{rows}"


def _leaves(path: str, part: Object, default: Any) -> Iterator[tuple[str, Object, Any]]:
    if "properties" not in part:
        yield path, part, default
        return
    for key, inner in part["properties"].items():
        yield from _leaves(f"{path}.{key}", inner, default[key])


def _type(part: Object, whole: Object) -> str:
    if "$ref" in part:
        name = part["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "const" in part:
        return f"`{json.dumps(part['const'])}`"
    if "enum" in part:
        return " \\| ".join(f"`{e}`" for e in part["enum"])
    if part.get("type") == "array":
        return f"list of {_type(part['items'], whole)}"
    kind = part.get("type", "string")
    named = " or ".join(kind) if isinstance(kind, list) else kind
    low, high = part.get("minimum"), part.get("maximum")
    return named + ("" if low is None else f" ≥ {low}") + ("" if high is None else f", ≤ {high}")


def _definition(name: str, part: Object, whole: Object) -> str:
    about = f"{_escaped(part['description'])}\n" if "description" in part else ""
    rows = "".join(_rows(part, "", whole))
    table = f"\n| key | type | what it is |\n|---|---|---|\n{rows}" if rows else ""
    return f"\n### {name}\n\n{about}{table}".replace("\n\n\n", "\n\n")


def _rows(part: Object, prefix: str, whole: Object) -> Iterator[str]:
    for key, inner in part.get("properties", {}).items():
        if inner is False:
            continue
        yield f"| `{prefix}{key}` | {_type(inner, whole)} | {_escaped(inner['description'])} |\n"
        yield from _rows(inner, f"{prefix}{key}.", whole)
        if isinstance(inner.get("items"), dict):
            yield from _rows(inner["items"], f"{prefix}{key}[].", whole)


def _about(part: Object, whole: Object) -> str:
    return _escaped(resolved(part, whole)["description"])


def _cell(default: Any) -> str:
    return f"`{json.dumps(default)}`".replace("|", "\\|")


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
