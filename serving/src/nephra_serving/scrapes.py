"""`/metrics` on a port of its own, so that who may scrape need not reach the predictor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import start_http_server

from nephra_contract import logs
from nephra_contract.errors import Failed


class PortTaken(Failed):
    """An address on which nothing can listen."""

    status = 503
    default_code = "port_in_use"
    title = "An address cannot be used"


@contextmanager
def scraped(host: str, port: int) -> Iterator[None]:
    """Serve the process's metrics while the block runs; nothing happens where `port` is 0.

    Raises:
        PortTaken: somebody else listens there.
    """
    if port == 0:
        yield
        return
    try:
        server, thread = start_http_server(port, host)
    except OSError as error:
        raise PortTaken(
            f"Metrics cannot be served on port {port}: {error.strerror}.",
            "Name a free port in NEPHRA_METRICS_PORT.",
        ) from error
    logs.line("metrics", host=host, port=port)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
