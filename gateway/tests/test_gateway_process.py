from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from nephra_contract.paths import DataRoot
from nephra_gateway.app import create
from nephra_gateway.server import configuration
from nephra_gateway.settings import GatewaySettings


@contextmanager
def started(**environment: str) -> Iterator[subprocess.Popen[str]]:
    """`python -m nephra_gateway` as a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "nephra_gateway"],
        env={**os.environ, "NEPHRA_PORT": "0", **environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def _listening(pid: int) -> set[str]:
    """The addresses in hexadecimal on which a process listens, IPv4 and IPv6."""
    inodes = set()
    for handle in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(handle.readlink())
        except FileNotFoundError:
            continue  # closed since it was listed
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    rows = [
        row.split()
        for table in ("tcp", "tcp6")
        for row in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
    ]
    return {r[1].split(":")[0] for r in rows if r[3] == "0A" and r[9] in inodes}


def test_the_gateway_listens_on_loopback_and_ends_when_told(
    tokens_file: Path, tmp_path: Path
) -> None:
    """One socket on 127.0.0.1; SIGTERM ends it with 0, and every line of its log is JSON."""
    with started(NEPHRA_TOKENS_FILE=str(tokens_file), NEPHRA_DATA=str(tmp_path)) as process:
        assert process.stderr is not None
        line = _log(process, "listening")
        assert _listening(process.pid) == {"0100007F"}
        url = f"http://{line['host']}:{line['port']}"
        assert httpx.get(f"{url}/healthz", trust_env=False, timeout=60).status_code == 200
        assert httpx.get(f"{url}/labels", trust_env=False, timeout=60).status_code == 401
        process.send_signal(signal.SIGTERM)
        for text in process.stderr:
            assert json.loads(text)["service"] == "gateway"
        assert process.wait(60) == 0


@pytest.mark.parametrize(
    "environment", [{}, {"NEPHRA_PREDICTORS": "[1]", "NEPHRA_AUTH": "none"}, {"NEPHRA_AUTH": "x"}]
)
def test_the_gateway_does_not_start_without_its_settings(environment: dict[str, str]) -> None:
    """Without tokens it stays down, and says why in its log."""
    with started(**environment) as process:
        assert process.stderr is not None
        line = json.loads(process.stderr.read())
        assert line["message"] == "cannot start"
        assert "NEPHRA_" in line["why"] or "predictors" in line["why"] or "auth" in line["why"]
        assert process.wait(60) == 2


#: Sends SIGTERM to itself when the gateway begins to import what it serves with.
_TERMINATED = """
import os, runpy, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "uvicorn":
            os.kill(os.getpid(), signal.SIGTERM)

sys.meta_path.insert(0, Finder())
runpy.run_module("nephra_gateway", run_name="__main__")
"""


def test_a_gateway_can_be_ended_while_it_starts() -> None:
    """In a container, where nothing is done at SIGTERM unless somebody asked for it."""
    ended = subprocess.run([sys.executable, "-c", _TERMINATED], check=False, timeout=60)
    assert ended.returncode == 0


def _log(process: subprocess.Popen[str], message: str) -> dict[str, Any]:
    """The next line of a process's log with this message."""
    assert process.stderr is not None
    for text in process.stderr:
        line: dict[str, Any] = json.loads(text)
        if line["message"] == message:
            return line
    raise AssertionError(f"it never said '{message}'")


@contextmanager
def _holding(predictors: dict[str, str], data: DataRoot, **more: str) -> Iterator[Any]:
    """A gateway process with a request under way; yields it, its URL, and the lines to come."""
    environment = {
        "NEPHRA_DATA": str(data.root),
        "NEPHRA_PREDICTORS": json.dumps(predictors),
        "NEPHRA_AUTH": "none",
        **more,
    }
    with started(**environment) as process:
        line = _log(process, "listening")
        url = f"http://{line['host']}:{line['port']}"
        with httpx.stream(
            "POST",
            f"{url}/inference/tumor",
            json={"image_path": "A.nii.gz"},
            headers={"Accept": "application/x-ndjson", "Cache-Control": "no-cache"},
            timeout=60,
            trust_env=False,
        ) as answer:
            yield process, url, (json.loads(text) for text in answer.iter_lines())


def test_requests_under_way_are_finished_before_the_gateway_ends(
    predictors: dict[str, str], data: DataRoot, gates: Any
) -> None:
    """SIGTERM: nobody new is let in, the answer still comes, and that is the end."""
    gates.hold("tumor")
    with _holding(predictors, data, NEPHRA_DRAIN_S="600") as (process, url, events):
        assert gates.reached["tumor"].wait(60)
        process.send_signal(signal.SIGTERM)
        while _lets_in(url):
            pass
        gates.go.set()
        last = list(events)[-1]
        assert last["event"] == "result"
        assert data.file(last["result"]["mask_path"]).is_file()
        assert process.wait(60) == 0


