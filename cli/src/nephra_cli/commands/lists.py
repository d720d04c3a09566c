"""`nephra labels`, `operations` and `bundles`: what there is."""

from __future__ import annotations

from typing import Any

from nephra_cli import screen
from nephra_cli.connection import (
    DataOption,
    JsonOption,
    StateOption,
    Target,
    TokenFileOption,
    UrlOption,
    connect,
)
from nephra_contract.labels import table
from nephra_contract.messages import BundleDescription, OperationDescription


def labels(as_json: JsonOption = False) -> None:
    """List the label table: what the numbers in a mask mean."""
    rows = [(n, label.name, label.group, label.source) for n, label in table().items()]
    if as_json:
        keys = ("number", "name", "group", "source")
        screen.show_json([dict(zip(keys, row, strict=True)) for row in rows])
        return
    shown = [(n, screen.swatch(name), group, source) for n, name, group, source in rows]
    screen.show_table("labels", ["number", "name", "group", "source"], shown)


def operations(
    data: DataOption = None,
    state: StateOption = None,
    url: UrlOption = None,
    token_file: TokenFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the operations that the predictors offer, and what they take."""
    with connect(Target(data, state, url, token_file)) as gateway:
        found = gateway.client.operations()
    if as_json:
        screen.show_json([o.model_dump(mode="json") for o in found])
        return
    rows = [(o.name, _files(o), _parameters(o), o.output, o.summary) for o in found]
    screen.show_table("operations", ["name", "files", "parameters", "makes", "what"], rows)


def bundles(
    data: DataOption = None,
    state: StateOption = None,
    url: UrlOption = None,
    token_file: TokenFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the nnU-Net models that are loaded."""
    with connect(Target(data, state, url, token_file)) as gateway:
        found = gateway.client.bundles()
    if as_json:
        screen.show_json([b.model_dump(mode="json") for b in found])
        return
    columns = ["name", "task", "default", "version", "channels", "spacing mm", "labels", "licence"]
    screen.show_table("bundles", columns, [_bundle(b) for b in found])


def _files(operation: OperationDescription) -> str:
    return " ".join(
        f"[{i.name}]" if i.optional else f"{i.name}{'…' if i.many else ''}"
        for i in operation.inputs
    )


def _parameters(operation: OperationDescription) -> str:
    files = {i.name for i in operation.inputs}
    common = {"output_path", "ticket", "step", "labels"}
    members: dict[str, Any] = operation.request_schema.get("properties", {})
    return " ".join(m for m in members if m not in files | common) or "–"


def _bundle(bundle: BundleDescription) -> list[Any]:
    return [
        bundle.name,
        bundle.task,
        "yes" if bundle.default else "",
        bundle.version,
        " ".join("/".join(c) for c in bundle.channels),
        " x ".join(f"{s:g}" for s in bundle.spacing_mm),
        ", ".join(bundle.labels),
        bundle.licence,
    ]
