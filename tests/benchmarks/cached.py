"""How long a cached answer takes: `PYTHONPATH=tests python -m benchmarks.cached`.

Real gateways and a real predictor as processes of their own, on SQLite or on a PostgreSQL server
that is started for it; 32 clients on connections of their own, each asking again as soon as it
has its answer, or at a given rate. The clients share the machine with what they measure.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import databases
from e2e.fleet import Fleet, fleet
from nephra_contract.nifti import write_labels
from nephra_phantom import Phantom, centred

GRID = centred((96, 80, 80), (3.6, 3.6, 3.6))
OPERATION, REQUEST = "postprocess/vessel", {"mask_path": "mask.nii.gz"}

#: Milliseconds that are promised: at the median, and of 99 of 100.
GOAL_MS, GOAL_P99_MS = 50.0, 150.0


class Asker:
    """One client on one connection."""

    def __init__(self, url: str) -> None:
        host, port = url.removeprefix("http://").split(":")
        body = json.dumps(REQUEST).encode()
        self._host, self._port = host, int(port)
        self._asked = (
            f"POST /{OPERATION} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    async def run(self, until_s: float, pause_s: float, took_ms: list[float]) -> None:
        """Ask until a moment; `pause_s` from one question to the next, if there is time."""
        reader, writer = await asyncio.open_connection(self._host, self._port)
        while (begun := time.perf_counter()) < until_s:
            writer.write(self._asked)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            assert b"x-nephra-cache: hit" in head.lower(), head
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            ended = time.perf_counter()
            took_ms.append((ended - begun) * 1000)
            await asyncio.sleep(max(0.0, begun + pause_s - ended))
        writer.close()


async def load(urls: list[str], clients: int, seconds: float, per_s: float) -> list[float]:
    """Have many ask at once; gives milliseconds of each answer."""
    took_ms: list[float] = []
    until_s = time.perf_counter() + seconds
    pause_s = clients / per_s if per_s else 0.0
    askers = [Asker(urls[n % len(urls)]) for n in range(clients)]
    await asyncio.gather(*(a.run(until_s, pause_s, took_ms) for a in askers))
    return took_ms


async def at_once(running: Fleet, count: int) -> dict[str, Any]:
    """Ask the same that nobody has asked before, many times at one moment."""
    import httpx

    urls = [g.url for g in running.gateways]
    limits = httpx.Limits(max_connections=count)
    async with httpx.AsyncClient(timeout=300, trust_env=False, limits=limits) as client:
        posts = [
            client.post(f"{urls[n % len(urls)]}/{OPERATION}", json=REQUEST) for n in range(count)
        ]
        answers = await asyncio.gather(*posts)
    assert all(a.status_code == 200 for a in answers), {a.status_code for a in answers}
    runs = [
        line
        for line in running.members["postprocess"].lines()
        if line.get("message") == "request" and str(line.get("path", "")).endswith(":predict")
    ]
    return {
        "asked": count,
        "runs": len(runs),
        "paths": len({a.json()["mask_path"] for a in answers}),
    }


@contextlib.contextmanager
def database(kind: str) -> Iterator[dict[str, str]]:
    """The settings that name a database of this kind."""
    if kind == "sqlite":
        yield {}
        return
    from nephra_gateway.store.database import Database

    with databases.postgres(durable=True) as server:
        url = server.create()
        Database.of(url).migrate()
        yield {"NEPHRA_DATABASE": url}


def measure(kind: str, gateways: int, options: argparse.Namespace) -> dict[str, Any]:
    """One database, some gateways."""
    with tempfile.TemporaryDirectory() as folder, database(kind) as settings:
        home = Path(folder)
        data = home / "data"
        data.mkdir()
        write_labels(data / "mask.nii.gz", Phantom(90_004).labels(GRID, "A"))
        modules = {"postprocess": "nephra_postprocess"}
        with fleet(data, home, settings, gateways=gateways, predictors=modules) as running:
            once = asyncio.run(at_once(running, options.at_once))
            urls = [g.url for g in running.gateways]
            asyncio.run(load(urls, options.clients, 2.0, 0.0))
            before_s = cpu_s(running)
            took_ms = asyncio.run(load(urls, options.clients, options.seconds, options.per_s))
            used_s = cpu_s(running) - before_s
    return {
        "database": kind,
        "gateways": gateways,
        "clients": options.clients,
        "answers": len(took_ms),
        "per_s": round(len(took_ms) / options.seconds),
        "median_ms": round(statistics.median(took_ms), 1),
        "p99_ms": round(statistics.quantiles(took_ms, n=100)[98], 1),
        "gateway_cpu_ms_each": round(used_s * 1000 / len(took_ms), 2),
        "same_at_once": once,
    }


def cpu_s(running: Fleet) -> float:
    """CPU seconds that the gateways have used."""
    ticks = 0
    for gateway in running.gateways:
        stat = Path(f"/proc/{gateway.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(stat[11]) + int(stat[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Measure, print JSON; 1 where the goal is missed or something was made twice."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"])
    parser.add_argument("--gateways", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--per-s", type=float, default=0.0, help="0: as fast as answers come")
    parser.add_argument("--at-once", type=int, default=100)
    options = parser.parse_args()
    found = [measure(k, g, options) for k in options.databases for g in options.gateways]
    machine = {"python": platform.python_version(), "cores": os.cpu_count()}
    sys.stdout.write(json.dumps({"machine": machine, "measured": found}, indent=2) + "\n")
    good = all(
        m["median_ms"] < GOAL_MS and m["p99_ms"] < GOAL_P99_MS and m["same_at_once"]["runs"] == 1
        for m in found
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
