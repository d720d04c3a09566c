"""One trace goes from the caller through the gateway and its ticket to the predictor."""

from __future__ import annotations

import json
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import httpx
import pytest
from cli.tests.conftest import Up, end, start_up
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from nephra_cli.transfer import bring_in

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector(BaseHTTPRequestHandler):
    """Takes what is sent by OTLP over HTTP."""

    spans: ClassVar[defaultdict[str, list[Span]]]

    def do_POST(self) -> None:
        """Remember the spans of each service."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.path == "/v1/traces"
        for part in ExportTraceServiceRequest.FromString(body).resource_spans:
            (name,) = (
                a.value.string_value for a in part.resource.attributes if a.key == "service.name"
            )
            self.spans[name] += [span for scope in part.scope_spans for span in scope.spans]
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@contextmanager
def collecting() -> Iterator[str]:
    """A collector's URL."""
    Collector.spans = defaultdict(list)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A nephra whose services are told of a collector."""
    home = tmp_path_factory.mktemp("traced")
    with collecting() as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        started = start_up([sys.executable, "-m", "nephra_cli"], home / "data", home / "state")
        yield started
        end(started)


def _attribute(span: Span, name: str) -> str:
    found: str = {a.key: a.value.string_value for a in span.attributes}[name]
    return found


def test_one_trace_has_spans_of_all_that_took_part(traced: Up, mask_file: Path) -> None:
    """Request, ticket and step of the gateway, work of the predictor: each parent of the next."""
    token = Path(traced.running.token_file).read_text().strip()
    answer = httpx.post(
        f"{traced.running.url}/smoothing/base",
        json={"mask_path": bring_in(str(mask_file), Path(traced.running.data))},
        headers={"Authorization": f"Bearer {token}", "traceparent": f"00-{TRACE}-{PARENT}-01"},
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    ticket = answer.json()["ticket"]
    assert end(traced) == 0  # what is left is sent when services end
    found = {
        (service, span.name): span
        for service, spans in Collector.spans.items()
        for span in spans
        if span.trace_id.hex() == TRACE
    }
    chain = [
        ("nephra-gateway", "POST request"),
        ("nephra-gateway", "ticket"),
        ("nephra-gateway", "smoothing/base"),
        ("nephra-smoothing", "smoothing/base"),
    ]
    assert set(found) == set(chain)
    parent = PARENT
    for link in chain:
        assert found[link].parent_span_id.hex() == parent, link
        parent = found[link].span_id.hex()
    assert _attribute(found[chain[1]], "nephra.ticket") == ticket
    assert _attribute(found[chain[3]], "nephra.ticket") == ticket
    assert "kidneys" not in str(found.values())
    # The same number finds what the services have logged.
    lines = [json.loads(text) for text in Path(traced.running.log).read_text().splitlines()]
    assert {e["service"] for e in lines if e.get("ticket") == ticket} == {"gateway", "smoothing"}
