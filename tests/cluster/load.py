"""Requests without a pause, from several clients, of which none may fail."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import httpx


@dataclass
class Load:
    """Clients that ask the same again and again until the block ends.

    Args:
        url: of the gateway.
        operation: its name.
        request: its body.
        headers: with the token.
        clients: how many at once.
    """

    url: str
    operation: str
    request: Mapping[str, Any]
    headers: Mapping[str, str]
    clients: int = 2
    outcomes: list[str] = field(default_factory=list)
    _end: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Load:
        """Begin."""
        for _ in range(self.clients):
            thread = threading.Thread(target=self._ask)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let each client have its last answer."""
        self._end.set()
        for thread in self._threads:
            thread.join()

    @property
    def answered(self) -> int:
        """Requests that have got what they asked for."""
        return sum(o == "200" for o in self.outcomes)

    def check(self, at_least: int) -> None:
        """Hold that no request was lost, and that there were some."""
        assert set(self.outcomes) == {"200"}, Counter(self.outcomes)
        assert len(self.outcomes) >= at_least

    def _ask(self) -> None:
        # The cache would answer all but the first of them.
        headers = {**self.headers, "Cache-Control": "no-cache"}
        with httpx.Client(headers=headers, timeout=900) as client:
            while not self._end.is_set():
                self.outcomes.append(self._answer(client))

    def _answer(self, client: httpx.Client) -> str:
        try:
            answer = client.post(f"{self.url}/{self.operation}", json=dict(self.request))
        except httpx.HTTPError as error:
            return f"{type(error).__name__}: {error}"
        return "200" if answer.status_code == 200 else f"{answer.status_code}: {answer.text}"
