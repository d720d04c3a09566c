"""Traces by OpenTelemetry: which services a piece of work went through, and when.

They are off, cost nothing and import nothing, unless `OTEL_EXPORTER_OTLP_ENDPOINT` is set and the
extra `tracing` of the service is installed. Where they go, and how many of them, is said by
OpenTelemetry's own variables. As in logs, no patient text and no path stands in a span.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from nephra_contract import logs
from nephra_contract.errors import NephraError

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

#: W3C's header.
TRACEPARENT = "traceparent"

Kind = Literal["internal", "server", "client"]

#: OpenTelemetry's tracer of this process, once `begin` has made it.
_tracer: Any = None


def begin(service: str) -> Callable[[], None]:
    """Begin to trace, if the environment asks for it.

    Args:
        service: the name that its spans bear; `OTEL_SERVICE_NAME` names it otherwise.

    Returns:
        What sends the last spans, to be called before the process ends.
    """
    global _tracer  # noqa: PLW0603  one process, one tracer, as with logs
    if not any(os.environ.get(name) for name in ENDPOINTS):
        return _nothing
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        logs.line("traces are not sent", why="OpenTelemetry is not installed: the extra tracing")
        return _nothing
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": f"nephra-{service}"}
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _tracer = provider.get_tracer("nephra")
    logs.line("traces are sent")

    def end() -> None:
        global _tracer  # noqa: PLW0603
        _tracer = None
        provider.shutdown()

    return end


def on() -> bool:
    """Whether traces are sent."""
    return _tracer is not None


@contextmanager
def span(
    name: str, *, parent: str | None = None, kind: Kind = "internal", **attributes: Any
) -> Iterator[None]:
    """What happens within the block, as a span; those begun within it are its children.

    Args:
        name: what is done: of few names, as with metrics.
        parent: a traceparent; without, the span that is open here, or none.
        kind: whether it answers somebody, asks somebody, or neither.
        attributes: about it; those that are None are left out.
    """
    if _tracer is None:
        yield
        return
    from opentelemetry.trace import SpanKind, Status, StatusCode

    kept = {f"nephra.{key}": value for key, value in attributes.items() if value is not None}
    with _tracer.start_as_current_span(
        name,
        context=_context(parent),
        kind=SpanKind[kind.upper()],
        attributes=kept,
        # Their messages may name files.
        record_exception=False,
        set_status_on_exception=False,
    ) as found:
        try:
            yield
        except BaseException as error:
            code = error.code if isinstance(error, NephraError) else type(error).__name__
            found.set_status(Status(StatusCode.ERROR, code))
            raise


def current() -> str | None:
    """The traceparent of the span that is open here, to be sent along."""
    if _tracer is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get(TRACEPARENT)


def headers() -> dict[str, str]:
    """What a request to another service carries along."""
    found = current()
    return {} if found is None else {TRACEPARENT: found}


def _context(parent: str | None) -> Any:
    """The context that a traceparent stands for; None, which is the current one, for none."""
    if not parent:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({TRACEPARENT: parent})


def _nothing() -> None:
    pass
