from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest


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
        line = json.loads(process.stderr.readline())
        assert line["message"] == "listening"
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
