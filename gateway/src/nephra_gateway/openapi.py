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
from nephra_gateway.messages import CaseAnswer, CaseRequest, Health

NDJSON = "application/x-ndjson"
PROBLEM = "application/problem+json"
_REF = "#/components/schemas/{model}"
_MODELS = (Answer, BundleDescription, CaseAnswer, CaseRequest, Event, Health, OperationDescription)

_CASE_EXAMPLE = {
    "phases": {"A": "cases/17/arterial.nii.gz", "D": "cases/17/delayed.nii.gz"},
    "structures": ["kidney", "tumor", "ureter"],
}

#: status → what it means; each answers with a problem document.
_PROBLEMS = {
    "400": "A path outside of the data root.",
    "401": "No bearer token, or one that is not known.",
    "404": "A file, operation or bundle that is not there.",
    "413": "A volume or a body over the limit.",
    "415": "A body that is not JSON.",
    "422": "Something in the request or its files that cannot be worked on.",
    "500": "A defect of nephra.",
    "502": "A predictor that died at this work again and again.",
    "503": "A predictor that does not answer, and was waited for.",
    "504": "A predictor that took too long.",
    "507": "Not enough memory.",
}


def describe(operations: Iterable[OperationDescription], auth: str) -> dict[str, Any]:
    """The document.

    Args:
        operations: what is offered now.
        auth: `bearer` or `none`.
    """
    schemas = _schemas()
    paths: dict[str, Any] = {**_information(), "/cases": {"post": _cases()}}
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
        "tags": [
            {"name": "cases", "description": "The whole way."},
            {"name": "operations", "description": "One step."},
            {"name": "information", "description": "What there is."},
        ],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "responses": {f"Problem{s}": _problem(d) for s, d in _PROBLEMS.items()},
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
        "makes one surface per structure. Hanging up cancels all of it.",
        "requestBody": _body("CaseRequest", _CASE_EXAMPLE),
        "responses": _responses("CaseAnswer"),
    }


def _operation(operation: OperationDescription, name: str) -> dict[str, Any]:
    return {
        "operationId": re.sub(r"\W", "_", f"run_{operation.name}"),
        "tags": ["operations"],
        "summary": operation.summary,
        "description": operation.description,
        "requestBody": _body(name, operation.example),
        "responses": _responses("Answer"),
    }


def _body(schema: str, example: Mapping[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": _ref(schema)}
    if example:
        content["examples"] = {"usual": {"summary": "A usual request", "value": dict(example)}}
    return {"required": True, "content": {"application/json": content}}


def _responses(schema: str) -> dict[str, Any]:
    done = {
        "description": "Done; or, if that is accepted, the events of the work, one a line. "
        "The last event is a `result` with the same content, or a `problem`.",
        "content": {
            "application/json": {"schema": _ref(schema)},
            NDJSON: {"schema": _ref("Event")},
        },
    }
    return {"200": done, **_problems(*_PROBLEMS)}


def _information() -> dict[str, Any]:
    table = {"type": "object", "additionalProperties": {"type": "object"}}
    return {
        "/labels": _get("get_labels", "What the numbers in a mask mean.", table),
        "/operations": _get(
            "list_operations", "What the predictors offer.", _list("OperationDescription")
        ),
        "/bundles": _get("list_bundles", "The models that are loaded.", _list("BundleDescription")),
        "/livez": _get("get_life", "Whether the gateway lives.", _ref("Health"), secure=False),
        "/healthz": _get(
            "get_health",
            "Whether the gateway can take requests: it lives, and its data root can be used.",
            _ref("Health"),
            secure=False,
        ),
        "/readyz": _get(
            "get_readiness", "Whether all predictors are ready.", _ref("Health"), secure=False
        ),
    }


def _get(name: str, summary: str, schema: Mapping[str, Any], secure: bool = True) -> dict[str, Any]:
    responses = {
        "200": {
            "description": summary,
            "content": {"application/json": {"schema": dict(schema)}},
        },
        **_problems(*(("401", "500") if secure else ("500", "503"))),
    }
    get: dict[str, Any] = {
        "operationId": name,
        "tags": ["information"],
        "summary": summary,
        "responses": responses,
    }
    if not secure:
        get["security"] = []
    return {"get": get}


def _problem(description: str) -> dict[str, Any]:
    return {"description": description, "content": {PROBLEM: {"schema": _ref("Problem")}}}


def _problems(*statuses: str) -> dict[str, Any]:
    return {s: {"$ref": f"#/components/responses/Problem{s}"} for s in statuses}


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
    # The gateway gives tickets; a request that brings one is refused.
    own["properties"] = {k: v for k, v in properties.items() if k not in ("ticket", "step")}
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


def _list(schema: str) -> dict[str, Any]:
    return {"type": "array", "items": _ref(schema)}


def _ref(schema: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{schema}"}
