"""What server and worker say to each other: JSON objects, each behind its length.

Nothing is pickled: what crosses is what a caller may see anyway, so that an operation's libraries
never reach the server, whatever they raise or answer.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from collections.abc import Mapping
from typing import Any

from nephra_contract.errors import Cancelled, Failed, NephraError, Refused
from nephra_contract.messages import Problem

Said = dict[str, Any]

_LENGTH = struct.Struct("!I")


class Wire:
    """The worker's end, for its threads."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._sending = threading.Lock()

    def send(self, said: Mapping[str, Any]) -> None:
        """Say something.

        Raises:
            OSError: nobody is there any more.
        """
        with self._sending:
            self._end.sendall(pack(said))

    def receive(self) -> Said | None:
        """Wait for what is said next; None when nobody is there any more."""
        try:
            length = self._read(_LENGTH.size)
            content: Said = json.loads(self._read(_LENGTH.unpack(length)[0]))
        except (EOFError, OSError):
            return None
        return content

    def close(self) -> None:
        """Leave; the other end notices."""
        self._end.close()

    def _read(self, count: int) -> bytes:
        read = bytearray()
        while len(read) < count:
            more = self._end.recv(count - len(read))
            if not more:
                raise EOFError
            read += more
        return bytes(read)


def pack(said: Mapping[str, Any]) -> bytes:
    """A message as bytes."""
    content = json.dumps(said).encode()
    return _LENGTH.pack(len(content)) + content


async def receive(reader: asyncio.StreamReader) -> Said | None:
    """The server's side of `Wire.receive`."""
    try:
        length = await reader.readexactly(_LENGTH.size)
        content: Said = json.loads(await reader.readexactly(_LENGTH.unpack(length)[0]))
    except (EOFError, OSError):
        return None
    return content


def from_error(error: NephraError) -> Said:
    """An error as it crosses."""
    problem = Problem.of(error).model_dump(mode="json")
    return {"problem": problem, "retry_after_s": error.retry_after_s}


def to_error(said: Mapping[str, Any]) -> NephraError:
    """The same error on the other side: status, code, words and further members."""
    problem = Problem.model_validate(said["problem"])
    base = Refused if problem.status < 500 else Failed
    members = {
        "status": problem.status,
        "title": problem.title,
        "retry_after_s": said["retry_after_s"],
    }
    kind = Cancelled if problem.status == Cancelled.status else type("Carried", (base,), members)
    error: NephraError = kind(
        problem.detail, problem.action, code=problem.code, **(problem.model_extra or {})
    )
    return error