def test_requests_that_take_too_long_to_end_are_cancelled_with_their_work(
    predictors: dict[str, str], data: DataRoot, gates: Any
) -> None:
    """The caller is told that it may come again, and nothing of the work is left."""
    before = set(data.root.glob("results/*"))
    gates.hold("tumor")
    with _holding(predictors, data, NEPHRA_DRAIN_S="0.1") as (process, _, events):
        assert gates.reached["tumor"].wait(60)
        process.send_signal(signal.SIGTERM)
        last = list(events)[-1]
        assert last["problem"]["status"] == 503
        assert last["problem"]["code"] == "gateway_ending"
        assert process.wait(60) == 0
    assert gates.ended["tumor"].wait(60)
    assert set(data.root.glob("results/*")) == before


def test_metrics_have_a_port_of_their_own(
    predictors: dict[str, str], data: DataRoot, gates: Any
) -> None:
    """In Prometheus' text, with few labels, and not where callers are."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    gates.hold("tumor")
    with _holding(predictors, data, NEPHRA_METRICS_PORT=str(port)) as (_, url, events):
        assert gates.reached["tumor"].wait(60)
        where = f"http://127.0.0.1:{port}/metrics"
        shown = _samples(where)
        assert shown['nephra_gateway_requests_in_flight{operation="inference/tumor"}'] == 1
        gates.go.set()
        list(events)
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
            for path in ("/no/such", "/another", "/inference/tumor"):
                client.post(path, json={"image_path": "gone.nii.gz"})
            client.post("/inference/tumor", content=b"no JSON")
            client.post("/cases", json={})
            assert client.get("/labels").is_success
            assert client.get("/readyz").is_success
            assert client.get("/metrics").status_code == 404
        shown = _samples(where)
    counted = {k: v for k, v in shown.items() if k.startswith("nephra_gateway_requests_total")}
    assert counted == {
        _count("inference/tumor", 200): 1,
        _count("inference/tumor", 404): 1,
        _count("inference/tumor", 422): 1,
        _count("cases", 422): 1,
        _count("information", 200): 1,
        _count("unknown", 404): 3,
    }
    assert shown['nephra_gateway_requests_in_flight{operation="inference/tumor"}'] == 0
    assert shown['nephra_gateway_request_duration_seconds_count{operation="unknown"}'] == 3
    assert shown['nephra_gateway_predictor_up{predictor="nnunet"}'] == 1
    assert shown["nephra_gateway_data_root_usable"] == 1
    assert not any(".nii" in name or "such" in name for name in shown)


def _count(operation: str, status: int) -> str:
    return f'nephra_gateway_requests_total{{operation="{operation}",status="{status}"}}'


def _lets_in(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", trust_env=False, timeout=60).is_success
    except httpx.ConnectError:
        return False


def _samples(url: str) -> dict[str, float]:
    text = httpx.get(url, trust_env=False, timeout=60).text
    rows = (row.rsplit(" ", 1) for row in text.splitlines() if not row.startswith("#"))
    return {name: float(value) for name, value in rows}


def test_a_gateway_without_its_data_root_is_not_ready(tmp_path: Path) -> None:
    """It starts and lives, says so in its log, and is ready when the data root is there."""
    root = tmp_path / "data"
    environment = {"NEPHRA_DATA": str(root), "NEPHRA_AUTH": "none", "NEPHRA_RETRY_S": "0"}
    with started(**environment, NEPHRA_PREDICTORS="{}") as process:
        assert _log(process, "data root cannot be used")["level"] == "error"
        line = _log(process, "listening")
        base = f"http://{line['host']}:{line['port']}"
        with httpx.Client(base_url=base, trust_env=False, timeout=60) as client:
            refused = client.get("/healthz")
            assert refused.status_code == 503
            assert refused.json()["code"] == "data_root_unavailable"
            assert str(root) not in refused.text
            assert client.get("/livez").status_code == 200
            root.mkdir()
            pause = threading.Event()
            while client.get("/healthz").status_code != 200:
                pause.wait(0.1)  # each refusal is a line of the log, that nobody reads yet
            _log(process, "data root usable again")


def test_a_gateway_serves_while_its_predictors_are_away(tmp_path: Path) -> None:
    """Healthy, since it can wait for them; /readyz names who is missing."""
    environment = {"NEPHRA_DATA": str(tmp_path), "NEPHRA_AUTH": "none"}
    with started(**environment) as process:
        line = _log(process, "listening")
        base = f"http://{line['host']}:{line['port']}"
        with httpx.Client(base_url=base, trust_env=False, timeout=60) as client:
            assert client.get("/healthz").json() == {"status": "alive"}
            assert client.get("/operations").json() == []
            ready = client.get("/readyz")
            assert ready.status_code == 503
            assert len(ready.json()["predictors"]) == 3


def test_an_ingress_ends_idle_connections_before_the_gateway_does(tmp_path: Path) -> None:
    """Else a request would now and then be sent into a connection that is being closed."""
    settings = GatewaySettings(data=tmp_path, auth="none")
    found = configuration(create(settings), settings)
    assert found.timeout_keep_alive > 90
    assert (found.timeout_graceful_shutdown or 0) > settings.drain_s
