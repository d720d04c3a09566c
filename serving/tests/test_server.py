from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from nephra_contract.paths import DataRoot


def listening(pid: int) -> set[str]:
    """The addresses in hexadecimal on which a process listens, IPv4 and IPv6."""
    inodes = set()
    for handle in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(handle.readlink())
        except FileNotFoundError:
            continue  # closed since it was listed
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    addresses = set()
    for table in ("tcp", "tcp6"):
        for row in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            columns = row.split()
            if columns[3] == "0A" and columns[9] in inodes:
                addresses.add(columns[1].split(":")[0])
    return addresses


def test_only_loopback_listens(standing: Any) -> None:
    """Nothing but 127.0.0.1; KServe's own 0.0.0.0 and its gRPC port are not there."""
    assert httpx.get(f"{standing.url}/readyz", timeout=60).status_code == 200
    assert listening(standing.pid) == {"0100007F"}


def test_a_container_listens_where_it_is_told(start: Any) -> None:
    """NEPHRA_HOST=0.0.0.0 is what images set; the check above can therefore fail."""
    with start(until="listening", NEPHRA_HOST="0.0.0.0") as (process, _):
        assert listening(process.pid) == {"00000000"}


def test_sigterm_cancels_running_work_and_ends(start: Any, data: DataRoot) -> None:
    """The caller hears 503, nothing is left in the data root, and the process ends with 0."""
    with start() as (process, url):
        with httpx.stream(
            "POST",
            f"{url}/v1/models/endless:predict",
            json={"instances": [{"mask_path": "mask.nii.gz"}]},
            headers={"accept": "application/x-ndjson"},
            timeout=60,
        ) as answer:
            lines = answer.iter_lines()
            assert json.loads(next(lines))["event"] == "progress"
            process.send_signal(signal.SIGTERM)
            last = [json.loads(line) for line in lines][-1]
        assert last["problem"]["status"] == 503
        assert process.wait(60) == 0
        assert sorted(p.name for p in data.root.rglob("*") if p.is_file()) == ["mask.nii.gz"]


def test_the_server_ends_with_its_parent(script: Path, data: DataRoot) -> None:
    """With NEPHRA_EXIT_WITH_PARENT a predictor outlives `nephra up` by no more than a moment."""
    launch = "import subprocess, sys; p = subprocess.Popen(sys.argv[1:]); print(p.pid); p.wait()"
    with subprocess.Popen(  # the parent of the server
        [sys.executable, "-c", launch, sys.executable, str(script)],
        env={
            **os.environ,
            "NEPHRA_DATA": str(data.root),
            "NEPHRA_PORT": "0",
            "NEPHRA_EXIT_WITH_PARENT": "1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stderr is not None
        assert any(json.loads(line)["message"] == "ready" for line in parent.stderr)
        parent.kill()
        # The pipe closes when the last process that holds it has ended.
        lines = [json.loads(line) for line in parent.stderr]
        assert lines[-1]["message"] == "ended"


def test_arguments_reach_us_and_not_kserve(standing: Any) -> None:
    """KServe parses the command line at import; ours must not mean something to it."""
    assert httpx.get(f"{standing.url}/healthz", timeout=60).json() == {"status": "alive"}
