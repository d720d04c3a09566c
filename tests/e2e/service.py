"""A running nephra as its callers see it, and starting one on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

NEPHRA = [sys.executable, "-m", "nephra_cli"]


@dataclass(frozen=True)
class Service:
    """A running gateway.

    Args:
        url: its address.
        token: its bearer token.
        data: its data root.
        pid: of `nephra up`; 0 for an installation elsewhere.
        log: of all services, if it is known.
    """

    url: str
    token: str
    data: Path
    pid: int = 0
    log: Path | None = None

    @property
    def headers(self) -> dict[str, str]:
        """What a caller sends along."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def post(
        self,
        operation: str,
        request: Any = None,
        content: bytes | None = None,
        *,
        fresh: bool = False,
    ) -> httpx.Response:
        """POST a request and wait for its answer; a fresh one is none of the cache's."""
        body = json.dumps(request).encode() if content is None else content
        headers = {**self.headers, "Content-Type": "application/json"}
        if fresh:
            headers["Cache-Control"] = "no-cache"
        return httpx.post(f"{self.url}/{operation}", content=body, headers=headers, timeout=600)

    def get(self, path: str) -> httpx.Response:
        """GET a page of information."""
        return httpx.get(f"{self.url}/{path}", headers=self.headers, timeout=30)

    def run(self, operation: str, **request: Any) -> dict[str, Any]:
        """The answer of an operation that must succeed; with `fresh`, none of the cache's."""
        fresh = bool(request.pop("fresh", False))
        answer = self.post(operation, request, fresh=fresh)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@contextmanager
def started(data: Path, state: Path) -> Iterator[Service]:
    """`nephra up` until the block ends; then nothing of it is left."""
    command = [*NEPHRA, "up", "--data", str(data), "--state", str(state), "--port", "0", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "nephra up ended before it was ready"
        said = json.loads(line)
        token = Path(said["token_file"]).read_text().strip()
        yield Service(said["url"], token, data, process.pid, Path(said["log"]))
    finally:
        process.terminate()
        process.wait(timeout=60)
        if process.stdout is not None:
            process.stdout.close()


def tree(root: Path) -> set[str]:
    """All files and folders below a folder; it may change meanwhile, which `rglob` minds."""
    return {
        Path(folder, name).relative_to(root).as_posix()
        for folder, folders, files in os.walk(root)
        for name in (*folders, *files)
    }
