from __future__ import annotations

import hashlib
import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn

import databases
from nephra_contract.nifti import write_image
from nephra_contract.paths import DataRoot
from nephra_contract.volume import Volume
from nephra_gateway.app import create
from nephra_gateway.settings import GatewaySettings
from nephra_gateway.store.database import Database
from nephra_serving.settings import ServingSettings
from nephra_serving.testing import served

TOKEN = "correct horse battery staple"
Gateway = Callable[..., Any]


@pytest.fixture(scope="session")
def toys() -> ModuleType:
    """The toy predictors' module."""
    path = Path(__file__).with_name("toys.py")
    spec = importlib.util.spec_from_file_location("toys", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["toys"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataRoot:
    """A data root with the three phases of one patient, and another patient's."""
    root = tmp_path_factory.mktemp("data")
    for phase in "APD":
        _image(root / f"{phase}.nii.gz", 0)
    _image(root / "elsewhere.nii.gz", 500)
    (root / "text.nii.gz").write_text("this is no image")
    return DataRoot(root)


def _image(path: Path, z_mm: float) -> None:
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[2, 3] = z_mm
    voxels = np.full((12, 12, 12), 40, dtype=np.int16)
    write_image(path, Volume(voxels, affine))


@pytest.fixture(scope="session")
def predictors(toys: ModuleType, data: DataRoot) -> Iterator[dict[str, str]]:
    """Three toy predictors, served: name → URL."""
    settings = ServingSettings(data=data.root, heartbeat_s=0.2)
    with ExitStack() as stack:
        runners = {
            "nnunet": toys.Nnunet(data),
            "postprocess": toys.postprocess(data),
            "smoothing": toys.smoothing(data),
        }
        yield {n: stack.enter_context(served(n, r, settings)) for n, r in runners.items()}


@pytest.fixture
def gates(toys: ModuleType) -> Iterator[Any]:
    """Holds toy steps; all are let go in the end."""
    toys.GATES.clear()
    yield toys.GATES
    toys.GATES.go.set()
    toys.GATES.clear()


@pytest.fixture(scope="session")
def tokens_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that opens the gateway for TOKEN."""
    path = tmp_path_factory.mktemp("tokens") / "tokens"
    path.write_text(f"{'0' * 64}\n{hashlib.sha256(TOKEN.encode()).hexdigest()}\n")
    return path


@contextmanager
def running(settings: GatewaySettings) -> Iterator[str]:
    """A gateway, served on a free port; yields its URL."""
    listening = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            listening.set()

    server = Server(
        uvicorn.Config(
            create(settings), host="127.0.0.1", port=0, log_config=None, timeout_graceful_shutdown=1
        )
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        assert listening.wait(60)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(60)


@pytest.fixture(scope="session")
def start() -> Any:
    """Serve a gateway with settings of one's own."""
    return running


@pytest.fixture(scope="session")
def settings(data: DataRoot, predictors: dict[str, str], tokens_file: Path) -> GatewaySettings:
    """Settings of a gateway before the toy predictors."""
    return GatewaySettings(
        data=data.root, predictors=predictors, tokens_file=tokens_file, heartbeat_s=0.2
    )


@pytest.fixture(scope="session")
def gateway(settings: GatewaySettings) -> Iterator[httpx.Client]:
    """A client with the token, of a gateway before the toy predictors.

    What was made for another test is made again: toys are asked the same over and over.
    """
    headers = {"Authorization": f"Bearer {TOKEN}", "Cache-Control": "no-cache"}
    with (
        running(settings) as url,
        httpx.Client(base_url=url, headers=headers, timeout=60) as client,
    ):
        yield client


@pytest.fixture(scope="session")
def postgresql() -> Iterator[databases.Server]:
    """A PostgreSQL server that all tests share; who stops it makes one of their own."""
    why = databases.absent()
    if why is not None:
        pytest.skip(why)
    with databases.postgres() as server:
        # After it has started nobody takes over from others for the time of a lease.
        threading.Event().wait(databases.LEASE_S)
        yield server


@pytest.fixture(scope="session")
def template(postgresql: databases.Server) -> str:
    """The name of a migrated database; copies of it are made sooner than it was."""
    url = postgresql.create()
    Database.of(url).migrate()
    return databases.name_of(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A migrated database of each kind, with nothing in it."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'gateway.db'}"
        Database.of(url).migrate()
        yield url
    else:
        server: databases.Server = request.getfixturevalue("postgresql")
        url = server.create(request.getfixturevalue("template"))
        yield url
        server.drop(url)


@pytest.fixture
def asker(database_url: str) -> Iterator[databases.Asker]:
    """A migrated database of each kind, asked by code that is no coroutine."""
    with databases.asking(database_url) as found:
        yield found
