"""Logs as JSON, one object a line, for people and for machines alike.

A service says one canonical line per request, with everything that one wants to know of it.
Patient text never stands in a log, nor does a file's path beyond the data root.
"""

from __future__ import annotations

import datetime
import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, TextIO

#: The attribute of a log record under which `line` keeps its members.
_MEMBERS = "nephra_members"

#: What the work is about that goes on here.
_about: ContextVar[Mapping[str, Any]] = ContextVar("nephra_about", default=MappingProxyType({}))

#: Libraries that would write lines of their own per request or per start.
_TALKATIVE = ("kserve", "kserve.trace", "uvicorn", "uvicorn.access", "uvicorn.error", "httpx")


class JsonFormatter(logging.Formatter):
    """A log record as one line of JSON, in UTC."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line; a stack trace becomes the member `trace`."""
        when = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        said: dict[str, Any] = {
            "time": when.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
            "message": record.getMessage(),
        }
        said |= _about.get()
        said |= getattr(record, _MEMBERS, {})
        if record.exc_info:
            said["trace"] = self.formatException(record.exc_info)
        return json.dumps(said, default=str)


def configure(service: str, stream: TextIO | None = None, level: int = logging.INFO) -> None:
    """Send this process's logs to one stream as JSON; libraries only warn.

    Args:
        service: the name that every line bears.
        stream: standard error by default.
        level: of nephra's own lines.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("nephra").setLevel(level)
    for name in _TALKATIVE:
        talkative = logging.getLogger(name)
        # A handler of its own keeps a library from configuring itself over ours.
        talkative.handlers[:] = [logging.NullHandler()]
        talkative.setLevel(logging.WARNING)
        talkative.propagate = True


@contextmanager
def about(**members: Any) -> Iterator[None]:
    """Every line that is said within the block, also by libraries, bears these members.

    Tasks and threads of asyncio that are begun within it are within it, too. Members that are
    None are left out.
    """
    kept = {name: value for name, value in members.items() if value is not None}
    before = _about.set({**_about.get(), **kept})
    try:
        yield
    finally:
        _about.reset(before)


def line(message: str, level: int = logging.INFO, **members: Any) -> None:
    """Say one line with members; those that are None are left out."""
    kept = {name: value for name, value in members.items() if value is not None}
    logging.getLogger("nephra").log(level, message, extra={_MEMBERS: kept})


def defect(message: str, error: BaseException, **members: Any) -> None:
    """Say that nephra itself failed, with the stack trace, which goes nowhere else."""
    kept = {name: value for name, value in members.items() if value is not None}
    logging.getLogger("nephra").error(message, exc_info=error, extra={_MEMBERS: kept})
