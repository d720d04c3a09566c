"""What the tests of this package share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real CTs and masks; tests skip where it is absent."""
    folder = os.environ.get("NEPHRA_REAL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("NEPHRA_REAL_DATA names no folder of real CTs and masks")
    return Path(folder)
