from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import httpx
import pytest

from nephra_contract.errors import NephraError
from nephra_contract.paths import DataRoot
from nephra_gateway.predictors import Predictors
from nephra_gateway.settings import GatewaySettings
from nephra_serving.settings import ServingSettings
from nephra_serving.testing import served

NDJSON = {"Accept": "application/x-ndjson"}


@pytest.fixture
def open_settings(settings: GatewaySettings) -> GatewaySettings:
    """Without tokens and retries, and asking predictors anew each time."""
    return settings.model_copy(update={"auth": "none", "refresh_s": 0, "retry_s": 0})


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def answering(reply: bytes) -> Iterator[str]:
    """A server that reads a request, sends these bytes, and closes; yields its URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(reply)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(60)


def test_a_predictor_that_was_never_up_is_unavailable(
    start: Any, open_settings: GatewaySettings
) -> None:
    """503 with Retry-After, naming it; what others offer still works."""
    urls = {**open_settings.predictors, "nnunet": f"http://127.0.0.1:{_free_port()}"}
    with (
        start(open_settings.model_copy(update={"predictors": urls})) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        for path, body in (
            ("/inference/tumor", {"image_path": "A.nii.gz"}),
            ("/cases", {"phases": {"A": "A.nii.gz"}}),
        ):
            answer = client.post(path, json=body)
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) > 0
            assert answer.json()["code"] == "predictor_unavailable"
            assert answer.json()["predictors"] == ["nnunet"]
        missing = client.post("/smoothing/base", json={"mask_path": "gone.nii.gz"})
        assert missing.json()["code"] == "file_not_found"
        ready = client.get("/readyz")
        assert ready.status_code == 503
        assert ready.json()["predictors"] == ["nnunet"]
        assert client.get("/healthz").status_code == 200


def test_what_a_predictor_offered_is_remembered(
    start: Any, open_settings: GatewaySettings, toys: ModuleType, data: DataRoot
) -> None:
    """Its operations are unavailable while it is down, not unknown; they come back with it."""
    port = _free_port()
    urls = {"smoothing": f"http://127.0.0.1:{port}"}
    chosen = ServingSettings(data=data.root)
    with (
        start(open_settings.model_copy(update={"predictors": urls})) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        with served("smoothing", toys.smoothing(data), chosen, port=port):
            assert [o["name"] for o in client.get("/operations").json()] == ["smoothing/base"]
        answer = client.post("/smoothing/base", json={"mask_path": "x.nii.gz"})
        assert answer.status_code == 503
        assert [o["name"] for o in client.get("/operations").json()] == ["smoothing/base"]
        assert client.post("/smoothing/other", json={}).json()["code"] == "operation_unknown"
        with served("smoothing", toys.smoothing(data), chosen, port=port):
            answer = client.post("/smoothing/base", json={"mask_path": "x.nii.gz"})
            assert answer.json()["code"] == "file_not_found"


@pytest.mark.parametrize(
    ("reply", "status", "code"),
    [
        (b"", 503, "predictor_unavailable"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nno", 503, "predictor_unavailable"),
        (
            b'HTTP/1.1 200 OK\r\nContent-Length: 35\r\n\r\n{"event":"progress","fraction":0.1}',
            503,
            "predictor_unavailable",
        ),
        (
            b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"event":"progress","fraction":0.1}',
            503,
            "predictor_unavailable",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
            500,
            "predictor_answer_invalid",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
            500,
            "predictor_answer_invalid",
        ),
    ],
)
def test_a_connection_that_breaks_is_no_result(
    open_settings: GatewaySettings, reply: bytes, status: int, code: str
) -> None:
    """A predictor that dies mid-way, or something else in its place, is told apart from work."""

    async def ask(url: str) -> NephraError:
        async with httpx.AsyncClient(trust_env=False) as http:
            predictors = Predictors(open_settings, http)
            predictor, _ = await predictors.find("smoothing/base")
            predictor.url = url
            with pytest.raises(NephraError) as failed:
                await predictors.run("smoothing/base", {}, lambda _: None)
            return failed.value

    with answering(reply) as url:
        error = asyncio.run(ask(url))
    assert (error.status, error.code) == (status, code)


def test_a_predictor_that_takes_too_long_is_timed_out(
    start: Any, open_settings: GatewaySettings, gates: Any
) -> None:
    """504, and the work is cancelled."""
    gates.hold("tumor")
    with (
        start(open_settings.model_copy(update={"operation_s": 0.5})) as url,
        httpx.Client(base_url=url, headers={"Cache-Control": "no-cache"}, timeout=60) as client,
    ):
        answer = client.post("/inference/tumor", json={"image_path": "A.nii.gz"})
    assert answer.status_code == 504
    assert answer.json()["code"] == "timed_out"
    assert gates.ended["tumor"].is_set()


def test_a_plain_kserve_predictor_will_do(open_settings: GatewaySettings) -> None:
    """One that answers with one JSON document, as any KServe predictor, needs no new gateway."""

    async def ask(url: str) -> dict[str, Any]:
        async with httpx.AsyncClient(trust_env=False) as http:
            predictors = Predictors(open_settings, http)
            predictor, _ = await predictors.find("smoothing/base")
            predictor.url = url
            return await predictors.run("smoothing/base", {}, lambda _: None)

    body = b'{"predictions": [{"obj_path": "x.obj"}]}'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with answering(head % len(body) + body) as url:
        assert asyncio.run(ask(url)) == {"obj_path": "x.obj"}
