from __future__ import annotations

import functools
import importlib.util
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import httpx
import numpy as np
import pytest

from nephra_contract.nifti import write_labels
from nephra_contract.paths import DataRoot
from nephra_contract.volume import LabelMap
from nephra_serving.settings import ServingSettings
from nephra_serving.testing import served

SCRIPT = Path(__file__).with_name("toy_predictor.py")


@pytest.fixture(scope="session")
def toy() -> ModuleType:
    """The toy predictor's module."""
    spec = importlib.util.spec_from_file_location("toy_predictor", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["toy_predictor"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def free_port() -> int:
    """A port of loopback on which nobody listens."""
    return _free_port()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def script() -> Path:
    """The toy predictor as a program."""
    return SCRIPT


@pytest.fixture
def data(tmp_path: Path) -> DataRoot:
    """A data root with `mask.nii.gz`: 60 voxels of label 2, 40 of label 3."""
    return _fill(tmp_path)


def _fill(folder: Path) -> DataRoot:
    voxels = np.zeros((10, 10, 10), dtype=np.uint8)
    voxels.flat[:60] = 2
    voxels.flat[60:100] = 3
    write_labels(folder / "mask.nii.gz", LabelMap(voxels, np.diag([1.0, 2.0, 3.0, 1.0])))
    return DataRoot(folder)


@pytest.fixture
def url(toy: ModuleType, data: DataRoot) -> Iterator[str]:
    """The toy predictor, served."""
    for event in (toy.BEGUN, toy.ENDED):
        event.clear()
    toy.ENDS.clear()
    with served("toy", toy.build(data), ServingSettings(data=data.root)) as address:
        yield address


Started = tuple["subprocess.Popen[str]", str]


@contextmanager
def _started(
    data: DataRoot, *arguments: str, until: str = "ready", **environment: str
) -> Iterator[Started]:
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), *arguments],
        env={**os.environ, "NEPHRA_DATA": str(data.root), "NEPHRA_PORT": "0", **environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        yield process, _url(process, until)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.fixture
def start(data: DataRoot) -> Callable[..., AbstractContextManager[Started]]:
    """Start the toy predictor as a process of its own; yields it and its URL when it is ready."""
    return functools.partial(_started, data)


@dataclass(frozen=True)
class Standing:
    """A toy predictor that several tests ask, since starting one takes seconds.

    Args:
        pid: of the server.
        url: of the server.
        metrics_url: where its metrics are shown alone.
        data: its data root.
    """

    pid: int
    url: str
    metrics_url: str
    data: DataRoot

    def figure(self, name: str) -> float:
        """A figure of its metrics."""
        rows = httpx.get(self.metrics_url, timeout=60).text.splitlines()
        return sum(float(row.split()[-1]) for row in rows if row.startswith(name))


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    """The toy predictor as a process, started with arguments, ready whenever a test begins."""
    data, port = _fill(tmp_path_factory.mktemp("standing")), _free_port()
    environment = {"HEARTBEAT_S": "0.05", "STOP_S": "0.2", "METRICS_PORT": str(port)}
    with _started(
        data,
        *("serve", "--port", "0", "--host", "127.0.0.1"),
        **{f"NEPHRA_{name}": value for name, value in environment.items()},
    ) as (process, url):
        yield Standing(process.pid, url, f"http://127.0.0.1:{port}/metrics", data)


def _url(process: subprocess.Popen[str], until: str) -> str:
    """Read the log until it says that it listens, and `until`."""
    assert process.stderr is not None
    said: dict[str, dict[str, object]] = {}
    for text in process.stderr:
        line = json.loads(text)
        said[line["message"]] = line
        if said.keys() >= {"listening", until}:
            return f"http://{said['listening']['host']}:{said['listening']['port']}"
    raise AssertionError("the server ended before it listened")
