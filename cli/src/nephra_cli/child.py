"""One service as a process of its own, and the log that all of them write."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any


class Log:
    """The one log: lines of all services, each a JSON object that names its service."""

    def __init__(self, path: Path) -> None:
        if path.exists():
            path.replace(path.with_suffix(".log.1"))
        self._file: IO[str] = path.open("w", encoding="utf-8")
        self._turn = threading.Lock()

    def write(self, service: str, line: str) -> None:
        """Append a line; what is not JSON is made so."""
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict):
            entry = {"level": "info", "message": line}
        with self._turn:
            if not self._file.closed:
                self._file.write(json.dumps({"service": service, **entry}) + "\n")
                self._file.flush()

    def close(self) -> None:
        """Later lines are dropped."""
        with self._turn:
            self._file.close()


class Child:
    """One service as a process of its own."""

    def __init__(self, name: str, module: str, environment: Mapping[str, str], log: Log) -> None:
        self.name = name
        self.last: deque[str] = deque(maxlen=20)
        self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
            [sys.executable, "-m", module],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # A group of its own: Ctrl-C reaches us alone, and we end them in order.
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(log,), daemon=True)
        self._reader.start()

    def _read(self, log: Log) -> None:
        stream = self._process.stdout
        if stream is None:
            return
        for raw in stream:
            line = raw.decode("utf-8", "replace").rstrip()
            if line:
                self.last.append(line)
                log.write(self.name, line)

    @property
    def status(self) -> int | None:
        """The exit status, or None while it runs."""
        return self._process.poll()

    def said(self) -> str:
        """Its last log line in words."""
        self._reader.join(timeout=1.0)
        return message_of(self.last[-1]) if self.last else "nothing"

    def terminate(self) -> None:
        """Ask it to end."""
        if self.status is None:
            self._process.terminate()

    def finish(self, until: float) -> None:
        """Wait for its end until a monotonic time, then kill it and its own children."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=max(until - time.monotonic(), 0.05))
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join(timeout=1.0)
        if self._process.stdout is not None:
            self._process.stdout.close()


def message_of(line: str) -> str:
    """What a log line or a problem document says."""
    try:
        entry: Any = json.loads(line)
    except ValueError:
        return line[:400]
    if isinstance(entry, dict):
        for member in ("detail", "message", "event", "msg"):
            if entry.get(member):
                return str(entry[member])[:400]
    return line[:400]
