"""`nephra up` as users run it."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from typer.testing import CliRunner

from nephra_cli.app import app

if TYPE_CHECKING:
    from cli.tests.conftest import Up

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def descendants(pid: int) -> set[int]:
    """A process and all below it, from /proc."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if fields[0] != "Z":
                parents[int(entry.name)] = int(fields[1])
    found = {pid}
    while more := {p for p, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def listening(pids: set[int]) -> list[str]:
    """Addresses on which these processes listen, as hexadecimal of /proc/net/tcp*."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                inodes.add(str(link.readlink()))
            except OSError:
                continue
    found = []
    for table in ("tcp", "tcp6"):
        path = Path("/proc/net") / table
        for line in path.read_text().splitlines()[1:] if path.exists() else []:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                found.append(fields[1].split(":")[0])
    return found


def ended(pid: int) -> bool:
    """Whether a process is no more, or only waits to be reaped by whoever inherited it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


@linux_only
def test_all_services_listen_on_loopback_alone(up: Up) -> None:
    """Gateway and three predictors, and nothing for other machines."""
    addresses = listening(descendants(up.running.pid))
    assert len(addresses) >= 4
    assert set(addresses) == {"0100007F"}


def test_the_token_lets_in_and_nothing_else_does(up: Up) -> None:
    """The file is its owner's, its content works, no content does not."""
    file = Path(up.running.token_file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not file.is_relative_to(up.running.data)
    address, token = f"{up.running.url}/operations", file.read_text().strip()
    assert httpx.get(address, headers={"Authorization": f"Bearer {token}"}).status_code == 200
    assert httpx.get(address).status_code == 401
    assert httpx.get(address, headers={"Authorization": "Bearer x"}).status_code == 401


def test_one_log_has_lines_of_every_service(up: Up) -> None:
    """Each line is JSON and names the service that wrote it; the token is in none."""
    text = Path(up.running.log).read_text()
    services = {json.loads(line)["service"] for line in text.splitlines()}
    assert {"gateway", "nnunet", "postprocess", "smoothing"} <= services
    assert Path(up.running.token_file).read_text().strip() not in text


def test_a_second_one_on_the_same_data_is_refused(up: Up) -> None:
    """With the address of the first, in a sentence."""
    again = ["up", "--data", up.running.data, "--state", str(up.state), "--port", "0"]
    said = CliRunner().invoke(app, again)
    assert said.exit_code == 1
    assert f"already up on {up.running.data}, at {up.running.url}" in said.stderr
    assert "Traceback" not in said.stderr


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    """Before anything is started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        said = CliRunner().invoke(
            app,
            ["up", "--data", str(tmp_path / "d"), "--state", str(tmp_path / "s"), "--port", port],
        )
    assert said.exit_code == 1
    assert f"Port {port} cannot be used" in said.stderr


def test_a_service_that_cannot_start_is_named(tmp_path: Path) -> None:
    """The sentence says which one, and what it said last; nothing else stays up."""
    toys = Path(__file__).with_name("toy_services.py")
    failed = subprocess.run(
        [sys.executable, str(toys), "up", "--port", "0", "--data", str(tmp_path / "d")],
        env={**os.environ, "TOY_FAILS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert failed.returncode == 1
    assert re.search(
        r"The service '(one|two|three)' ended with status 1; it said last: the toy is broken",
        failed.stderr,
    )
    assert "Traceback" not in failed.stderr


@linux_only
def test_being_told_to_end_ends_all_services(own_up: Up) -> None:
    """SIGTERM: a clean exit, no process and no secret left."""
    services = descendants(own_up.running.pid) - {own_up.running.pid}
    assert len(services) >= 4
    own_up.process.send_signal(signal.SIGTERM)
    assert own_up.process.wait(timeout=60) == 0
    assert all(ended(pid) for pid in services)
    assert not Path(own_up.running.token_file).exists()


@linux_only
def test_the_death_of_one_service_ends_all(own_up: Up) -> None:
    """Half a nephra is none: the others end, and the status says that something was wrong."""
    services = descendants(own_up.running.pid) - {own_up.running.pid}
    os.kill(max(services), signal.SIGKILL)
    assert own_up.process.wait(timeout=60) == 1
    assert all(ended(pid) for pid in services)


@linux_only
def test_services_do_not_outlive_a_killed_command(own_up: Up) -> None:
    """SIGKILL leaves no time to clean up; the system ends the services all the same."""
    services = descendants(own_up.running.pid) - {own_up.running.pid}
    watched = [os.pidfd_open(pid) for pid in services]
    own_up.process.kill()
    own_up.process.wait(timeout=60)
    for handle in watched:
        # A pidfd becomes readable when its process has ended.
        readable, _, _ = select.select([handle], [], [], 60)
        os.close(handle)
        assert readable
