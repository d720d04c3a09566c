"""The services of one machine: started together, watched, ended together."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from nephra_cli.child import Child, Log, message_of
from nephra_cli.state import Home, Running
from nephra_contract.errors import Conflict, Failed, PathRefused, TimedOut, Unavailable

HOST = "127.0.0.1"
READY_WITHIN_S = 300.0
_GRACE_S = 10.0
_POLL_S = 0.2

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
            said = message_of(answer.text)
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
