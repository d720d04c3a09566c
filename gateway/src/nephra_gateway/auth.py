"""Who may ask, and what: named bearer tokens with scopes, of which only hashes are kept."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from starlette.requests import HTTPConnection

from nephra_contract import logs
from nephra_contract.errors import Refused, Unauthorized
from nephra_gateway.settings import GatewaySettings

Level = Literal["read", "run", "admin"]

#: Each holds the ones before it.
LEVELS: tuple[Level, ...] = get_args(Level)

_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_READING = frozenset({"GET", "HEAD", "OPTIONS"})

#: A bare digest's name: so many of its digits.
_DIGITS = 12

#: The file is looked at no more often.
_LOOK_S = 1.0

#: A file that changed so shortly before may change again without showing it.
_SETTLED_S = 2.0


class Forbidden(Refused):
    """A token that is known, and may not do this."""

    status = 403
    default_code = "scope_missing"
    title = "The token may not do this"


@dataclass(frozen=True)
class Caller:
    """Who sent a request.

    Args:
        name: of the token; tokens of one name are one owner.
        scopes: what it may; the highest counts.
    """

    name: str
    scopes: frozenset[Level]

    @property
    def admin(self) -> bool:
        """Whether all tickets and results are theirs to see."""
        return "admin" in self.scopes

    def may(self, level: Level) -> bool:
        """Whether this scope, or one that holds it, is there."""
        return any(LEVELS.index(s) >= LEVELS.index(level) for s in self.scopes)

    def need(self, level: Level) -> None:
        """Let the caller do what needs this scope, or not.

        Raises:
            Forbidden: neither it nor one that holds it is there.
        """
        if not self.may(level):
            raise Forbidden(
                f"The token '{self.name}' lacks the scope '{level}'.",
                "Ask who runs this gateway for a token with that scope.",
                scope=level,
            )


#: Where everybody is let in.
ANYONE = Caller("anyone", frozenset({"admin"}))

#: Who asks for what is open to all.
NOBODY = Caller("nobody", frozenset())


def caller_of(request: HTTPConnection) -> Caller:
    """Who sent a request; the border has found that out."""
    found: Caller = getattr(request.state, "caller", NOBODY)
    return found


def needed(method: str) -> Level:
    """The scope that a method needs: to look, or to have something done."""
    return "read" if method in _READING else "run"


class Tokens:
    """The tokens that open the gateway.

    Args:
        callers: by the SHA-256 of their token in hexadecimal; None lets everybody in.
        path: the file that they are from, read again when it changes.
    """

    def __init__(self, callers: Mapping[str, Caller] | None, path: Path | None = None) -> None:
        self._callers = callers
        self._path = path
        self._looked_s = time.monotonic()
        self._seen = _signature(path) if path else None
        self._wrong: str | None = None

    @classmethod
    def of(cls, settings: GatewaySettings) -> Tokens:
        """The tokens that the settings name.

        Raises:
            ValueError: no file is named, it cannot be read, or a line of it is no token's.
        """
        if settings.auth == "none":
            return cls(None)
        if settings.tokens_file is None:
            raise ValueError("NEPHRA_TOKENS_FILE is not set; NEPHRA_AUTH=none lets everybody in")
        return cls(_read(settings.tokens_file), settings.tokens_file)

    def check(self, authorization: str | None) -> Caller:
        """Find out who sent a request.

        Args:
            authorization: the header of that name.

        Raises:
            Unauthorized: no bearer token, or an unknown one.
        """
        self._refresh()
        if self._callers is None:
            return ANYONE
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthorized(
                "The request has no bearer token.", "Send 'Authorization: Bearer <token>'."
            )
        digest = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).hexdigest()
        # Every digest is compared, each in constant time: neither position nor content leaks.
        found = [c for other, c in self._callers.items() if hmac.compare_digest(digest, other)]
        if not found:
            raise Unauthorized(
                "The token is not known.",
                "Ask who runs this gateway for a token.",
                code="token_unknown",
            )
        return found[0]

    def _refresh(self) -> None:
        """Read the file again if it has changed; what cannot be understood changes nothing."""
        now_s = time.monotonic()
        if self._path is None or now_s - self._looked_s < _LOOK_S:
            return
        self._looked_s = now_s
        signature = _signature(self._path)
        if signature is not None and signature == self._seen:
            return
        self._seen = signature
        try:
            self._callers, self._wrong = _read(self._path), None
        except ValueError as error:
            if str(error) != self._wrong:
                logs.line("tokens stay as they are", logging.ERROR, why=str(error))
            self._wrong = str(error)


def _signature(path: Path) -> tuple[int, ...] | None:
    """What changes with a file; None if that cannot be said, or not yet."""
    try:
        found = path.stat()
    except OSError:
        return None
    if abs(time.time() - found.st_mtime) < _SETTLED_S:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _read(path: Path) -> dict[str, Caller]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError("the file of NEPHRA_TOKENS_FILE cannot be read") from error
    callers: dict[str, Caller] = {}
    for number, line in enumerate(lines, start=1):
        for digest, caller in _callers(line.split(), number):
            if callers.setdefault(digest, caller) != caller:
                raise _wrong(number, "names a token that an earlier line gives other rights")
    if not callers:
        raise ValueError("NEPHRA_TOKENS_FILE must hold one SHA-256 in hexadecimal a line")
    return callers


def _callers(words: list[str], number: int) -> list[tuple[str, Caller]]:
    """Those of one line: `<SHA-256> [name] [scope,scope]`, nothing, or `# a remark`."""
    if not words or words[0].startswith("#"):
        return []
    if all(_DIGEST.fullmatch(word) for word in words):
        return [(word, Caller(word[:_DIGITS], frozenset({"admin"}))) for word in words]
    if not _DIGEST.fullmatch(words[0]):
        raise _wrong(number, "must begin with a SHA-256 in hexadecimal")
    name, scopes = words[1], words[2].split(",") if len(words) > 2 else ["run"]
    if len(words) > 3 or not _NAME.fullmatch(name) or name in LEVELS:
        raise _wrong(number, "must be a SHA-256, a name, and scopes parted by commas")
    if not set(scopes) <= set(LEVELS):
        raise _wrong(number, f"has a scope that is none of {', '.join(LEVELS)}")
    return [(words[0], Caller(name, frozenset(level for level in LEVELS if level in scopes)))]


def _wrong(number: int, what: str) -> ValueError:
    """The error for a line; its words stay out, they might be a token."""
    return ValueError(f"line {number} of NEPHRA_TOKENS_FILE {what}")
