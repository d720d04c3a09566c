"""One patient, rendered once for all tests."""

from __future__ import annotations

import pytest

from nephra_contract.volume import LabelMap, Volume
from nephra_phantom import PRESETS, Grid, Phantom, Phase


@pytest.fixture(scope="session")
def phantom() -> Phantom:
    """A patient."""
    return Phantom(11)


@pytest.fixture(scope="session")
def small() -> Grid:
    """The small preset."""
    return PRESETS["small"]


@pytest.fixture(scope="session")
def images(phantom: Phantom, small: Grid) -> dict[Phase, Volume]:
    """The three phases on the small grid."""
    phases: tuple[Phase, ...] = ("A", "P", "D")
    return {phase: phantom.volume(phase, small) for phase in phases}


@pytest.fixture(scope="session")
def truth(phantom: Phantom, small: Grid) -> LabelMap:
    """What the arterial phase shows, on the small grid."""
    return phantom.labels(small)
