"""The Python client, against a running nephra and against what is none."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nephra_cli import Client
from nephra_cli.client import RemoteError
from nephra_cli.transfer import bring_in
from nephra_contract.errors import NephraError, RequestInvalid, Unavailable

if TYPE_CHECKING:
    from cli.tests.conftest import Up


class Stranger(BaseHTTPRequestHandler):
    """A web server that is no gateway: each path has its own way of being wrong."""

    def do_GET(self) -> None:
        """Answer HTML."""
        self._answer(200, b"<html>hello</html>")

    def do_POST(self) -> None:
        """Answer by path."""
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/cut":
            self._answer(200, b'{"event":"progress","stage":"half","fraction":0.5}\n')
        elif self.path == "/noise":
            self._answer(200, b"what?\n")
        elif self.path == "/broken":
            self._answer(200, b'{"event":"progress","stage":"half","fraction":0.5}\n', missing=9)
        elif self.path[1:].isdigit():
            self._answer(int(self.path[1:]), b"<html>so sorry</html>")
        elif self.path.startswith("/under/a/path/"):
            result = {"ticket": "1", "operation": self.path, "manifest_path": "m"}
            event = {"event": "result", "result": result}
            self._answer(200, json.dumps(event).encode() + b"\n")
        else:
            self._answer(418, b"a teapot")

    def _answer(self, status: int, body: bytes, missing: int = 0) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) + missing))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture
def stranger() -> Iterator[Client]:
    """A client of something that is no gateway."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stranger)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with Client(f"http://127.0.0.1:{server.server_port}") as client:
            yield client
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def client(up: Up) -> Iterator[Client]:
    """A client of the running nephra."""
    with Client(up.running.url, Path(up.running.token_file).read_text().strip()) as client:
        yield client


def test_what_is_offered_can_be_asked(client: Client) -> None:
    """Operations as typed descriptions, labels, bundles."""
    names = {o.name for o in client.operations()}
    assert {"smoothing/base", "postprocess/fat", "inference/tumor"} <= names
    assert client.labels()
    assert all(b.task for b in client.bundles())


def test_an_operation_is_run(client: Client, up: Up, mask_file: Path) -> None:
    """The answer names the mesh and the volumes of both kidneys."""
    name = bring_in(str(mask_file), Path(up.running.data))
    answer = client.run("smoothing/base", mask_path=name)
    assert answer.obj_path is not None
    assert (Path(up.running.data) / answer.obj_path).is_file()
    assert set(answer.volumes_ml) == {"kidney_right", "kidney_left"}


def test_progress_comes_before_the_result(client: Client, up: Up, mask_file: Path) -> None:
    """Events in order, their fractions rising, the result last."""
    name = bring_in(str(mask_file), Path(up.running.data))
    events = list(client.stream("smoothing/base", mask_path=name))
    assert events[-1].event == "result"
    assert events[-1].result is not None
    fractions = [e.fraction for e in events if e.fraction is not None]
    assert len(fractions) > 1
    assert fractions == sorted(fractions)


def test_a_problem_is_raised_with_its_sentence(client: Client) -> None:
    """By `run` and by `stream` alike, with the stable code and what to do."""
    with pytest.raises(RemoteError) as plain:
        client.run("smoothing/base", mask_path="nowhere.nii.gz")
    with pytest.raises(RemoteError) as streamed:
        list(client.stream("smoothing/base", mask_path="nowhere.nii.gz"))
    for raised in (plain.value, streamed.value):
        assert raised.code == "file_not_found"
        assert "nowhere.nii.gz" in raised.detail
        assert raised.action


def test_a_case_without_its_phase_is_raised(client: Client) -> None:
    """What `cases` refuses comes as an error, not as an event."""
    with pytest.raises(NephraError) as raised:
        list(client.case({"A": "nowhere.nii.gz"}, ["ureter_right"]))
    assert raised.value.code == "phase_missing"


def test_a_wrong_token_is_refused(up: Up) -> None:
    """With the gateway's own words."""
    with Client(up.running.url, "wrong") as client, pytest.raises(RemoteError) as raised:
        client.operations()
    assert raised.value.code == "token_unknown"


def test_nobody_there_is_said() -> None:
    """An address at which nothing listens."""
    with Client("http://127.0.0.1:9") as client, pytest.raises(Unavailable, match="No gateway"):
        client.operations()


def test_what_is_no_gateway_is_said(stranger: Client) -> None:
    """HTML, noise, a proxy's error: a sentence each, no exception of a library."""
    for ask in (stranger.operations, stranger.labels, lambda: stranger.run("x")):
        with pytest.raises(NephraError) as raised:
            ask()
        assert raised.value.code == "not_nephra"
    with pytest.raises(Unavailable, match="not one of a nephra"):
        list(stranger.stream("noise"))


def test_a_stream_that_ends_early_is_an_error(stranger: Client) -> None:
    """Half of an answer is not taken for an answer."""
    events = stranger.stream("cut")
    assert next(events).stage == "half"
    with pytest.raises(Unavailable, match="before the result"):
        next(events)


def test_a_stream_that_breaks_is_not_nobody(stranger: Client) -> None:
    """A connection that is cut in the midst of an answer."""
    events = stranger.stream("broken")
    assert next(events).stage == "half"
    with pytest.raises(Unavailable, match="broke before the answer"):
        next(events)


@pytest.mark.parametrize("status", ["502", "503", "504"])
def test_what_an_ingress_says_is_told_from_the_gateways_words(
    stranger: Client, status: str
) -> None:
    """Its page becomes a sentence, and a code to tell it by."""
    with pytest.raises(Unavailable, match=f"answered {status}") as raised:
        stranger.run(status)
    assert raised.value.code == "gateway_unreachable"
    assert "html" not in raised.value.detail
    assert raised.value.action


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_gateway_may_lie_under_a_path(stranger: Client, slash: str) -> None:
    """As an ingress has it for several applications on one host."""
    with Client(f"{stranger.url}/under/a/path{slash}") as client:
        assert client.run("smoothing/base").operation == "/under/a/path/smoothing/base"
        with pytest.raises(NephraError, match="not one of a nephra"):
            client.labels()


@pytest.mark.parametrize("name", ["../labels", "inference/", "/a", "a b", "", "a?b", "A"])
def test_only_names_of_operations_are_asked_for(name: str) -> None:
    """A name cannot lead to another page of the server."""
    with Client("http://127.0.0.1:9") as client, pytest.raises(RequestInvalid):
        client.run(name)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host", "http://", ""])
def test_an_address_has_to_be_one(url: str) -> None:
    """Before anything is sent."""
    with pytest.raises(RequestInvalid, match="address"):
        Client(url)
