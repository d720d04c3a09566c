"""The addresses that are always there, in the words of OpenAPI."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from nephra_gateway.openapi import parameters
from nephra_gateway.openapi.answers import ALWAYS, problems, ref, response

#: One event.
_SERVER_SENT = {
    "properties": {
        "id": {"type": "string", "description": "Its number."},
        "event": {"enum": ["progress", "artifact", "result", "problem"]},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": ref("Event"),
        },
    }
}

_BINARY = {"type": "string", "format": "binary"}

#: As which files are sent.
_FILE_TYPES = (
    "application/octet-stream",
    "application/json",
    "model/gltf-binary",
    "model/mtl",
    "model/obj",
)
_FILES: Mapping[str, Mapping[str, Any]] = {kind: {"schema": {}} for kind in _FILE_TYPES}
_OF_FILE = ("Accept-Ranges", "Content-Disposition", "ETag", "Last-Modified")
_UPLOADS = ("Upload-Offset", "Upload-Length")


def static() -> dict[str, dict[str, Any]]:
    """Path → method → what it does; in the order in which people read it."""
    return {**_tickets(), **_files(), **_information(), **_health()}


def methods_of(address: str) -> list[str]:
    """The methods of an address that is always there, in capitals; none where it is not."""
    for pattern, methods in _methods():
        if pattern.fullmatch(f"/{address}"):
            return list(methods)
    return []


@cache
def _methods() -> list[tuple[re.Pattern[str], list[str]]]:
    """Addresses and their methods, made once: every request asks."""
    found = []
    for path, methods in static().items():
        pattern = re.escape(path).replace(r"\{path\}", ".+").replace(r"\{ticket\}", "[^/]+")
        found.append((re.compile(pattern), sorted(method.upper() for method in methods)))
    return found


def _tickets() -> dict[str, Any]:
    ticket, view = (parameters.TICKET,), ref("TicketView")
    stream = {"text/event-stream": {"schema": _SERVER_SENT}}
    accepted = response("A new ticket.", view, "Location", "Nephra-Ticket", "Preference-Applied")
    return {
        "/tickets": {
            "get": _get(
                "list_tickets",
                "The caller's tickets, the newest first; for admins those of all.",
                {"200": response("A page of them.", ref("TicketPage"))},
                problems("422", "503"),
                tag="tickets",
                given=parameters.LISTING,
            )
        },
        "/tickets/{ticket}": {
            "get": _get(
                "get_ticket",
                "One ticket: its state, its steps, and its result when it has ended.",
                {"200": response("The ticket.", view)},
                problems("404", "503"),
                tag="tickets",
                given=(*ticket, parameters.WAIT),
            ),
            "delete": _get(
                "cancel_ticket",
                "Cancel a ticket; its work stops within one tile.",
                {"200": response("Cancelled, or about to be.", view)},
                problems("403", "404", "409", "503"),
                tag="tickets",
                given=ticket,
            ),
        },
        "/tickets/{ticket}/events": {
            "get": _get(
                "follow_ticket",
                "What happens, as Server-Sent Events: `progress`, `artifact`, and at last "
                "`result` or `problem`; the data of each is an `Event`.",
                {
                    "200": response("The events, until it has ended.", media=stream),
                    "204": response("It has ended, and the caller knows its last event."),
                },
                problems("404", "422", "503"),
                tag="tickets",
                given=(*ticket, parameters.LAST_EVENT),
            )
        },
        "/tickets/{ticket}/retry": {
            "post": _get(
                "retry_ticket",
                "Ask for the same again; what had been finished is taken from the cache.",
                {"202": accepted},
                problems("400", "403", "404", "409", "422", "503"),
                tag="tickets",
                given=ticket,
            )
        },
    }


def _files() -> dict[str, Any]:
    path = (parameters.PATH,)
    return {
        "/files": {
            "get": _get(
                "list_files",
                "What lies in one folder of the data root; results are listed for admins alone.",
                {"200": response("Its files and folders, in order.", ref("FilePage"))},
                problems("400", "403", "404", "422", "503", "507"),
                tag="files",
                given=parameters.FOLDER,
            )
        },
        "/files/{path}": {
            "get": _get(
                "get_file",
                "A file, or a range of it.",
                _downloads(),
                problems("400", "404", "412", "416", "503", "507"),
                tag="files",
                given=(*path, *parameters.RANGE, *parameters.CONDITIONS),
            ),
            "head": _head(path),
            "put": _put(path),
            "delete": _get(
                "remove_file",
                "Remove a file, and what of the caller's upload to it has come; never a result.",
                {"204": response("It is gone.")},
                problems("400", "403", "404", "412", "503", "507"),
                tag="files",
                given=(*path, *parameters.CONDITIONS),
            ),
        },
    }


def _downloads() -> dict[str, Any]:
    sometimes = ("Repr-Digest",)
    return {
        "200": response("The whole.", None, *_OF_FILE, media=_FILES, sometimes=sometimes),
        "206": response(
            "The range.", None, *_OF_FILE, "Content-Range", media=_FILES, sometimes=sometimes
        ),
        "304": response("It is what the caller has.", None, "ETag"),
    }


def _head(path: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    sometimes = (*_UPLOADS, "Repr-Digest")
    answers = {
        "200": response("It is there.", None, *_OF_FILE, sometimes=sometimes),
        "204": response("It is not, and an upload was begun.", None, *_UPLOADS),
        "206": response("The range is there.", None, *_OF_FILE, sometimes=sometimes),
        "304": response("It is what the caller has.", None, "ETag"),
        "404": response("Nothing is there.", None, "Upload-Offset"),
    }
    # An answer to HEAD has no content, and so no problem document.
    statuses = ("400", "401", "412", "413", "416", "429", "500", "503", "507")
    answers |= {s: response("As for GET, without its content.") for s in statuses}
    found = _get(
        "look_at_file",
        "Whether a file is there, and how far the caller's upload to it has come.",
        dict(sorted(answers.items())),
        {},
        tag="files",
        given=(*path, *parameters.RANGE, *parameters.CONDITIONS),
    )
    found["responses"] = dict(sorted(answers.items()))
    return found


def _put(path: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    stored = ref("FileView")
    refused = ("400", "403", "408", "409", "412", "415", "422", "503", "507")
    put = _get(
        "put_file",
        "Put a file into the data root, at once or in parts.",
        {
            "200": response("Replaced.", stored, "ETag", "Location"),
            "201": response("New.", stored, "ETag", "Location"),
            "202": response("More parts have to come.", ref("Received"), "Upload-Offset"),
        },
        problems(*refused),
        tag="files",
        given=(*path, *parameters.UPLOAD, *parameters.CONDITIONS),
    )
    put["description"] = (
        "With `Content-Range: bytes A-B/TOTAL` the body is a part, and A has to be the "
        "`Upload-Offset` that HEAD tells; what came before a connection broke is kept for a day. "
        "The file is seen when all of it is there, and at once."
    )
    content = {"application/octet-stream": {"schema": _BINARY}}
    return {**put, "requestBody": {"required": True, "content": content}}


def _information() -> dict[str, Any]:
    table = {"type": "object", "additionalProperties": {"type": "object"}}
    return {
        "/labels": _look("get_labels", "What the numbers in a mask mean.", table),
        "/operations": _look(
            "list_operations", "What the predictors offer.", _list("OperationDescription")
        ),
        "/bundles": _look(
            "list_bundles", "The models that are loaded.", _list("BundleDescription")
        ),
        "/cache": _look(
            "get_cache", "What the cache holds, and how it has served.", ref("CacheView"), "503"
        ),
    }


def _health() -> dict[str, Any]:
    health, page = ref("Health"), {"text/html": {"schema": {"type": "string"}}}
    return {
        "/livez": _open("get_life", "Whether the gateway lives.", health),
        "/healthz": _open(
            "get_health",
            "Whether the gateway can take requests: it lives, and its data root can be used.",
            health,
            "503",
        ),
        "/readyz": _open("get_readiness", "Whether all predictors are ready.", health, "503"),
        "/openapi.json": _open("get_openapi", "This document.", {"type": "object"}),
        "/docs": _open("get_documentation", "This document for people.", None, media=page),
    }


def _look(name: str, summary: str, schema: Mapping[str, Any], *more: str) -> dict[str, Any]:
    return {"get": _get(name, summary, {"200": response(summary, schema)}, problems(*more))}


def _open(
    name: str,
    summary: str,
    schema: Mapping[str, Any] | None,
    *more: str,
    media: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Something that nobody needs a token for."""
    get = _get(name, summary, {}, {})
    get["responses"] = {"200": response(summary, schema, media=media)}
    get["responses"] |= problems("413", "500", *more)
    return {"get": {**get, "security": []}}


def _get(
    name: str,
    summary: str,
    answers: Mapping[str, Any],
    refusals: Mapping[str, Any],
    *,
    tag: str = "information",
    given: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    responses = {**answers, **refusals, **problems(*ALWAYS)}
    found: dict[str, Any] = {
        "operationId": name,
        "tags": [tag],
        "summary": summary,
        "responses": dict(sorted(responses.items())),
    }
    return {**found, "parameters": [dict(p) for p in given]} if given else found


def _list(schema: str) -> dict[str, Any]:
    return {"type": "array", "items": ref(schema)}
