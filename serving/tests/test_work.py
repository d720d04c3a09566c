"""Work in processes of their own: stuck, killed, drained, and never left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from nephra_contract.paths import DataRoot

STREAM = {"accept": "application/x-ndjson"}
TICKET = "a" * 32


@contextmanager
def streamed(url: str, model: str, ticket: str = TICKET) -> Iterator[Iterator[dict[str, Any]]]:
    """A request to a model, streamed; yields its events, the first of which has been heard."""
    with httpx.stream(
        "POST",
        f"{url}/v1/models/{model}:predict",
        json={"instances": [{"mask_path": "mask.nii.gz", "ticket": ticket}]},
        headers=STREAM,
        timeout=60,
    ) as answer:
        yield (json.loads(line) for line in answer.iter_lines())


def heard(events: Iterator[dict[str, Any]], stage: str) -> bool:
    """Whether this stage is reached."""
    return any(event.get("stage") == stage for event in events)


def workers(pid: int) -> list[int]:
    """The processes that a server has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children]


def files(data: DataRoot) -> list[str]:
    """Every file of the data root, but for what tests put there."""
    return sorted(p.name for p in data.root.rglob("*") if p.is_file() and p.name != "go")


def test_a_step_that_holds_the_interpreter_does_not_hold_the_server(standing: Any) -> None:
    """Liveness, readiness and heartbeats go on; the stuck step is killed when cancelled."""
    url, lost = standing.url, standing.figure("nephra_workers_lost_total")
    with streamed(url, "grip") as events:
        assert heard(events, "gripping")
        assert httpx.get(f"{url}/healthz", timeout=60).status_code == 200
        assert httpx.get(f"{url}/readyz", timeout=60).status_code == 200
        assert next(events)["stage"] == "gripping"
        answer = httpx.delete(f"{url}/tickets/{TICKET}", timeout=60)
        assert answer.json() == {"withdrawn": 1}
        assert list(events)[-1]["problem"]["code"] == "cancelled"
    # The new worker has the slot.
    with streamed(url, "keep") as events:
        assert list(events)[-1]["event"] == "result"
    assert standing.figure("nephra_workers_lost_total") == lost


def test_a_killed_worker_is_replaced(standing: Any) -> None:
    """Its caller hears worker_lost, and who waited behind is served by the new one."""
    url, lost = standing.url, standing.figure("nephra_workers_lost_total")
    one, other = "c" * 32, "d" * 32
    with streamed(url, "endless", one) as events, streamed(url, "keep", other) as waiting:
        assert heard(events, "going round")
        assert next(waiting)["fraction"] == 0
        (worker,) = workers(standing.pid)
        os.kill(worker, signal.SIGKILL)
        problem = list(events)[-1]["problem"]
        assert problem["status"] == 503
        assert problem["code"] == "worker_lost"
        assert problem["action"] == "Send it again."
        assert "SIGKILL" in problem["detail"]
        assert list(waiting)[-1]["event"] == "result"
    (successor,) = workers(standing.pid)
    assert successor != worker
    assert standing.figure("nephra_workers_lost_total") == lost + 1
    ended = 'nephra_requests_total{operation="toy/endless",outcome="worker_lost"}'
    assert standing.figure(ended) == 1
    assert standing.figure('nephra_requests_running{operation="toy/endless"}') == 0
    results = standing.data.root / "results"
    assert not (results / one).exists()
    assert list((results / other).glob("*/*"))


def test_an_idle_worker_that_dies_is_replaced(start: Any) -> None:
    """Readiness says so; a request that comes meanwhile waits for the new one."""
    with start() as (process, url):
        os.kill(workers(process.pid)[0], signal.SIGKILL)
        said = (json.loads(line)["message"] for line in process.stderr)
        assert "worker lost" in said
        assert httpx.get(f"{url}/readyz", timeout=60).status_code == 503
        assert httpx.get(f"{url}/v1/models/keep", timeout=60).status_code == 503
        assert httpx.get(f"{url}/operations", timeout=60).status_code == 200
        with streamed(url, "keep") as events:
            assert list(events)[-1]["event"] == "result"
        assert httpx.get(f"{url}/readyz", timeout=60).status_code == 200


def test_as_many_run_at_once_as_are_allowed(start: Any, data: DataRoot) -> None:
    """With NEPHRA_CONCURRENCY=2 two workers work side by side."""
    go = data.root / "go"
    with start(NEPHRA_CONCURRENCY="2", TOY_GO=str(go)) as (process, url):
        assert len(set(workers(process.pid))) == 2
        with streamed(url, "linger") as first, streamed(url, "linger", "b" * 32) as second:
            assert heard(first, "lingering")
            assert heard(second, "lingering")
            go.touch()
            assert [list(events)[-1]["event"] for events in (first, second)] == ["result"] * 2


@pytest.mark.parametrize("stage", ["idle", "gripping"])
def test_a_worker_ends_with_its_server(start: Any, stage: str) -> None:
    """Even one that is stuck, and even if the server has no time for a word."""
    with start() as (process, url):
        if stage == "gripping":
            with streamed(url, "grip") as events:
                assert heard(events, "gripping")
                process.kill()
        else:
            process.kill()
        # The pipe closes when the last process that holds it has ended.
        assert list(process.stderr) is not None


