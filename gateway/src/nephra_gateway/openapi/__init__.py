"""The OpenAPI document: static routes, and every operation that predictors offer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

from pydantic.json_schema import models_json_schema

from nephra_contract.messages import (
    Answer,
    BundleDescription,
    Event,
    OperationDescription,
    Problem,
)
from nephra_gateway.messages import (
    CacheView,
    CaseAnswer,
    CaseRequest,
    FilePage,
    FileView,
    Health,
    Received,
    TicketPage,
    TicketView,
)
from nephra_gateway.openapi.addresses import methods_of, static
from nephra_gateway.openapi.answers import ALWAYS, NDJSON, components, problems, ref, response
from nephra_gateway.openapi.parameters import WISHES

__all__ = ["describe", "methods_of"]

_REF = "#/components/schemas/{model}"
_MODELS = (
    Answer,
    BundleDescription,
    CacheView,
    CaseAnswer,
    CaseRequest,
    Event,
    FilePage,
    FileView,
    Health,
    OperationDescription,
    Received,
    TicketPage,
    TicketView,
)

#: Where people begin to read.
_TAGS = {
    "cases": "The whole way.",
    "operations": "One step.",
    "tickets": "What was asked for, and how far it is.",
    "files": "What lies in the data root.",
    "information": "What there is.",
}

_CASE_EXAMPLE = {
    "phases": {"A": "cases/17/arterial.nii.gz", "D": "cases/17/delayed.nii.gz"},
    "structures": ["kidney", "tumor", "ureter"],
}

#: The gateway gives these; a request that brings one is refused.
_OURS = frozenset({"attempt", "step", "ticket"})

#: What may become of a request for work.
_REFUSALS = (
    *("400", "403", "404", "409", "415", "422", "499", "502", "503", "504", "507"),
    *ALWAYS,
)


def describe(operations: Iterable[OperationDescription], auth: str) -> dict[str, Any]:
    """The document.

    Args:
        operations: what is offered now.
        auth: `bearer` or `none`.
    """
    schemas = _schemas()
    paths: dict[str, Any] = {**static(), "/cases": {"post": _cases()}}
    for operation in operations:
        name = _schema_name(operation.name)
        schemas |= _request_schemas(name, operation.request_schema)
        paths[f"/{operation.name}"] = {"post": _operation(operation, name)}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "nephra",
            "version": version("nephra-gateway"),
            "description": "CT phases of a kidney patient in, one named 3D scene out. "
            "Paths in requests and answers are relative to the data root. Not a medical device.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        # Where this document is: an ingress may have the gateway under a path.
        "servers": [{"url": "."}],
        "tags": [{"name": n, "description": text} for n, text in _TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "responses": components(),
        },
    }
    if auth == "bearer":
        document["components"]["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"bearer": []}]
    return document


def _cases() -> dict[str, Any]:
    return {
        "operationId": "run_case",
        "tags": ["cases"],
        "summary": "From CT phases to one named 3D scene.",
        "description": "Runs the models that the phases allow, mends and merges their masks and "
        "makes one surface per structure. Hanging up cancels it, unless `Prefer` was said.",
        "parameters": [dict(p) for p in WISHES],
        "requestBody": _body("CaseRequest", _CASE_EXAMPLE),
        "responses": _responses("CaseAnswer"),
    }


def _operation(operation: OperationDescription, name: str) -> dict[str, Any]:
    return {
        "operationId": re.sub(r"\W", "_", f"run_{operation.name}"),
        "tags": ["operations"],
        "summary": operation.summary,
        "description": operation.description,
        "parameters": [dict(p) for p in WISHES],
        "requestBody": _body(name, operation.example),
        "responses": _responses("Answer"),
    }


def _body(schema: str, example: Mapping[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": ref(schema)}
    if example:
        content["examples"] = {"usual": {"summary": "A usual request", "value": dict(example)}}
    return {"required": True, "content": {"application/json": content}}


def _responses(schema: str) -> dict[str, Any]:
    done = response(
        "Done; or, if that is accepted, the events of the work, one a line. "
        "The last event is a `result` with the same content, or a `problem`.",
        ref(schema),
        "Nephra-Ticket",
        media={NDJSON: {"schema": ref("Event")}},
        sometimes=("X-Nephra-Cache",),
    )
    later = response(
        "Not done yet; `Location` tells.",
        ref("TicketView"),
        *("Location", "Nephra-Ticket", "Preference-Applied"),
    )
    return {"200": done, "202": later, **problems(*_REFUSALS)}


def _schemas() -> dict[str, Any]:
    _, answers = models_json_schema(
        [
            (m, "serialization" if m is not CaseRequest else "validation")
            for m in (*_MODELS, Problem)
        ],
        ref_template=_REF,
    )
    schemas: dict[str, Any] = answers["$defs"]
    return schemas


def _request_schemas(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """A request's schema as components, the ones that it refers to under its own name."""
    prefix = f"{name}_"
    own = {k: v for k, v in schema.items() if k != "$defs"}
    properties = own.get("properties", {})
    own["properties"] = {k: v for k, v in properties.items() if k not in _OURS}
    parts = {prefix + k: v for k, v in schema.get("$defs", {}).items()}
    return {k: _moved(v, prefix) for k, v in {name: own, **parts}.items()}


def _moved(schema: Any, prefix: str) -> Any:
    if isinstance(schema, dict):
        return {
            k: v.replace("#/$defs/", f"#/components/schemas/{prefix}")
            if k == "$ref" and isinstance(v, str)
            else _moved(v, prefix)
            for k, v in schema.items()
        }
    return [_moved(v, prefix) for v in schema] if isinstance(schema, list) else schema


def _schema_name(operation: str) -> str:
    return "".join(p.title() for p in re.split(r"\W|_", operation)) + "Request"
