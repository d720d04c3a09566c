"""Meshes compressed by Draco, for KHR_draco_mesh_compression; an optional engine."""

from __future__ import annotations

from importlib.util import find_spec

from nephra_contract.errors import EngineMissing


def require_draco() -> None:
    """See that Draco is there.

    Raises:
        EngineMissing: it is not.
    """
    if find_spec("DracoPy") is None:
        raise EngineMissing(
            "This service was installed without DracoPy, which compression 'draco' needs.",
            "Install nephra-contract[draco], or ask for compression 'none'.",
        )
