"""The services of one machine: started together, watched, ended together."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import httpx

from nephra_cli.state import Home, Running
from nephra_contract.errors import Conflict, Failed, PathRefused, TimedOut, Unavailable

HOST = "127.0.0.1"
READY_WITHIN_S = 180.0
_GRACE_S = 10.0
_POLL_S = 0.1

#: predictor → the module that `python -m` runs
PREDICTORS: Mapping[str, str] = {
    "nnunet": "nephra_nnunet",
    "postprocess": "nephra_postprocess",
    "smoothing": "nephra_smoothing",
}
GATEWAY = "nephra_gateway"


class ServiceDied(Failed):
    """A service ended although nobody asked it to."""

    status = 503
    default_code = "service_died"
    title = "A service ended"


class Log:
    """The one log: lines of all services, each a JSON object that names its service."""

    def __init__(self, path: Path) -> None:
        if path.exists():
            path.replace(path.with_suffix(".log.1"))
        self._file: IO[str] = path.open("w", encoding="utf-8")
        self._turn = threading.Lock()

    def write(self, service: str, line: str) -> None:
        """Append a line; what is not JSON is made so."""
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict):
            entry = {"level": "info", "message": line}
        with self._turn:
            if not self._file.closed:
                self._file.write(json.dumps({"service": service, **entry}) + "\n")
                self._file.flush()

    def close(self) -> None:
        """Later lines are dropped."""
        with self._turn:
            self._file.close()


class Child:
    """One service as a process of its own."""

    def __init__(self, name: str, module: str, environment: Mapping[str, str], log: Log) -> None:
        self.name = name
        self.last: deque[str] = deque(maxlen=20)
        self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
            [sys.executable, "-m", module],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # A group of its own: Ctrl-C reaches us alone, and we end them in order.
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(log,), daemon=True)
        self._reader.start()

    def _read(self, log: Log) -> None:
        stream = self._process.stdout
        if stream is None:
            return
        for raw in stream:
            line = raw.decode("utf-8", "replace").rstrip()
            if line:
                self.last.append(line)
                log.write(self.name, line)

    @property
    def status(self) -> int | None:
        """The exit status, or None while it runs."""
        return self._process.poll()

    def said(self) -> str:
        """Its last log line in words."""
        self._reader.join(timeout=1.0)
        return _message(self.last[-1]) if self.last else "nothing"

    def terminate(self) -> None:
        """Ask it to end."""
        if self.status is None:
            self._process.terminate()

    def finish(self, until: float) -> None:
        """Wait for its end until a monotonic time, then kill it and its own children."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=max(until - time.monotonic(), 0.05))
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join(timeout=1.0)
        if self._process.stdout is not None:
            self._process.stdout.close()


@dataclass
class Services:
    """Gateway and predictors of one data root, up."""

    running: Running
    token: str
    children: list[Child] = field(default_factory=list)

    def check(self) -> None:
        """Look whether all still live.

        Raises:
            ServiceDied: one does not.
        """
        for child in self.children:
            if child.status is not None:
                raise ServiceDied(
                    f"The service '{child.name}' ended with status {child.status}; "
                    f"it said last: {child.said()}",
                    f"The log has more: {self.running.log}",
                )

    def watch(self, stop: threading.Event) -> None:
        """Return when `stop` is set.

        Raises:
            ServiceDied: a service ended before that.
        """
        while not stop.wait(_POLL_S):
            self.check()


