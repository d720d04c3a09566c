"""What a predictor loses is tried again, and what lives on after that writes nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import numpy as np
import pytest

from nephra_contract.labels import KIDNEY_LEFT
from nephra_contract.messages import Event
from nephra_contract.nifti import write_labels
from nephra_contract.paths import DataRoot
from nephra_contract.volume import LabelMap
from nephra_gateway import retries
from nephra_gateway.settings import GatewaySettings
from nephra_serving.settings import ServingSettings
from nephra_serving.testing import served

#: Toys are asked the same over and over.
FRESH = {"Cache-Control": "no-cache"}
NDJSON = {"Accept": "application/x-ndjson"}
ASKED = {"mask_path": "m.nii.gz"}
SCRIPT = Path(__file__).with_name("mortal.py")
PATIENCE_S = 60.0


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that other processes do."""
    pause, end = threading.Event(), time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        pause.wait(0.01)


@dataclass
class Mortal:
    """A predictor as a process of its own.

    Args:
        data: its data root.
        port: where it listens.
    """

    data: Path
    port: int
    process: subprocess.Popen[str] = field(init=False)
    lines: list[dict[str, Any]] = field(default_factory=list)

    def start(self) -> Mortal:
        """Start it, and wait until it is ready."""
        environment = {
            "NEPHRA_DATA": str(self.data),
            "NEPHRA_PORT": str(self.port),
            "NEPHRA_CONCURRENCY": "2",
            "NEPHRA_HEARTBEAT_S": "0.2",
        }
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT)],
            env={**os.environ, **environment},
            stderr=subprocess.PIPE,
            text=True,
        )
        threading.Thread(target=self._read, args=(self.process.stderr,), daemon=True).start()
        until(self.ready)
        return self

    def ready(self) -> bool:
        """Whether it takes work."""
        assert self.process.poll() is None
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/readyz", timeout=5).is_success
        except httpx.HTTPError:
            return False

    def kill(self) -> None:
        """End it at once."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE_S)

    def fate(self, *fates: str) -> None:
        """What becomes of the next runs."""
        for name in ("runs", "through", "go"):
            (self.data / name).unlink(missing_ok=True)
        (self.data / "fates").write_text(" ".join(fates))
        self.lines.clear()

    def count(self, name: str) -> int:
        """How often something has happened."""
        path = self.data / name
        return len(path.read_text().splitlines()) if path.exists() else 0

    def results(self) -> set[str]:
        """All that lies among the results, without tickets' names."""
        found = (self.data / "results").glob("*/**/*")
        return {p.relative_to(self.data / "results").as_posix().split("/", 1)[1] for p in found}

    def tickets(self) -> list[str]:
        """The tickets that have a folder."""
        folder = self.data / "results"
        return [p.name for p in folder.iterdir()] if folder.exists() else []

    def clear(self) -> None:
        """Forget earlier results."""
        for ticket in self.tickets():
            for path in sorted((self.data / "results" / ticket).rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            (self.data / "results" / ticket).rmdir()

    def _read(self, stream: Any) -> None:
        with stream:
            for line in stream:
                try:
                    self.lines.append(json.loads(line))
                except ValueError:
                    pass  # what the interpreter says at its end


WHOLE = {
    "mortal-toy",
    *(f"mortal-toy/{n}" for n in ("mask.nii.gz", "mask.labels.json", "manifest.json")),
}


def free_port() -> int:
    """A port of loopback on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mortal]:
    """The predictor of all tests here."""
    data = tmp_path_factory.mktemp("mortal")
    voxels = np.zeros((8, 8, 8), np.uint8)
    voxels[2:6, 2:6, 2:6] = KIDNEY_LEFT
    write_labels(data / "m.nii.gz", LabelMap(voxels, np.eye(4)))
    mortal = Mortal(data, free_port()).start()
    yield mortal
    mortal.kill()


@pytest.fixture
def mortal(running: Mortal) -> Mortal:
    """The predictor, without the past."""
    running.clear()
    running.fate("finish")
    return running


@pytest.fixture
def gateway(start: Any, mortal: Mortal) -> Iterator[Callable[..., httpx.Client]]:
    """Serve a gateway before the predictor, or before what stands between; gives a client."""
    with ExitStack() as stack:

        def serve(port: int = mortal.port, **changes: Any) -> httpx.Client:
            settings = GatewaySettings(
                data=mortal.data,
                predictors={"mortal": f"http://127.0.0.1:{port}"},
                auth="none",
                heartbeat_s=0.2,
                **{"retry_s": PATIENCE_S, **changes},
            )
            url = stack.enter_context(start(settings))
            return stack.enter_context(
                httpx.Client(base_url=url, headers=FRESH, timeout=PATIENCE_S)
            )

        yield serve


class Between:
    """A proxy that can lose callers without telling the predictor, as a network does.

    Args:
        port: of the predictor.
        refusals: what is answered first, instead of passing on.
    """

    def __init__(self, port: int, *refusals: bytes) -> None:
        self._target = port
        self._refusals = list(refusals)
        self._kept: list[socket.socket] = []
        self._callers: list[socket.socket] = []
        self.requests: list[bytes] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def cut(self) -> None:
        """Close all connections to callers; those to the predictor stay open."""
        for caller in self._callers:
            try:
                caller.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has gone already

    def close(self) -> None:
        """End it."""
        self._server.shutdown(socket.SHUT_RDWR)
        for one in (self._server, *self._callers, *self._kept):
            one.close()

    def _serve(self) -> None:
        while True:
            try:
                caller, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._pass, args=(caller,), daemon=True).start()

    def _pass(self, caller: socket.socket) -> None:
        asked = _request(caller)
        self.requests.append(asked)
        if asked.startswith(b"POST") and self._refusals:
            caller.sendall(self._refusals.pop(0))
            caller.close()
            return
        if asked.startswith(b"DELETE"):  # it reaches another replica
            caller.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            caller.close()
            return
        self._callers.append(caller)
        upstream = socket.create_connection(("127.0.0.1", self._target))
        self._kept.append(upstream)
        upstream.sendall(asked)
        try:
            while chunk := upstream.recv(65536):
                caller.sendall(chunk)
            caller.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the caller has gone, and the predictor does not learn of it


def _request(caller: socket.socket) -> bytes:
    """A whole request, its body too."""
    asked = b""
    while b"\r\n\r\n" not in asked:
        asked += caller.recv(65536)
    head, _, body = asked.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head.lower())
    while length and len(body) < int(length[1]):
        more = caller.recv(65536)
        asked, body = asked + more, body + more
    return asked


@pytest.fixture
def between(mortal: Mortal) -> Iterator[Callable[..., Between]]:
    """Put a proxy before the predictor."""
    made: list[Between] = []

    def put(*refusals: bytes) -> Between:
        made.append(Between(mortal.port, *refusals))
        return made[-1]

    yield put
    for one in made:
        one.close()


def streamed(client: httpx.Client, path: str = "mortal/toy", body: Any = None) -> list[Event]:
    """All events of a request."""
    answer = client.post(path, json=body or ASKED, headers=NDJSON)
    return [Event.model_validate_json(line) for line in answer.text.splitlines()]


@contextmanager
def hearing(client: httpx.Client, path: str, body: Any) -> Iterator[Iterator[Event]]:
    """The events of a request as they come; leaving hangs up."""
    with client.stream("POST", path, json=body, headers=NDJSON) as answer:
        yield (Event.model_validate_json(line) for line in answer.iter_lines())


def wait_for(events: Iterator[Event], stage: str) -> None:
    """Listen until a stage is said."""
    assert any(event.stage == stage for event in events)


@pytest.mark.parametrize("end", ["die", "die-writing"])
def test_work_whose_worker_is_killed_is_done_again(gateway: Any, mortal: Mortal, end: str) -> None:
    """The caller hears what is waited for, progress never falls, and no half result stays."""
    mortal.fate(end, "finish")
    events = streamed(gateway())
    assert events[-1].result is not None
    assert events[-1].result["report"] == {"fate": "finish"}
    assert "waiting for mortal" in [e.stage for e in events]
    fractions = [e.fraction for e in events if e.fraction is not None]
    assert fractions == sorted(fractions)
    assert mortal.count("runs") == 2
    assert mortal.results() == WHOLE


def test_a_request_that_kills_its_worker_each_time_ends_in_an_error(
    gateway: Any, mortal: Mortal
) -> None:
    """After three deaths, however much time there were still; nothing is left of it."""
    mortal.fate(*["die"] * 9)
    answer = gateway().post("/mortal/toy", json=ASKED)
    assert answer.status_code == 502
    problem = answer.json()
    assert problem["code"] == "work_lost"
    assert problem["predictors"] == ["mortal"]
    assert "3 times" in problem["detail"]
    assert "memory" in problem["action"]
    assert mortal.count("runs") == 3
    assert mortal.tickets() == []
    mortal.fate("finish")


def test_without_patience_a_loss_is_said_at_once(gateway: Any, mortal: Mortal) -> None:
    """The predictor's own words, with Retry-After."""
    mortal.fate("die", "finish")
    answer = gateway(retry_s=0).post("/mortal/toy", json=ASKED)
    assert (answer.status_code, answer.json()["code"]) == (503, "worker_lost")
    assert int(answer.headers["retry-after"]) > 0
    assert mortal.tickets() == []


def test_a_predictor_that_is_killed_and_comes_back_gets_its_work_again(
    gateway: Any, mortal: Mortal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole process this time: connections are reset, then refused, then taken again."""
    monkeypatch.setattr(retries, "_LAST_S", 0.2)
    mortal.fate("hold", "finish")
    with hearing(gateway(), "mortal/toy", ASKED) as events:
        wait_for(events, "held")
        mortal.kill()
        wait_for(events, "waiting for mortal")
        mortal.start()
        last = list(events)[-1]
    assert last.result is not None
    assert last.result["report"] == {"fate": "finish"}
    assert mortal.results() == WHOLE


def test_a_case_goes_on_when_a_predictor_that_ended_is_back(
    start: Any, toys: ModuleType, data: DataRoot, gates: Any, predictors: dict[str, str]
) -> None:
    """What it had finished stays in use and is not made twice; what it had begun is done again."""
    port = free_port()
    urls = {**predictors, "nnunet": f"http://127.0.0.1:{port}"}
    settings = GatewaySettings(data=data.root, predictors=urls, auth="none", retry_s=PATIENCE_S)
    chosen = ServingSettings(data=data.root)
    gates.hold("tumor")
    with ExitStack() as stack:
        url = stack.enter_context(start(settings))
        client = stack.enter_context(httpx.Client(base_url=url, headers=FRESH, timeout=PATIENCE_S))
        ending = stack.enter_context(ExitStack())
        ending.enter_context(served("nnunet", toys.Nnunet(data), chosen, port=port))
        case = {"phases": {"A": "A.nii.gz", "D": "D.nii.gz"}}
        events = stack.enter_context(hearing(client, "cases", case))
        assert gates.reached["tumor"].wait(PATIENCE_S)
        wait_for(events, "preview")  # it stands on the organs, that were finished before
        ending.close()
        wait_for(events, "inference: waiting for nnunet")
        gates.go.set()
        stack.enter_context(served("nnunet", toys.Nnunet(data), chosen, port=port))
        last = list(events)[-1]
    assert last.result is not None, last.problem
    home = data.root / "results" / last.result["ticket"]
    made = {p.name for p in home.iterdir()}
    assert {"inference-totalseg", "inference-tumor", "smoothing-base-scene"} <= made
    assert not any(name.endswith("-2") or name.startswith(".") for name in made)


def test_an_attempt_that_lives_on_writes_nothing(
    gateway: Any, mortal: Mortal, between: Callable[..., Between]
) -> None:
    """The gateway has lost it and done the work again; let go, it finds its ticket closed."""
    proxy = between()
    mortal.fate("hold", "finish")
    with hearing(gateway(proxy.port), "mortal/toy", ASKED) as events:
        wait_for(events, "held")
        proxy.cut()
        last = list(events)[-1]
    assert last.result is not None
    assert last.result["report"] == {"fate": "finish"}
    assert mortal.results() == WHOLE
    (mortal.data / "go").touch()
    until(lambda: mortal.count("through") == 1)
    until(lambda: any(line.get("code") == "ticket_closed" for line in mortal.lines))
    assert mortal.results() == WHOLE


def test_an_attempt_that_does_not_hear_of_its_withdrawal_writes_nothing(
    gateway: Any, mortal: Mortal, between: Callable[..., Between]
) -> None:
    """The caller has hung up, and the withdrawal went to another replica."""
    proxy = between()
    mortal.fate("hold")
    with hearing(gateway(proxy.port), "mortal/toy", ASKED) as events:
        wait_for(events, "held")
        assert len(mortal.tickets()) == 1
    until(lambda: mortal.tickets() == [])
    assert mortal.count("through") == 0
    (mortal.data / "go").touch()
    until(lambda: any(line.get("code") == "ticket_closed" for line in mortal.lines))
    assert mortal.tickets() == []


def test_hanging_up_while_it_waits_cancels_at_once(gateway: Any, mortal: Mortal) -> None:
    """Nobody waits for a predictor on behalf of a caller who has gone."""
    with hearing(gateway(free_port()), "mortal/toy", ASKED) as events:
        wait_for(events, "waiting for mortal")
        assert len(mortal.tickets()) == 1
    until(lambda: mortal.tickets() == [])


@pytest.mark.parametrize("status", [502, 503, 504])
def test_what_a_proxy_says_is_not_the_predictors_word(
    gateway: Any, mortal: Mortal, between: Callable[..., Between], status: int
) -> None:
    """Its errors say nothing of the request: they are waited through."""
    page = f"HTTP/1.1 {status} Sorry\r\nContent-Length: 6\r\n\r\n<html>".encode()
    proxy = between(page, b"", page)
    answer = gateway(proxy.port).post("/mortal/toy", json=ASKED)
    assert answer.status_code == 200
    assert mortal.count("runs") == 1


def test_every_request_has_a_connection_of_its_own(
    gateway: Any, mortal: Mortal, between: Callable[..., Between]
) -> None:
    """So that each may reach another replica, and none one that is ending."""
    proxy = between()
    mortal.fate("finish", "finish")
    client = gateway(proxy.port)
    for _ in range(2):
        assert client.post("/mortal/toy", json=ASKED).status_code == 200
    posts = [r for r in proxy.requests if r.startswith(b"POST")]
    assert len(posts) == 2
    assert all(b"connection: close" in r.lower() for r in proxy.requests)


def test_time_ends_the_waiting(gateway: Any, mortal: Mortal) -> None:
    """Where nobody is, and nobody comes: the error of before, and nothing is left behind."""
    client = gateway(free_port(), retry_s=0.5)
    events = streamed(client)
    assert events[-1].problem is not None
    assert events[-1].problem["code"] == "predictor_unavailable"
    assert client.post("/mortal/toy", json=ASKED).status_code == 503
    assert mortal.tickets() == []


def test_what_nobody_offers_yet_is_waited_for(
    start: Any, toys: ModuleType, data: DataRoot, gates: Any, predictors: dict[str, str]
) -> None:
    """One operation and a whole case, asked for before their predictor was ever up."""
    port = free_port()
    urls = {**predictors, "nnunet": f"http://127.0.0.1:{port}"}
    settings = GatewaySettings(data=data.root, predictors=urls, auth="none", heartbeat_s=0.2)
    settings = settings.model_copy(update={"retry_s": PATIENCE_S})
    with ExitStack() as stack:
        url = stack.enter_context(start(settings))
        client = stack.enter_context(httpx.Client(base_url=url, headers=FRESH, timeout=PATIENCE_S))
        one = stack.enter_context(hearing(client, "inference/tumor", {"image_path": "A.nii.gz"}))
        case = {"phases": {"A": "A.nii.gz"}}
        whole = stack.enter_context(hearing(client, "cases", case))
        for events in (one, whole):
            wait_for(events, "waiting for nnunet")
        assert client.post("/cases", json={"phases": {}}).status_code == 422
        chosen = ServingSettings(data=data.root)
        stack.enter_context(served("nnunet", toys.Nnunet(data), chosen, port=port))
        for events in (one, whole):
            last = list(events)[-1]
            assert last.result is not None, last.problem
