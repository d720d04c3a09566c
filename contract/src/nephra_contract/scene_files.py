"""OBJ with MTL, and GLB: written here, stated units and axes."""

from __future__ import annotations

from pathlib import Path

from nephra_contract.scene import Scene


def write_scene(folder: Path, scene: Scene, stem: str) -> dict[str, str]:
    """Write `stem`.obj, `stem`.mtl and `stem`.glb; gives the answer's member → file name."""
    raise NotImplementedError
