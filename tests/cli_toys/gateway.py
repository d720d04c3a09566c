"""A gateway made of one ticket and a few files, for tests of what happens between it and us.

What it says is written down by the test: the events of its ticket, after how many of them it cuts
the connection, which answers get lost.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from nephra_contract.messages import Event

TICKET = "0123456789abcdef" * 2
RESULT = {"ticket": TICKET, "operation": "smoothing/base", "manifest_path": "m", "cached": False}


def progress(fraction: float, stage: str, **more: Any) -> Event:
    """An event of that kind."""
    return Event(event="progress", stage=stage, fraction=fraction, **more)


def result() -> Event:
    """The last event of a ticket that succeeds."""
    return Event(event="result", fraction=1.0, result=RESULT)


@dataclass
class Script:
    """What the gateway says.

    Args:
        events: of its ticket; without a last one the ticket runs until it is cancelled.
        cuts: after how many events each connection is cut, one after the other.
        lost: how many answers to a submission get lost on the way.
        token: that it asks for.
        files: path → content.
        breaks: after how many bytes each transfer of a file is cut, one after the other.
    """

    events: list[Event] = field(default_factory=lambda: [result()])
    cuts: list[int] = field(default_factory=list)
    lost: int = 0
    token: str | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    breaks: list[int] = field(default_factory=list)

    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    state: str = "running"
    changed: threading.Condition = field(default_factory=threading.Condition)
    ended: bool = False

    def headers(self, method: str, path: str) -> list[dict[str, str]]:
        """The headers of each such request."""
        return [h for m, p, h in self.asked if (m, p) == (method, path)]

    def wait_for_asked(self, count: int) -> None:
        """Wait until so many requests have come."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.asked) >= count, 60)

    def view(self) -> dict[str, Any]:
        """The ticket."""
        return {"ticket": TICKET, "operation": "smoothing/base", "state": self.state, "new": 1}


class _Handler(BaseHTTPRequestHandler):
    script: ClassVar[Script]
    protocol_version = "HTTP/1.1"

    def _answer(self, status: int, body: Any = None, **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _problem(self, status: int, code: str) -> None:
        self._answer(status, {"title": code, "status": status, "code": code, "detail": code})

    def _serve(self) -> None:
        script, path = self.script, self.path.partition("?")[0]
        with script.changed:
            script.asked.append((self.command, path, dict(self.headers.items())))
            script.changed.notify_all()
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if script.token and self.headers.get("Authorization") != f"Bearer {script.token}":
            self._problem(401, "token_unknown")
        elif path.startswith("/files/"):
            self._file(path.removeprefix("/files/"), body)
        elif path == "/tickets":
            self._answer(200, {"tickets": [script.view()], "next": None})
        elif path == f"/tickets/{TICKET}/events":
            self._events()
        elif path == f"/tickets/{TICKET}":
            self._ticket()
        elif path.startswith("/tickets/"):
            self._problem(404, "ticket_unknown")
        elif self.command == "POST":
            self._submission(body)
        else:
            self._problem(404, "not_found")

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = _serve  # noqa: N815  the library's names

    def _submission(self, body: bytes) -> None:
        self.script.bodies.append(json.loads(body))
        if self.script.lost:
            self.script.lost -= 1
            self.close_connection = True
            self.connection.close()
        else:
            self._answer(202, self.script.view(), Location=f"/tickets/{TICKET}")

    def _ticket(self) -> None:
        script = self.script
        if self.command == "DELETE":
            with script.changed:
                script.state = "cancelled"
                script.changed.notify_all()
        self._answer(200, script.view())

    def _events(self) -> None:
        script = self.script
        after = int(self.headers.get("Last-Event-ID") or 0)
        until = script.cuts.pop(0) if script.cuts else None
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        with suppress(OSError):
            self.wfile.write(b": hello\n\n")
            for number, event in list(enumerate(script.events, 1))[after:]:
                if until is not None and number > until:
                    return
                self._say(number, event)
            if script.events and script.events[-1].event == "result":
                return
            with script.changed:
                script.changed.wait_for(lambda: script.state == "cancelled" or script.ended)
            if script.state == "cancelled":
                problem = {"title": "c", "status": 499, "code": "cancelled", "detail": "gone"}
                self._say(len(script.events) + 1, Event(event="problem", problem=problem))

    def _say(self, number: int, event: Event) -> None:
        data = event.model_dump_json(exclude_none=True)
        self.wfile.write(f"id: {number}\nevent: {event.event}\ndata: {data}\n\n".encode())
        self.wfile.flush()

    def _file(self, path: str, body: bytes) -> None:
        files = self.script.files
        part = files.get(f"{path}.part")
        if self.command == "PUT":
            self._put(path, body)
        elif self.command == "HEAD" and part is not None:
            self._answer(404, b"", Upload_Offset=str(len(part)))
        elif path not in files:
            self._problem(404, "file_not_found")
        else:
            self._get(files[path])

    def _put(self, path: str, body: bytes) -> None:
        script, part = self.script, f"{path}.part"
        given = self.headers.get("Content-Range")
        if given is None:
            script.files[path] = body
            self._answer(201, {})
            return
        start, total = int(given.split()[1].split("-")[0]), int(given.rsplit("/", 1)[1])
        before = script.files.get(part, b"")
        if start != len(before):
            self._problem(409, "upload_offset")
            return
        script.files[part] = before + body
        whole = len(script.files[part]) == total
        if whole:
            script.files[path] = script.files.pop(part)
        if script.breaks:
            script.breaks.pop()
            self.close_connection = True
            self.connection.close()
        else:
            self._answer(201 if whole else 202, {})

    def _get(self, content: bytes) -> None:
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        self.send_response(206 if start else 200)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if self.command == "GET":
            until = self.script.breaks.pop(0) if self.script.breaks else len(content)
            self.wfile.write(content[start:until])
            self.close_connection = until < len(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@contextmanager
def served(script: Script, port: int = 0) -> Iterator[str]:
    """The URL of a gateway that follows a script until the block ends."""
    handler = type("Handler", (_Handler,), {"script": script})
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        with script.changed:
            script.ended = True
            script.changed.notify_all()
        server.shutdown()
        thread.join()
        server.server_close()
