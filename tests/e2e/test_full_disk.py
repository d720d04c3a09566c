"""A full disk is said, and when there is room again all goes on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from e2e.fleet import Fleet, fleet
from nephra_contract.nifti import read_labels, write_labels
from nephra_phantom import Phantom, centred

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif("NEPHRA_URL" in os.environ, reason="it starts processes of its own"),
]

GRID = centred((112, 96, 96), (3.1, 3.1, 3.1))
ASKED = {"mask_path": "mask.nii.gz"}
FRESH = {"Cache-Control": "no-cache"}


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A data root of a few megabytes, with a mask in it."""
    folder = tmp_path / "data"
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mounting, check=False).returncode != 0:
        pytest.skip("a small file system of its own needs root")
    try:
        write_labels(folder / "mask.nii.gz", Phantom(90_005).labels(GRID, "A"))
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _fill(folder: Path) -> Path:
    """Take all the room that there is."""
    filling = folder / "filling"
    with filling.open("wb", buffering=0) as stream:
        try:
            while stream.write(bytes(4096)):
                pass
        except OSError:
            pass
    return filling


def _whole(running: Fleet) -> bool:
    """Whether nothing half lies among the results."""
    made = (running.data / "results").glob("*/*")
    return all((p / "manifest.json").is_file() and p.name[0] != "." for p in made)


@pytest.mark.parametrize("apart", [True, False], ids=["database-elsewhere", "database-beside"])
def test_a_full_disk_is_a_clear_failure_and_passes(
    small: Path, tmp_path: Path, apart: bool
) -> None:
    """507, or 503 where the database has no room either; nothing half stays; then it works."""
    elsewhere = {"NEPHRA_DATABASE": f"sqlite:///{tmp_path / 'gateway.db'}"} if apart else {}
    modules = {"postprocess": "nephra_postprocess"}
    with (
        fleet(small, tmp_path, elsewhere, gateways=1, predictors=modules) as running,
        running.client() as client,
    ):
        first = client.post("/postprocess/vessel", json=ASKED)
        assert first.status_code == 200, first.text
        filling = _fill(small)
        refused = _ask(client)
        expected = ("no_space", 507) if apart else ("database_unavailable", 503)
        assert (refused.json()["code"], refused.status_code) == expected
        filling.unlink()
        again = _ask(client)
        assert again.status_code == 200, again.text
        masks = [read_labels(small / a.json()["mask_path"]).voxels for a in (first, again)]
        assert (masks[0] == masks[1]).all()
        assert _whole(running)


def _ask(client: httpx.Client) -> httpx.Response:
    return client.post("/postprocess/vessel", json=ASKED, headers=FRESH, timeout=120)
