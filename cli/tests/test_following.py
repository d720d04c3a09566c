"""What Ctrl-C does, on a terminal and elsewhere."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli_toys.gateway import TICKET, Script, progress, served

COMMAND = [sys.executable, "-m", "nephra_cli"]
RUN = ("run", "smoothing/base", "mask_path=m")
CTRL_C = b"\x03"


@pytest.fixture
def script() -> Script:
    """Work that is half done, and goes on until it is cancelled."""
    return Script([progress(0.1, "begun", seconds_left=300.0), progress(0.5, "half", position=2)])


@pytest.fixture
def url(script: Script) -> Iterator[str]:
    """A gateway that has it."""
    with served(script) as url:
        yield url


@pytest.fixture(autouse=True)
def interrupts() -> Iterator[None]:
    """Where tests run in the background SIGINT is ignored, and children would inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Terminal:
    """A command on a terminal, as a user sees it and types."""

    def __init__(self, *arguments: str) -> None:
        self.said = ""
        with warnings.catch_warnings():
            # Python 3.12 warns of threads that do not live on in a fork; this one runs nothing.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid, self._handle = pty.fork()
        if self.pid == 0:
            os.environ |= {"TERM": "xterm", "COLUMNS": "120"}
            os.execv(sys.executable, [*COMMAND, *arguments])

    def wait_for(self, text: str, since: int = 0) -> None:
        """Read until a text is there."""
        until = time.monotonic() + 60
        while text not in self.said[since:]:
            readable, _, _ = select.select([self._handle], [], [], until - time.monotonic())
            assert readable, f"{text!r} did not come: {self.said!r}"
            try:
                chunk = os.read(self._handle, 4096)
            except OSError:  # the other end is closed
                chunk = b""
            assert chunk, f"{text!r} did not come: {self.said!r}"
            self.said += chunk.decode()

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._handle, keys)

    def end(self) -> int:
        """Read the rest; gives the exit status."""
        try:
            while chunk := os.read(self._handle, 4096):
                self.said += chunk.decode()
        except OSError:
            pass
        os.close(self._handle)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def arguments(url: str, folder: Path, *command: str) -> list[str]:
    """A command for that gateway, which finds nothing of the user's."""
    return [*command, "--url", url, "--state", str(folder)]


def test_the_bar_shows_stage_share_and_time(script: Script, url: str, tmp_path: Path) -> None:
    """And how many come before."""
    terminal = Terminal(*arguments(url, tmp_path, *RUN))
    terminal.wait_for("half (2 before it)")
    terminal.wait_for("50%")
    terminal.type(CTRL_C)
    terminal.wait_for("Cancel it?")
    terminal.type(b"n\n")
    terminal.end()


def test_yes_cancels(script: Script, url: str, tmp_path: Path) -> None:
    """The ticket is cancelled, and the command ends when that is so."""
    terminal = Terminal(*arguments(url, tmp_path, *RUN))
    terminal.wait_for("half")
    terminal.type(CTRL_C)
    terminal.wait_for("Cancel it?")
    assert script.state == "running"
    terminal.type(b"y\n")
    assert terminal.end() == 130
    assert script.state == "cancelled"
    assert "nephra: cancelled." in terminal.said
    assert "Traceback" not in terminal.said


@pytest.mark.parametrize("keys", [b"n\n", b"No\n", CTRL_C, b"\x04"])
def test_no_leaves_it_running(script: Script, url: str, tmp_path: Path, keys: bytes) -> None:
    """So does a second Ctrl-C, and the end of the input; how to find it again is said."""
    terminal = Terminal(*arguments(url, tmp_path, *RUN))
    terminal.wait_for("half")
    terminal.type(CTRL_C)
    terminal.wait_for("further ")
    terminal.type(keys)
    assert terminal.end() == 130
    assert script.state == "running"
    assert f"nephra watch {TICKET}" in terminal.said


def test_enter_goes_on(script: Script, url: str, tmp_path: Path) -> None:
    """It is watched further, from where it was."""
    terminal = Terminal(*arguments(url, tmp_path, *RUN))
    terminal.wait_for("half")
    terminal.type(CTRL_C)
    terminal.wait_for("further ")
    asked = len(script.asked)
    terminal.type(b"\n")
    script.wait_for_asked(asked + 1)
    assert script.asked[-1][2]["Last-Event-ID"] == "2"
    terminal.type(CTRL_C)
    terminal.wait_for("further ", since=terminal.said.index("further ") + 9)
    terminal.type(b"y\n")
    assert terminal.end() == 130
    assert script.state == "cancelled"


def test_leaving_off_watching_cancels_nothing(script: Script, url: str, tmp_path: Path) -> None:
    """Whoever watches need not be who asked."""
    terminal = Terminal(*arguments(url, tmp_path, "watch", TICKET))
    terminal.wait_for("half")
    terminal.type(CTRL_C)
    assert terminal.end() == 130
    assert script.state == "running"
    assert f"nephra watch {TICKET}" in terminal.said


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_without_a_terminal_being_interrupted_cancels(
    script: Script, url: str, tmp_path: Path, kind: signal.Signals
) -> None:
    """Nobody can be asked: the ticket is cancelled, 130 and a word."""
    process = subprocess.Popen(
        [*COMMAND, *arguments(url, tmp_path, *RUN)],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stderr is not None
        assert "begun" in process.stderr.readline()
        process.send_signal(kind)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130
    assert script.state == "cancelled"
    assert "cancelled" in said
    assert "Traceback" not in said


def test_a_terminate_signal_asks_nobody(script: Script, url: str, tmp_path: Path) -> None:
    """Whoever ends a session waits for no answer."""
    terminal = Terminal(*arguments(url, tmp_path, *RUN))
    terminal.wait_for("half")
    os.kill(terminal.pid, signal.SIGTERM)
    assert terminal.end() == 130
    assert script.state == "cancelled"
    assert "Cancel it?" not in terminal.said