def test_a_worker_inherits_nothing_that_listens(standing: Any) -> None:
    """Its wire is the only socket, and programs that it starts do not hold that either."""
    (worker,) = workers(standing.pid)
    handles = Path(f"/proc/{worker}/fd").iterdir()
    (wire,) = [h.name for h in handles if str(h.readlink()).startswith("socket:")]
    said = Path(f"/proc/{worker}/fdinfo/{wire}").read_text()
    flags = int(next(row.split()[1] for row in said.splitlines() if row.startswith("flags")), 8)
    assert flags & os.O_CLOEXEC


def test_accepted_work_is_finished_at_sigterm(start: Any, data: DataRoot) -> None:
    """What runs and what waits; idle connections do not hold up the end."""
    go = data.root / "go"
    environment = {"NEPHRA_DRAIN_S": "60", "NEPHRA_HEARTBEAT_S": "0.05", "TOY_GO": str(go)}
    with httpx.Client(timeout=60) as idle, start(**environment) as (process, url):
        assert idle.get(f"{url}/healthz").status_code == 200
        with (
            streamed(url, "linger") as running,
            streamed(url, "keep", "b" * 32) as waiting,
            streamed(url, "keep", "c" * 32) as third,
        ):
            assert heard(running, "lingering")
            assert next(waiting)["fraction"] == 0
            assert next(third)["fraction"] == 0
            process.send_signal(signal.SIGTERM)
            _until_refused(url)
            go.touch()
            for events in (running, waiting, third):
                assert list(events)[-1]["event"] == "result"
        assert process.wait(60) == 0
        assert [json.loads(line)["message"] for line in process.stderr][-1] == "ended"


def test_a_second_signal_stops_the_work(start: Any, data: DataRoot) -> None:
    """Running and waiting work hear 503, nothing is left, and the process ends with 0."""
    with start(NEPHRA_DRAIN_S="600", NEPHRA_HEARTBEAT_S="0.05") as (process, url):
        with streamed(url, "endless") as running, streamed(url, "keep", "b" * 32) as waiting:
            assert heard(running, "going round")
            assert next(waiting)["fraction"] == 0
            process.send_signal(signal.SIGTERM)
            _until_refused(url)
            process.send_signal(signal.SIGTERM)
            for events in (running, waiting):
                problem = list(events)[-1]["problem"]
                assert problem["status"] == 503
                assert problem["code"] == "predictor_unavailable"
        assert process.wait(60) == 0
        assert files(data) == ["mask.nii.gz"]


def _until_refused(url: str) -> None:
    """Ask until nobody listens any more."""
    try:
        while True:
            httpx.get(f"{url}/healthz", timeout=60)
    except httpx.HTTPError:
        pass


def test_a_server_can_be_ended_before_it_is_ready(start: Any, data: DataRoot) -> None:
    """A rollout that is taken back need not wait for models to load; the worker ends, too."""
    environment = {"TOY_BUILD": "wait", "TOY_GO": str(data.root / "go"), "NEPHRA_DRAIN_S": "600"}
    with start(until="listening", **environment) as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        # The pipe closes when the last process that holds it has ended.
        assert [json.loads(line)["message"] for line in process.stderr][-1] == "ended"


def test_a_server_can_be_ended_before_it_listens(script: Path, data: DataRoot) -> None:
    """In a container, where nothing is done at SIGTERM unless somebody asked for it."""
    with subprocess.Popen(
        [sys.executable, str(script)],
        env={**os.environ, "NEPHRA_DATA": str(data.root), "NEPHRA_PORT": "0"},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while not workers(process.pid):
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize(
    ("how", "status", "code"), [("refuse", 2, "bundle_invalid"), ("break", 1, "internal_error")]
)
def test_a_server_whose_worker_cannot_be_made_ends(
    script: Path, data: DataRoot, how: str, status: int, code: str
) -> None:
    """With the problem as its last word, and the status that `run` would have."""
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "NEPHRA_DATA": str(data.root), "NEPHRA_PORT": "0", "TOY_BUILD": how},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == status
    problem = json.loads(done.stderr.splitlines()[-1])
    assert problem["code"] == code
    assert "secret" not in str(problem)


def test_metrics_have_a_port_of_their_own(standing: Any) -> None:
    """With NEPHRA_METRICS_PORT; what it serves is what the predictor's own /metrics says."""
    alone = standing.metrics_url
    assert "nephra_requests_waiting 0.0" in httpx.get(alone, timeout=60).text
    assert "operations" not in httpx.get(alone.replace("metrics", "operations"), timeout=60).text
    assert "nephra_requests_waiting 0.0" in httpx.get(f"{standing.url}/metrics", timeout=60).text


def test_a_metrics_port_that_is_taken_is_said(script: Path, data: DataRoot, free_port: int) -> None:
    """As a problem, before anything is served."""
    with socket.create_server(("127.0.0.1", free_port)):
        done = subprocess.run(
            [sys.executable, str(script)],
            env={
                **os.environ,
                "NEPHRA_DATA": str(data.root),
                "NEPHRA_PORT": "0",
                "NEPHRA_METRICS_PORT": str(free_port),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 1
    assert json.loads(done.stderr.splitlines()[-1])["code"] == "port_in_use"
