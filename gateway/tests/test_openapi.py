from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from nephra_contract.messages import OperationDescription
from nephra_contract.operation import Operation, Parameters
from nephra_gateway.openapi import describe


@pytest.fixture(scope="module")
def document(gateway: httpx.Client) -> dict[str, Any]:
    """The document as it is served."""
    got: dict[str, Any] = gateway.get("/openapi.json").json()
    return got


def walk(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a document."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner)


def verbs(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """(path, verb, entry) of all."""
    return [(p, v, e) for p, entries in document["paths"].items() for v, e in entries.items()]


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    """A client generator resolves all of them."""
    references = [o["$ref"] for o in walk(document) if isinstance(o.get("$ref"), str)]
    assert references
    for reference in references:
        found: Any = document
        assert reference.startswith("#/")
        for part in reference[2:].split("/"):
            found = found[part]
        assert found


def test_names_of_operations_are_unique_identifiers(document: dict[str, Any]) -> None:
    """Generators make functions of them."""
    names = [e["operationId"] for _, _, e in verbs(document)]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z][a-zA-Z0-9_]*", n) for n in names)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", n) for n in document["components"]["schemas"])


def test_every_operation_is_there(document: dict[str, Any], gateway: httpx.Client) -> None:
    """Learned ones and our own, each with its body, answer, problems and security."""
    paths = set(document["paths"])
    assert {f"/{o['name']}" for o in gateway.get("/operations").json()} <= paths
    assert {"/cases", "/labels", "/operations", "/bundles", "/healthz", "/readyz"} <= paths
    assert document["security"] == [{"bearer": []}]
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    for path, verb, entry in verbs(document):
        assert {"200", "500"} <= set(entry["responses"])
        assert entry["summary"]
        if verb == "post":
            assert {"401", "404", "422", "503"} <= set(entry["responses"])
            assert entry["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        assert ("security" in entry) == (path in ("/livez", "/healthz", "/readyz"))


def test_responses_and_bodies_have_the_members_that_openapi_asks_for(
    document: dict[str, Any],
) -> None:
    """Descriptions of responses, schemas of contents, values of examples."""
    assert document["openapi"].startswith("3.1")
    assert document["info"]["title"]
    assert document["info"]["version"]
    for _, _, entry in verbs(document):
        for status, response in entry["responses"].items():
            assert re.fullmatch(r"[1-5]\d\d", status)
            assert "$ref" in response or response["description"]
        for content in walk(entry):
            if "application/json" in content:
                assert "schema" in content["application/json"]


def test_tickets_are_not_for_callers(document: dict[str, Any]) -> None:
    """The gateway gives them, so no request schema has one."""
    for path, _, entry in verbs(document):
        if "requestBody" in entry and path != "/cases":
            schema = entry["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            name = schema.rsplit("/", 1)[-1]
            members = document["components"]["schemas"][name]["properties"]
            assert not {"ticket", "step"} & set(members)


class _Inner(Parameters):
    size_mm: float = 1.0


class _Nested(Parameters):
    """With a part of its own."""

    inner: _Inner = _Inner()


def test_nested_parameters_keep_their_schemas_apart() -> None:
    """Two operations may each have a part called the same."""

    def never(*_: object) -> None:
        raise AssertionError

    described: list[OperationDescription] = [
        Operation(f"x/{n}", (), _Nested, never).describe("x") for n in ("one", "two")
    ]
    schemas = describe(described, "none")["components"]["schemas"]
    assert {"XOneRequest", "XOneRequest__Inner", "XTwoRequest", "XTwoRequest__Inner"} <= set(
        schemas
    )
    assert schemas["XOneRequest"]["properties"]["inner"]["$ref"].endswith("XOneRequest__Inner")