@contextlib.contextmanager
def services(
    data: Path,
    *,
    port: int = 0,
    state: Path | None = None,
    bundles: Path | None = None,
    temporary: bool = False,
    waiting: Callable[[], None] = lambda: None,
) -> Iterator[Services]:
    """Start gateway and predictors on loopback, and end them with the block.

    Args:
        data: the data root; made if it is not there.
        port: of the gateway; 0 takes a free one.
        state: base folder for token, lock and log.
        bundles: folder of nnU-Net bundles; None for the predictor's own default.
        temporary: not to be found by other commands.
        waiting: called again and again until all are ready; may raise to give up.

    Raises:
        Conflict: the data root or the port is taken.
        ServiceDied, TimedOut: a service did not come up.
    """
    _check_installed()
    home = Home.of(data, state)
    with home.claim():
        _make(data)
        port = _free_ports(1)[0] if port == 0 else _check_port(port)
        token = home.issue_token()
        running = Running(
            url=f"http://{HOST}:{port}",
            token_file=str(home.token_file),
            data=str(home.data),
            log=str(home.log),
            pid=os.getpid(),
            temporary=temporary,
        )
        log = Log(home.log)
        up = Services(running, token)
        try:
            _start(up, home, bundles, log)
            _wait_ready(up, waiting)
            home.remember(running)
            yield up
        finally:
            _stop(up.children)
            log.close()


def _start(up: Services, home: Home, bundles: Path | None, log: Log) -> None:
    common = {
        **os.environ,
        "NEPHRA_DATA": str(home.data),
        "NEPHRA_HOST": HOST,
        "NEPHRA_EXIT_WITH_PARENT": "1",
        "PYTHONUNBUFFERED": "1",
    }
    if bundles is not None:
        common["NEPHRA_BUNDLES"] = str(bundles.resolve())
    urls = {}
    ports = _free_ports(len(PREDICTORS))
    for (name, module), port in zip(PREDICTORS.items(), ports, strict=True):
        urls[name] = f"http://{HOST}:{port}"
        up.children.append(Child(name, module, {**common, "NEPHRA_PORT": str(port)}, log))
    gateway = {
        **common,
        "NEPHRA_PORT": up.running.url.rsplit(":", 1)[1],
        "NEPHRA_PREDICTORS": json.dumps(urls),
        "NEPHRA_TOKENS_FILE": str(home.digests_file),
    }
    gateway.pop("NEPHRA_AUTH", None)
    up.children.append(Child("gateway", GATEWAY, gateway, log))


def _wait_ready(up: Services, waiting: Callable[[], None]) -> None:
    until = time.monotonic() + READY_WITHIN_S
    said = "the gateway does not answer yet"
    with httpx.Client(base_url=up.running.url, timeout=5.0, trust_env=False) as http:
        while time.monotonic() < until:
            waiting()
            up.check()
            try:
                answer = http.get("/readyz", headers={"Authorization": f"Bearer {up.token}"})
            except httpx.HTTPError:
                time.sleep(_POLL_S)
                continue
            if answer.is_success:
                return
            said = _message(answer.text)
            time.sleep(_POLL_S)
    raise TimedOut(
        f"The services were not ready within {READY_WITHIN_S:.0f} s: {said}",
        f"The log has more: {up.running.log}",
    )


def _stop(children: list[Child]) -> None:
    """The gateway first, so that nothing new reaches the predictors."""
    for child in reversed(children):
        child.terminate()
    until = time.monotonic() + _GRACE_S
    for child in reversed(children):
        child.finish(until)


def _message(line: str) -> str:
    """What a log line or a problem document says."""
    try:
        entry: Any = json.loads(line)
    except ValueError:
        return line[:400]
    if isinstance(entry, dict):
        for member in ("detail", "message", "event", "msg"):
            if entry.get(member):
                return str(entry[member])[:400]
    return line[:400]


def _check_installed() -> None:
    absent = [m for m in (GATEWAY, *PREDICTORS.values()) if importlib.util.find_spec(m) is None]
    if absent:
        raise Unavailable(
            f"The services are not installed here: {', '.join(absent)}.",
            "Install them with `pip install nephra-cli[local]`, or name a gateway with --url.",
            code="services_missing",
        )


def _make(data: Path) -> None:
    try:
        data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PathRefused(
            f"The data root {data} cannot be made: {error.strerror}.", "Choose another --data."
        ) from error


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on; held together, so that they differ."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((HOST, 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def _check_port(port: int) -> int:
    with socket.socket() as probe:
        # As the gateway's own server does: a port in its closing minute is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise Conflict(
                f"Port {port} cannot be used: {error.strerror}.",
                "Choose another one with --port, or --port 0 for any free one.",
                code="port_in_use",
            ) from error
    return port
