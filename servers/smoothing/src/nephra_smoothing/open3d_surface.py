"""The surface of one structure by Open3D, an optional engine."""

from __future__ import annotations

from importlib.util import find_spec

from nephra_contract.errors import EngineMissing
from nephra_smoothing.structure import Made, Structure, Wish


def require_open3d() -> None:
    """See that Open3D is there.

    Raises:
        EngineMissing: it is not.
    """
    if find_spec("open3d") is None:
        raise EngineMissing(
            "This service was installed without Open3D, which method 'open3d' needs.",
            "Install nephra-smoothing[open3d], or ask for method 'base' or 'joint'.",
        )


def open3d_surface_of(structure: Structure, wish: Wish) -> Made:
    """Not there yet."""
    raise NotImplementedError
