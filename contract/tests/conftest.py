"""Small volumes and a data root for the contract's tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nephra_contract.paths import DataRoot
from nephra_contract.testing import anatomy
from nephra_contract.volume import LabelMap, Volume


@pytest.fixture
def data(tmp_path: Path) -> DataRoot:
    """An empty data root."""
    (tmp_path / "data").mkdir()
    return DataRoot(tmp_path / "data")


@pytest.fixture
def labels() -> LabelMap:
    """The made-up anatomy."""
    return anatomy()


@pytest.fixture
def image() -> Volume:
    """A small CT-like volume: (6, 5, 4) int16, every voxel its own value."""
    affine = np.array([[2.0, 0, 0, -10], [0, 1.5, 0, 20], [0, 0, 5.0, -700], [0, 0, 0, 1]])
    return Volume(np.arange(120, dtype=np.int16).reshape(6, 5, 4) - 1024, affine)
