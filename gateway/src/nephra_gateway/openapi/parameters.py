"""What requests may carry beside their bodies, in the words of OpenAPI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from nephra_gateway.messages import State

_STRING: Mapping[str, Any] = {"type": "string"}

#: Of no bytes at all.
_EXAMPLE = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"
_DIGEST = "As RFC 9530 has it; what comes is compared with it."


def _parameter(
    name: str, place: str, text: str, schema: Mapping[str, Any], example: Any = None
) -> dict[str, Any]:
    found = {
        "name": name,
        "in": place,
        "required": place == "path",
        "description": text,
        "schema": dict(schema),
    }
    return found if example is None else {**found, "example": example}


def _header(
    name: str, text: str, example: str | None, schema: Mapping[str, Any] = _STRING
) -> dict[str, Any]:
    return _parameter(name, "header", text, schema, example)


TICKET = _parameter("ticket", "path", "Number of the ticket: 32 hexadecimal digits.", _STRING)
PATH = _parameter(
    "path",
    "path",
    "Relative to the data root, with slashes, percent-encoded UTF-8. No component begins with a "
    "dot; nothing in it is hidden from sight.",
    {"type": "string", "minLength": 1},
)
WAIT = _header("Prefer", "`wait=N`: answer when it has ended, or after N seconds.", "wait=1")

#: Of requests for work.
WISHES = (
    _header(
        "Prefer",
        "`respond-async`: answer at once with a ticket. `wait=N`: answer with the result if it is "
        "there within N seconds, else with the ticket. Either way the work goes on after a "
        "hang-up (RFC 7240).",
        "wait=20",
    ),
    _header(
        "Idempotency-Key",
        "Whoever sends the same request again with the same key gets the same ticket.",
        "7c1de8f2-5d1c-4d8e-9a9b-0f6f3a1c2b7d",
        {"type": "string", "pattern": "^[!-~]{1,200}$"},
    ),
    _header("Priority", "`u=0` is most urgent, `u=7` least; 3 else (RFC 9218).", "u=1"),
    _header(
        "Nephra-Callback",
        "An https address at an allowed host, which is told when the ticket has ended.",
        None,
    ),
    _header("Cache-Control", "`no-cache`: work it out anew.", "no-cache"),
)

LISTING = (
    _parameter(
        "state",
        "query",
        "Those in these states alone.",
        {"type": "array", "items": {"type": "string", "enum": list(get_args(State))}},
    ),
    _parameter(
        "operation", "query", "Of this operation alone.", {"type": "string", "maxLength": 200}
    ),
    _parameter(
        "limit",
        "query",
        "How many at most.",
        {"type": "integer", "minimum": 1, "maximum": 500, "default": 50},
    ),
    _parameter(
        "cursor", "query", "`next` of the page before.", {"type": "string", "maxLength": 500}
    ),
)

LAST_EVENT = _header(
    "Last-Event-ID",
    "Number of the last event that one has; those after it follow.",
    "17",
    {"type": "string", "pattern": "^[0-9]+$"},
)

FOLDER = (
    _parameter("under", "query", "The folder; without, the data root.", _STRING, "cases/17"),
    _parameter("after", "query", "`next` of the page before.", _STRING),
    _parameter(
        "limit",
        "query",
        "How many names at most.",
        {"type": "integer", "minimum": 1, "maximum": 10_000, "default": 10_000},
    ),
)

CONDITIONS = (
    _header("If-Match", "Only while the file has this ETag.", '"1a2b-3c-4d"'),
    _header("If-None-Match", "Only while it has not; `*`: only if nothing is there.", "*"),
)
RANGE = (
    _header("Range", "Only these bytes.", "bytes=0-1023"),
    _header("If-Range", "The whole, if the file has another ETag.", '"1a2b-3c-4d"'),
    _header("Want-Repr-Digest", "`sha-256=1`: with its checksum (RFC 9530).", "sha-256=1"),
)
UPLOAD = (
    _header(
        "Content-Range",
        "The body is this part of the whole; it begins where the last one ended.",
        "bytes 0-1048575/4194304",
        {"type": "string", "pattern": "^bytes [0-9]{1,18}-[0-9]{1,18}/[0-9]{1,18}$"},
    ),
    _header("Content-Digest", f"Of the body. {_DIGEST}", _EXAMPLE, _STRING),
    _header("Repr-Digest", f"Of the whole file. {_DIGEST}", _EXAMPLE, _STRING),
)
