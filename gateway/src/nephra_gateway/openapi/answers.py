"""What answers consist of, in the words of OpenAPI: problems, headers, contents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

JSON = "application/json"
NDJSON = "application/x-ndjson"
PROBLEM = "application/problem+json"

#: status → what it means; each answers with a problem document.
PROBLEMS = {
    "400": "A path outside of the data root, or none.",
    "401": "No bearer token, or one that is not known.",
    "403": "A token without the scope that this needs.",
    "404": "A file, operation, bundle or ticket that is not there.",
    "408": "A body that stopped coming.",
    "409": "What is there contradicts it: a ticket that was cancelled or has ended, an upload that "
    "is elsewhere.",
    "412": "If-Match or If-None-Match was not so.",
    "413": "A volume, a file or a body over the limit.",
    "415": "A body that is not JSON, or is compressed.",
    "416": "A range behind the end of the file.",
    "422": "Something in the request or its files that cannot be worked on.",
    "429": "More requests than the token may make.",
    "499": "The work was withdrawn.",
    "500": "A defect of nephra.",
    "502": "A predictor that died at this work again and again.",
    "503": "A predictor, the database or the data root does not answer.",
    "504": "A predictor that took too long.",
    "507": "Not enough memory, or no room on the disk.",
}

#: What any address may answer: to nobody's, to an unknown, and to too many requests.
ALWAYS = ("401", "413", "429", "500")

#: name → schema and meaning.
_HEADERS: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "Accept-Ranges": ({"const": "bytes"}, "Ranges can be asked for."),
    "Content-Disposition": ({"type": "string"}, "An attachment, with the file's name."),
    "Content-Range": ({"type": "string"}, "Which bytes these are."),
    "ETag": ({"type": "string"}, "Another one with each change."),
    "Last-Modified": ({"type": "string"}, "When it was last changed."),
    "Location": ({"type": "string"}, "Where it is from now on."),
    "Nephra-Ticket": ({"type": "string", "pattern": "^[0-9a-f]{32}$"}, "Number of the ticket."),
    "Preference-Applied": ({"type": "string"}, "Which preference was heeded (RFC 7240)."),
    "Repr-Digest": ({"type": "string"}, "SHA-256 of the file (RFC 9530), where it was wanted."),
    "Retry-After": ({"type": "string"}, "Seconds after which to try again."),
    "Upload-Length": ({"type": "string"}, "Bytes that the whole upload will have."),
    "Upload-Offset": ({"type": "string"}, "Bytes of it that are there; go on from here."),
    "WWW-Authenticate": ({"type": "string"}, "How to say who one is."),
    "X-Nephra-Cache": ({"enum": ["hit", "miss"]}, "Whether it was there before."),
}

#: Headers that a problem of this status has.
_OF_PROBLEMS = {
    "401": ("WWW-Authenticate",),
    "429": ("Retry-After",),
    "503": ("Retry-After",),
}
_MAY_HAVE = {"409": ("Upload-Offset",), "416": ("Content-Range",), "504": ("Retry-After",)}


def components() -> dict[str, Any]:
    """The problems, to be referred to."""
    return {f"Problem{status}": _problem(status) for status in PROBLEMS}


def problems(*statuses: str) -> dict[str, Any]:
    """Responses that are problems, in order."""
    return {s: {"$ref": f"#/components/responses/Problem{s}"} for s in sorted(set(statuses))}


def response(
    text: str,
    schema: Mapping[str, Any] | None = None,
    *headers: str,
    media: Mapping[str, Mapping[str, Any]] | None = None,
    sometimes: tuple[str, ...] = (),
) -> dict[str, Any]:
    """A response.

    Args:
        text: what it means.
        schema: of its JSON.
        headers: that it always has.
        media: other contents, by media type.
        sometimes: headers that it may have.
    """
    content = {**({JSON: {"schema": dict(schema)}} if schema else {}), **(media or {})}
    found: dict[str, Any] = {"description": text}
    if headers or sometimes:
        found["headers"] = {
            **{name: _header(name, needed=True) for name in headers},
            **{name: _header(name, needed=False) for name in sometimes},
        }
    return {**found, "content": content} if content else found


def ref(schema: str) -> dict[str, Any]:
    """A schema among the components."""
    return {"$ref": f"#/components/schemas/{schema}"}


def _problem(status: str) -> dict[str, Any]:
    content = {PROBLEM: {"schema": ref("Problem")}}
    return response(
        PROBLEMS[status],
        None,
        *_OF_PROBLEMS.get(status, ()),
        media=content,
        sometimes=_MAY_HAVE.get(status, ()),
    )


def _header(name: str, *, needed: bool) -> dict[str, Any]:
    schema, text = _HEADERS[name]
    return {"description": text, "required": needed, "schema": dict(schema)}
