"""Who may ask: bearer tokens, of which only hashes are kept."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from pathlib import Path

from nephra_contract.errors import Unauthorized
from nephra_gateway.settings import GatewaySettings

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Tokens:
    """The tokens that open the gateway.

    Args:
        digests: SHA-256 of each in hexadecimal; None lets everybody in.
    """

    digests: tuple[str, ...] | None

    @classmethod
    def of(cls, settings: GatewaySettings) -> Tokens:
        """The tokens that the settings name.

        Raises:
            ValueError: no file is named, it cannot be read, or holds no digest.
        """
        if settings.auth == "none":
            return cls(None)
        if settings.tokens_file is None:
            raise ValueError("NEPHRA_TOKENS_FILE is not set; NEPHRA_AUTH=none lets everybody in")
        return cls(_read(settings.tokens_file))

    def check(self, authorization: str | None) -> None:
        """Let a request in, or not.

        Args:
            authorization: the header of that name.

        Raises:
            Unauthorized: no bearer token, or an unknown one.
        """
        if self.digests is None:
            return
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthorized(
                "The request has no bearer token.", "Send 'Authorization: Bearer <token>'."
            )
        digest = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).hexdigest()
        # Every digest is compared, each in constant time: neither position nor content leaks.
        known = [hmac.compare_digest(digest, other) for other in self.digests]
        if not any(known):
            raise Unauthorized(
                "The token is not known.",
                "Ask who runs this gateway for a token.",
                code="token_unknown",
            )


def _read(path: Path) -> tuple[str, ...]:
    try:
        rows = path.read_text(encoding="utf-8").split()
    except OSError as error:
        raise ValueError("the file of NEPHRA_TOKENS_FILE cannot be read") from error
    if not rows or not all(_DIGEST.fullmatch(row) for row in rows):
        raise ValueError("NEPHRA_TOKENS_FILE must hold one SHA-256 in hexadecimal a line")
    return tuple(rows)
