from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from nephra_contract import logs


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Logs of a service called `toy`; what was configured before comes back in the end."""
    loggers = [logging.getLogger(n) for n in ("", "nephra", "kserve", "uvicorn", "uvicorn.access")]
    before = [(g, list(g.handlers), g.level, g.propagate) for g in loggers]
    written = io.StringIO()
    logs.configure("toy", written)
    yield written
    for logger, handlers, level, propagate in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate = propagate


def entries(stream: io.StringIO) -> list[dict[str, Any]]:
    """What was written, line by line."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object(stream: io.StringIO) -> None:
    """Time in UTC, level, service, message and the members that have a value."""
    logs.line("request", status=200, ticket=None, path="/a\nb")
    (entry,) = entries(stream)
    assert entry.pop("time").endswith("+00:00")
    assert entry == {
        "level": "info",
        "service": "toy",
        "message": "request",
        "status": 200,
        "path": "/a\nb",
    }


def test_a_defect_keeps_its_trace_on_one_line(stream: io.StringIO) -> None:
    """The stack trace is a member, so that the log stays a list of objects."""
    try:
        raise ZeroDivisionError("nought")
    except ZeroDivisionError as error:
        logs.defect("unexpected error", error, ticket="1")
    (entry,) = entries(stream)
    assert entry["level"] == "error"
    assert entry["ticket"] == "1"
    assert "ZeroDivisionError: nought" in entry["trace"]


def test_libraries_only_warn(stream: io.StringIO) -> None:
    """No line per request of KServe's or Uvicorn's own, but their warnings, as JSON."""
    logging.getLogger("uvicorn.access").info("GET /")
    logging.getLogger("kserve").info("Registering model")
    logging.getLogger("somebody").info("hello")
    logging.getLogger("uvicorn").warning("port in use")
    assert [e["message"] for e in entries(stream)] == ["port in use"]


def test_what_is_not_json_is_written_as_text(stream: io.StringIO) -> None:
    """A member of any type does not break the log."""
    logs.line("odd", member={1}, other=ValueError("x"))
    assert entries(stream)[0]["member"] == "{1}"


def test_what_the_work_is_about_stands_in_every_line(stream: io.StringIO) -> None:
    """Also in those of libraries and of threads; a line's own members win."""

    async def work() -> None:
        with logs.about(ticket="1", operation="fat", code=None):
            logs.line("own")
            await asyncio.to_thread(logging.getLogger("somebody").warning, "else")
            with logs.about(ticket="2"):
                logs.line("inner", operation="merge")
        logs.line("outside")

    asyncio.run(work())
    said = entries(stream)
    assert [(s.get("ticket"), s.get("operation")) for s in said] == [
        ("1", "fat"),
        ("1", "fat"),
        ("2", "merge"),
        (None, None),
    ]
    assert "code" not in said[0]
