"""`make demo`'s command, as a new user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nephra_contract.nifti import read_labels

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif("NEPHRA_URL" in os.environ, reason="the demo starts a nephra of its own"),
]

MOST_MEMORY_GIB = 6


@pytest.fixture(scope="module")
def demo(
    tmp_path_factory: pytest.TempPathFactory, family: Callable[[int], set[int]]
) -> tuple[Path, dict[str, Any], float]:
    """(folder that it left, what it printed, peak memory of all its processes in GiB)."""
    if not Path("/proc/self/smaps_rollup").exists():
        pytest.skip("the memory of processes cannot be read here")
    out = tmp_path_factory.mktemp("demo") / "demo-out"
    command = [sys.executable, "-m", "nephra_cli", "demo", "--out", str(out), "--json"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=_environment()
    )
    peak, over = [0.0], threading.Event()
    watcher = threading.Thread(target=_watch, args=(process.pid, family, peak, over))
    watcher.start()
    said, errors = process.communicate()
    over.set()
    watcher.join()
    assert process.returncode == 0, errors
    return out, json.loads(said), peak[0]


def test_it_leaves_all_that_readme_promises(demo: tuple[Path, dict[str, Any], float]) -> None:
    """Phases, masks, scene in three files, manifest and picture; nothing empty."""
    out, _, _ = demo
    promised = (
        "arterial.nii.gz", "portal.nii.gz", "delayed.nii.gz", "mask.nii.gz",
        "scene.obj", "scene.mtl", "scene.glb", "manifest.json", "overview.png",
    )  # fmt: skip
    for name in promised:
        assert (out / name).stat().st_size > 100, name
    assert (out / "overview.png").read_bytes().startswith(b"\x89PNG")


def test_its_objects_are_closed_and_lie_over_the_mask(
    demo: tuple[Path, dict[str, Any], float], check_scene: Any
) -> None:
    """Volumes within 2 % (tubes 5 %), in LPS mm."""
    out, _, _ = demo
    check_scene(out / "scene.obj", read_labels(out / "mask.nii.gz"))


def test_its_table_says_volume_dice_and_seconds(
    demo: tuple[Path, dict[str, Any], float],
) -> None:
    """Each structure against the truth, each step with its time."""
    _, said, _ = demo
    assert said["dice"]["artery"] > 0.8
    assert said["dice"]["kidney_left"] > 0.8
    assert said["volumes_ml"]["liver"] > 500
    assert {"totalseg", "sample", "merge", "scene"} <= set(said["seconds"]["of the case"])


def test_its_processes_stay_within_their_memory(
    demo: tuple[Path, dict[str, Any], float],
) -> None:
    """All of them together, pages that they share counted once."""
    _, _, peak_gib = demo
    sys.stderr.write(f"peak memory of the demo: {peak_gib:.2f} GiB\n")
    assert 0.2 < peak_gib < MOST_MEMORY_GIB


def _environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("NEPHRA_")}


def _watch(
    pid: int, family: Callable[[int], set[int]], peak: list[float], over: threading.Event
) -> None:
    while not over.wait(0.5):
        peak[0] = max(peak[0], sum(_pss_gib(p) for p in family(pid)))


def _pss_gib(pid: int) -> float:
    """Proportional set size: shared pages are divided among those who share them."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 2**20
    except OSError:
        pass  # it has ended
    return 0.0
