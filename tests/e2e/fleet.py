"""Gateways and predictors as single processes, each of which can be killed, frozen and restarted.

What an orchestrator does with pods, done by hand: a process that is killed is started again on
the same port.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import httpx

PREDICTORS = {
    "nnunet": "nephra_nnunet",
    "postprocess": "nephra_postprocess",
    "smoothing": "nephra_smoothing",
}
GATEWAY = "nephra_gateway"
PATIENCE_S = 300.0


@dataclass
class Member:
    """One process.

    Args:
        name: its own.
        module: what it runs.
        environment: what it is told.
        log: where its lines go.
    """

    name: str
    module: str
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] = field(init=False)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.environment['NEPHRA_PORT']}"

    def start(self) -> None:
        """Start it, or start it again."""
        stream: BinaryIO
        with self.log.open("ab") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.module], env=self.environment, stderr=stream
            )

    def wait(self) -> None:
        """Wait until it is ready."""
        path = "/healthz" if self.module == GATEWAY else "/readyz"
        end = time.monotonic() + PATIENCE_S
        while True:
            assert time.monotonic() < end, f"{self.name} is not ready: {self.log}"
            assert self.process.poll() is None, f"{self.name} has ended: {self.log}"
            try:
                if httpx.get(self.url + path, timeout=5, trust_env=False).is_success:
                    return
            except httpx.HTTPError:
                time.sleep(0.05)

    def kill(self) -> None:
        """End it at once, and its workers with it."""
        self.process.kill()
        self.process.wait(60)

    def workers(self) -> list[int]:
        """The processes that it has started."""
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in found.split()]

    def freeze(self) -> None:
        """Stop it where it is."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    def lines(self) -> list[dict[str, Any]]:
        """What it has said, as far as that is JSON."""
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return [line for line in found if isinstance(line, dict)]


@dataclass
class Fleet:
    """All processes on one data root.

    Args:
        data: the data root.
        members: by name.
    """

    data: Path
    members: dict[str, Member]

    @property
    def gateways(self) -> list[Member]:
        """Those that can be asked."""
        return [m for m in self.members.values() if m.module == GATEWAY]

    def client(self, number: int = 0) -> httpx.Client:
        """Ask one of the gateways."""
        return httpx.Client(base_url=self.gateways[number].url, timeout=60, trust_env=False)

    def runs(self, ticket: str) -> list[str]:
        """The operations that predictors have finished for a ticket, each as often as it was."""
        return [
            line["operation"]
            for member in self.members.values()
            if member.module != GATEWAY
            for line in member.lines()
            if line.get("ticket") == ticket
            and line.get("message") == "request"
            and line.get("status") == 200
            and str(line.get("path", "")).endswith(":predict")
        ]


@contextmanager
def fleet(
    data: Path,
    folder: Path,
    settings: Mapping[str, str],
    *,
    gateways: int = 2,
    predictors: Mapping[str, str] = PREDICTORS,
) -> Iterator[Fleet]:
    """Start gateways and predictors; they end with the block.

    Args:
        data: the data root.
        folder: for logs.
        settings: of all of them, as `NEPHRA_*`.
        gateways: how many.
        predictors: name → module.
    """
    modules = dict(predictors)
    ports = _free_ports(len(modules) + gateways)
    common = {**os.environ, "NEPHRA_DATA": str(data), "NEPHRA_AUTH": "none", **settings}
    common["NEPHRA_EXIT_WITH_PARENT"] = "1"
    urls = {n: f"http://127.0.0.1:{p}" for n, p in zip(modules, ports, strict=False)}
    common["NEPHRA_PREDICTORS"] = json.dumps(urls)
    modules |= {f"gateway-{n}": GATEWAY for n in range(gateways)}
    members = {
        name: Member(name, module, {**common, "NEPHRA_PORT": str(port)}, folder / f"{name}.log")
        for (name, module), port in zip(modules.items(), ports, strict=True)
    }
    try:
        for member in members.values():
            member.start()
        for member in members.values():
            member.wait()
        yield Fleet(data, members)
    finally:
        for member in members.values():
            if hasattr(member, "process"):
                member.process.send_signal(signal.SIGCONT)
                member.kill()


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()
