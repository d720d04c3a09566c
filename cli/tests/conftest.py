"""One real nephra for the tests of the command line, and a small mask for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from nephra_cli.state import Running
from nephra_contract import labels as names
from nephra_contract.nifti import write_labels
from nephra_contract.volume import LabelMap


@dataclass(frozen=True)
class Up:
    """A `nephra up` as a process of its own.

    Args:
        running: what it printed.
        state: its state folder.
        process: the command.
    """

    running: Running
    state: Path
    process: subprocess.Popen[str]


TOYS = [sys.executable, str(Path(__file__).with_name("toy_services.py"))]


def start_up(nephra: list[str], data: Path, state: Path) -> Up:
    """Start `nephra up --json` and wait until it says that it is ready."""
    process = subprocess.Popen(
        [*nephra, "up", "--json", "--port", "0", "--data", str(data), "--state", str(state)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "nephra up ended before it was ready"
    return Up(Running(**json.loads(line)), state, process)


def end(up: Up) -> int:
    """Tell it to end, if it still lives, and give its exit status."""
    if up.process.poll() is None:
        up.process.send_signal(signal.SIGTERM)
    status = up.process.wait(timeout=60)
    if up.process.stdout is not None:
        up.process.stdout.close()
    return status


@pytest.fixture
def own_up(tmp_path: Path) -> Iterator[Up]:
    """A nephra of toy services, one test's own, to be ill-treated."""
    started = start_up(TOYS, tmp_path / "data", tmp_path / "state")
    yield started
    end(started)


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A nephra that is up for all tests of the session."""
    home = tmp_path_factory.mktemp("up")
    started = start_up([sys.executable, "-m", "nephra_cli"], home / "data", home / "state")
    yield started
    end(started)


@pytest.fixture(autouse=True)
def nobodys_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test finds a nephra of the user, or leaves traces in their folders."""
    for name in [n for n in os.environ if n.startswith("NEPHRA_") and n != "NEPHRA_REAL_DATA"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg-state"))


@pytest.fixture
def mask_file(tmp_path: Path) -> Path:
    """Two balls, a right and a left kidney, as NIfTI outside of every data root."""
    path = tmp_path / "outside" / "kidneys.nii.gz"
    path.parent.mkdir()
    write_labels(path, two_kidneys())
    return path


def two_kidneys() -> LabelMap:
    """Balls of 10 mm radius at x = +30 mm (right) and x = -30 mm (left) on a 2 mm grid."""
    shape = (48, 24, 24)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -(np.array(shape) - 1.0)
    world = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    world_mm = world * 2.0 + affine[:3, 3]
    voxels = np.zeros(shape, dtype=np.uint8)
    for x_mm, number in ((30, names.KIDNEY_RIGHT), (-30, names.KIDNEY_LEFT)):
        voxels[np.linalg.norm(world_mm - (x_mm, 0, 0), axis=-1) <= 10] = number
    return LabelMap(voxels, affine)
