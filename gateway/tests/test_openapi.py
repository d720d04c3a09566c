from __future__ import annotations

import importlib
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


OPEN = {"/livez", "/healthz", "/readyz", "/openapi.json", "/docs"}


def test_every_operation_is_there(document: dict[str, Any], gateway: httpx.Client) -> None:
    """Learned ones and our own, each with its body, answer, problems and security."""
    paths = set(document["paths"])
    assert {f"/{o['name']}" for o in gateway.get("/operations").json()} <= paths
    assert {"/cases", "/labels", "/operations", "/bundles", "/healthz", "/readyz"} <= paths
    assert {"/tickets", "/tickets/{ticket}/events", "/files", "/files/{path}", "/cache"} <= paths
    assert document["security"] == [{"bearer": []}]
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    for path, verb, entry in verbs(document):
        assert "500" in entry["responses"]
        assert {"200", "202", "204"} & set(entry["responses"])
        assert entry["summary"]
        assert ("security" in entry) == (path in OPEN)
        if path not in OPEN:
            assert {"401", "429"} <= set(entry["responses"])
        if verb in ("post", "put", "delete"):
            assert {"403", "404", "503"} - set(entry["responses"]) <= {"404"}


def test_work_can_be_asked_for_in_every_way(document: dict[str, Any]) -> None:
    """Each operation, and cases, with all headers, as an answer or as a ticket."""
    works = [e for _, _, e in verbs(document) if set(e["tags"]) & {"cases", "operations"}]
    assert len(works) > 5
    for entry in works:
        names = {p["name"] for p in entry["parameters"]}
        assert {"Prefer", "Idempotency-Key", "Priority", "Nephra-Callback"} <= names
        assert {"200", "202", "401", "404", "422", "503"} <= set(entry["responses"])
        assert entry["requestBody"]["content"]["application/json"]["schema"]["$ref"]


def test_every_address_is_described(gateway: httpx.Client, document: dict[str, Any]) -> None:
    """What the application serves, but its page, and what is caught by any name."""
    served = set()
    for module in ("cache", "cases", "files", "information", "tickets"):
        found = importlib.import_module(f"nephra_gateway.routes.{module}")
        served |= {
            (route.path.replace(":path", ""), method.lower())
            for route in found.router.routes
            for method in route.methods
        }
    assert served == {
        (path, verb) for path, verb, e in verbs(document) if "operations" not in e["tags"]
    }


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/labels", {"GET"}),
        ("HEAD", "/labels", {"GET"}),
        ("TRACE", "/labels", {"GET"}),
        ("POST", "/tickets", {"GET"}),
        ("PATCH", "/tickets/x", {"GET", "DELETE"}),
        ("PATCH", "/files/a/b", {"GET", "HEAD", "PUT", "DELETE"}),
        ("GET", "/cases", {"POST"}),
        ("GET", "/inference/tumor", {"POST"}),
    ],
)
def test_other_methods_are_told_the_right_ones(
    gateway: httpx.Client, method: str, path: str, allowed: set[str]
) -> None:
    """405 with Allow, as RFC 9110 has it."""
    answer = gateway.request(method, path)
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == allowed


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
    for _, _, entry in verbs(document):
        if "operations" in entry["tags"]:
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
