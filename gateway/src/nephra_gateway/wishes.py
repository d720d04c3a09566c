"""How a caller wants to be served: the headers of a request for work."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from fastapi import Request

from nephra_contract.errors import RequestInvalid

NDJSON = "application/x-ndjson"

#: Longer than anybody waits on one connection.
_LONGEST_S = 24 * 3600.0

#: RFC 9218: 0 is most urgent, 7 least.
DEFAULT_PRIORITY = 3

_KEY = re.compile(r"[\x21-\x7e]{1,200}")
_URGENCY = re.compile(r"(?:^|[,;\s])u=([0-7])(?:$|[,;\s])")


@dataclass(frozen=True)
class Wishes:
    """What the headers say.

    Args:
        answer: as one document, as a stream of events, or `later`: a ticket.
        wait_s: how long to wait before the answer is a ticket; None for its end.
        priority: 0 (most urgent) to 7.
        idempotency_key: of this caller; a second request with it is the first one's.
        callback_url: is told when the ticket has ended.
        fresh: nothing is to be taken from the cache.
    """

    answer: Literal["whole", "stream", "later"] = "whole"
    wait_s: float | None = None
    priority: int = DEFAULT_PRIORITY
    idempotency_key: str | None = None
    callback_url: str | None = None
    fresh: bool = False

    @property
    def detached(self) -> bool:
        """Whether the work goes on when the caller hangs up."""
        return self.answer == "later"


def wishes_of(request: Request) -> Wishes:
    """Read a request's headers.

    Raises:
        RequestInvalid: an idempotency key that is none.
    """
    headers = request.headers
    prefer = preferences(request)
    # A preference that is not understood is to be ignored (RFC 7240).
    wait_s = seconds(prefer.get("wait"))
    later = "respond-async" in prefer or wait_s is not None
    stream = NDJSON in headers.get("accept", "")
    key = headers.get("idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise RequestInvalid(
            "The Idempotency-Key is no key.", "Send 1 to 200 visible ASCII characters, a UUID say."
        )
    urgency = _URGENCY.search(headers.get("priority", ""))
    return Wishes(
        "later" if later else "stream" if stream else "whole",
        (wait_s or 0.0) if later else None,
        int(urgency[1]) if urgency else DEFAULT_PRIORITY,
        key,
        headers.get("nephra-callback"),
        "no-cache" in headers.get("cache-control", "").lower(),
    )


def preferences(request: Request) -> dict[str, str]:
    """The preferences of RFC 7240 that a request states: name → value."""
    found: dict[str, str] = {}
    for header in request.headers.getlist("prefer"):
        for preference in header.split(","):
            name, _, value = preference.split(";")[0].partition("=")
            found.setdefault(name.strip().lower(), value.strip().strip('"'))
    return found


def seconds(text: str | None) -> float | None:
    """Seconds that a preference states; None where it states none."""
    if text is None or not text.isdecimal() or not text.isascii():
        return None
    return min(float(text[:9]), _LONGEST_S)
