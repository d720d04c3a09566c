"""One real nephra for all end-to-end tests: `nephra up` on loopback, a phantom in its data root.

With NEPHRA_URL, NEPHRA_TOKEN and NEPHRA_DATA set, the tests run against that installation
instead; NEPHRA_DATA is its data root as this machine sees it.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import trimesh

from e2e.service import Service, started
from nephra_contract import labels as names
from nephra_contract.nifti import write_image, write_labels
from nephra_contract.results import new_ticket
from nephra_contract.volume import LabelMap
from nephra_phantom import PHASES, Grid, Phantom, centred

#: Coarse, so that the whole suite is a matter of minutes; never a seed of the training.
SEED = 90_001
GRID = centred((112, 96, 96), (3.1, 3.1, 3.1))


@pytest.fixture(scope="session")
def phantom() -> Phantom:
    """The patient of the end-to-end tests."""
    return Phantom(SEED)


@pytest.fixture(scope="session")
def grid() -> Grid:
    """The grid of its images."""
    return GRID


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, phantom: Phantom) -> Iterator[Service]:
    """The running whole, with phantom/{A,P,D}.nii.gz and masks/truth.nii.gz in its data root."""
    if "NEPHRA_URL" in os.environ:
        there = Service(
            os.environ["NEPHRA_URL"], os.environ["NEPHRA_TOKEN"], Path(os.environ["NEPHRA_DATA"])
        )
        _furnish(there.data, phantom)
        yield there
        return
    home = tmp_path_factory.mktemp("nephra")
    data = home / "data"
    data.mkdir()
    _furnish(data, phantom)
    with started(data, home / "state") as running:
        yield running


@pytest.fixture
def inputs(service: Service) -> Iterator[Path]:
    """A fresh folder in the data root, removed afterwards."""
    folder = service.data / f"inputs-{new_ticket()[:8]}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def lone_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A gateway whose predictors are all down."""
    home = tmp_path_factory.mktemp("lone")
    port, closed = _free_port(), _free_port()
    environment = {
        **os.environ,
        "NEPHRA_DATA": str(home),
        "NEPHRA_PORT": str(port),
        "NEPHRA_PREDICTORS": json.dumps(
            dict.fromkeys(("nnunet", "postprocess", "smoothing"), f"http://127.0.0.1:{closed}")
        ),
        "NEPHRA_AUTH": "none",
        "NEPHRA_RETRY_S": "0",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "nephra_gateway"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_until_alive(f"http://127.0.0.1:{port}/healthz")
        yield Service(f"http://127.0.0.1:{port}", "", home, process.pid)
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real CTs and masks; skips where there is none."""
    folder = os.environ.get("NEPHRA_REAL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("NEPHRA_REAL_DATA does not name a folder of real CTs and masks")
    return Path(folder)


@pytest.fixture(scope="session")
def check_scene() -> Callable[[Path, LabelMap], None]:
    """Hold an OBJ against its mask: names, closed, volumes, place."""
    return _check_scene


@pytest.fixture(scope="session")
def family() -> Callable[[int], set[int]]:
    """The ids of a process and all its descendants."""
    return _family


def _family(pid: int) -> set[int]:
    """A process and all its descendants."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(status.parent.name)] = int(status.read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, ValueError):
            continue
    members = {pid}
    while more := {p for p, parent in parents.items() if parent in members} - members:
        members |= more
    return members


def _check_scene(obj: Path, mask: LabelMap) -> None:
    """Each structure of the mask is one closed surface that lies over it."""
    scene = trimesh.load(obj)
    meshes = scene.geometry if isinstance(scene, trimesh.Scene) else {}
    if not meshes:
        meshes = {names.name_of(mask.present[0]): scene}
    assert set(meshes) == {names.name_of(n) for n in mask.present}
    volumes = mask.volumes_ml()
    for number in mask.present:
        name = names.name_of(number)
        mesh = meshes[name]
        mesh.merge_vertices()
        tube = names.table()[number].group in ("artery", "vein", "urinary")
        assert mesh.is_watertight, name
        assert mesh.volume / 1000 == pytest.approx(volumes[number], rel=0.05 if tube else 0.02)
        where = mask.to_world(np.argwhere(mask.voxels == number)) * (-1, -1, 1)
        slack = 1.5 * max(mask.spacing_mm)
        assert (mesh.bounds[0] > where.min(axis=0) - slack).all(), name
        assert (mesh.bounds[1] < where.max(axis=0) + slack).all(), name


def _furnish(data: Path, phantom: Phantom) -> None:
    for phase in PHASES:
        path = data / "phantom" / f"{phase}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, phantom.volume(phase, GRID))
    truth = phantom.labels(GRID, "A")
    (data / "masks").mkdir(exist_ok=True)
    write_labels(data / "masks" / "truth.nii.gz", truth)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _wait_until_alive(url: str, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    with httpx.Client(transport=httpx.HTTPTransport(retries=50)) as client:
        while time.monotonic() < deadline:
            try:
                client.get(url)
            except httpx.TransportError:
                continue
            return
    raise TimeoutError(url)
