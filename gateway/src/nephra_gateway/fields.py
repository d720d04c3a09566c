"""Fields of HTTP that requests for files carry: what they say, or that they say it badly."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from starlette.datastructures import Headers

from nephra_contract.errors import RequestInvalid

#: As RFC 9530 calls them; `hashlib` knows them without the dash.
ALGORITHMS = ("sha-256", "sha-512")

_DIGEST = re.compile(r"\s*([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/]*={0,2}):\s*(?:;.*)?")
_SPAN = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_RANGE = re.compile(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*", re.IGNORECASE)
_TAG = re.compile(r'(W/)?("[^"]*")')


@dataclass(frozen=True)
class Digest:
    """What some bytes have to be.

    Args:
        field: that said it.
        algorithm: one of `ALGORITHMS`.
        value: raw.
    """

    field: str
    algorithm: str
    value: bytes

    @classmethod
    def of(cls, headers: Headers, field: str) -> Digest | None:
        """What a field of RFC 9530 says, by the strongest algorithm.

        Raises:
            RequestInvalid: it is malformed, or names no algorithm that could be checked.
        """
        said = ",".join(headers.getlist(field))
        if not said.strip():
            return None
        found: dict[str, str] = {}
        for member in said.split(","):
            match = _DIGEST.fullmatch(member)
            if match is None:
                raise _bad(field, f"{field}: sha-256=:<base64>:")
            found[match[1]] = match[2]
        for algorithm in reversed(ALGORITHMS):
            if algorithm in found:
                return cls(field, algorithm, _decoded(field, algorithm, found[algorithm]))
        raise _bad(field, f"{field}: sha-256=:<base64>:")


@dataclass(frozen=True)
class Span:
    """Bytes start to stop (not included) of a whole with so many."""

    start: int
    stop: int
    total: int

    @classmethod
    def of(cls, headers: Headers) -> Span | None:
        """What `Content-Range` says of a part that is sent.

        Raises:
            RequestInvalid: it is no range of a known whole.
        """
        said = headers.get("content-range")
        if said is None:
            return None
        match = _SPAN.fullmatch(said.strip())
        if match is None or not int(match[1]) <= int(match[2]) < int(match[3]):
            raise _bad("Content-Range", "Content-Range: bytes 0-1048575/4194304")
        return cls(int(match[1]), int(match[2]) + 1, int(match[3]))

    @property
    def last(self) -> bool:
        """Whether nothing comes after it."""
        return self.stop == self.total


@dataclass(frozen=True)
class Conditions:
    """Of what there is, by its tag, what a request needs to find.

    Args:
        match: `If-Match`; None: anything or nothing.
        none_match: `If-None-Match`.
    """

    match: str | None = None
    none_match: str | None = None

    @classmethod
    def of(cls, headers: Headers) -> Conditions:
        """What the fields say."""
        match, none = headers.getlist("if-match"), headers.getlist("if-none-match")
        return cls(", ".join(match) if match else None, ", ".join(none) if none else None)

    def matched(self, tag: str | None) -> bool:
        """Whether `If-Match` lets a request through; the tag None is nothing there."""
        if self.match is None:
            return True
        if self.match.strip() == "*":
            return tag is not None
        return any(not weak and own == tag for weak, own in _TAG.findall(self.match))

    def unmatched(self, tag: str | None) -> bool:
        """Whether `If-None-Match` lets a request through."""
        if self.none_match is None or tag is None:
            return True
        if self.none_match.strip() == "*":
            return False
        return all(own != tag for _, own in _TAG.findall(self.none_match))


def range_of(headers: Headers, size: int, tag: str, modified: str) -> tuple[int, int] | None:
    """The bytes that a request wants: start, and stop (not included).

    Several ranges, and what is not understood, are answered with the whole, as RFC 9110 allows.

    Returns:
        None: the whole. A start that is not below the stop: nothing of it is there.
    """
    said, since = headers.get("range"), headers.get("if-range")
    match = _RANGE.fullmatch(said) if said is not None else None
    if match is None or (since is not None and since not in (tag, modified)):
        return None
    first, last = match[1], match[2]
    if not first:
        return (max(size - int(last), 0), size) if last else None
    if last and int(last) < int(first):
        return None
    return int(first), min(int(last) + 1, size) if last else size


def _decoded(field: str, algorithm: str, value: str) -> bytes:
    try:
        raw = base64.b64decode(value, validate=True)
    except binascii.Error:
        raw = b""
    if len(raw) != hashlib.new(algorithm.replace("-", "")).digest_size:
        raise _bad(field, f"{field}: {algorithm}=:<base64>:")
    return raw


def _bad(field: str, example: str) -> RequestInvalid:
    return RequestInvalid(
        f"The header '{field}' is not understood.",
        f"Send for example '{example}'.",
        code="header_invalid",
        header=field,
    )
