"""Levels of detail of method base, and the options of its files."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from scipy.spatial import cKDTree

from nephra_contract import labels as names
from nephra_contract.errors import EngineMissing
from nephra_contract.progress import Progress
from nephra_contract.scene_files import write_scene
from nephra_contract.testing import anatomy
from nephra_contract.volume import LabelMap
from nephra_smoothing.levels import levels_of
from nephra_smoothing.operations.base import Base, base
from nephra_smoothing.surface import Surface

LIVER = names.numbers()["liver"]


def ball() -> LabelMap:
    """Of 16 mm, and a speck beside it."""
    i, j, k = np.indices((40, 41, 42))
    inside = (i - 19.3) ** 2 + (j - 20.1) ** 2 + (k - 20.4) ** 2 < 16**2
    inside[38, 38, 38] = True
    return LabelMap((inside * LIVER).astype(np.uint8), np.eye(4))


def test_each_level_has_a_quarter_of_the_triangles() -> None:
    """Closed, of the same volume, with an error that grows; the report says both."""
    outcome = base(ball(), Base(lod=2, decimation_error_mm=0), Progress())
    (mesh,) = outcome.value.meshes
    said = outcome.report["structures"]["liver"]["levels"]
    assert [s["triangles"] for s in said] == [len(level.faces) for level in mesh.levels]
    faces, error_mm = len(mesh.faces), 0.0
    assert len(mesh.levels) == 2
    for level in mesh.levels:
        assert len(level.faces) == pytest.approx(faces / 4, rel=0.1)
        assert error_mm < level.error_mm < 1
        faces, error_mm = len(level.faces), level.error_mm
        solid = trimesh.Trimesh(level.vertices, level.faces, process=False)
        assert solid.is_watertight
        assert solid.volume == pytest.approx(mesh.volume_mm3, rel=0.01)
        fine = solid.subdivide_to_size(0.4)
        off_mm, _ = cKDTree(fine.vertices).query(mesh.vertices[::7])
        assert np.percentile(off_mm, 99) < level.error_mm + 0.25


def test_what_cannot_get_coarser_has_no_levels() -> None:
    """A surface of few triangles; nothing is asked of it."""
    cube = trimesh.creation.box()
    surface = Surface(np.asarray(cube.vertices) * 10, np.asarray(cube.faces, np.int64))
    assert levels_of(surface, 3) == ()
    assert base(ball(), Base(), Progress()).value.meshes[0].levels == ()


@pytest.mark.parametrize("method", ["base", "joint"])
def test_all_options_at_once_can_be_written(tmp_path: Path, method: str) -> None:
    """Levels, Draco and normals of a whole anatomy; the files are read back by `write_scene`."""
    pytest.importorskip("DracoPy", reason="DracoPy is optional")
    wish = {"method": method, "lod": 2, "compression": "draco", "normals": True}
    scene = base(anatomy(), Base.model_validate(wish), Progress()).value
    made = write_scene(tmp_path, scene, "scene")
    content = (tmp_path / made["glb_path"]).read_bytes()
    (size,) = struct.unpack_from("<I", content, 12)
    document: dict[str, Any] = json.loads(content[20 : 20 + size])
    assert set(document["extensionsUsed"]) == {"KHR_draco_mesh_compression", "MSFT_lod"}
    assert "\nvn " in (tmp_path / made["obj_path"]).read_text()


def test_draco_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not installed, the error comes first, and says what to install."""
    from nephra_contract import draco

    monkeypatch.setattr(draco, "find_spec", lambda _: None)
    with pytest.raises(EngineMissing) as refusal:
        base(ball(), Base(compression="draco"), Progress())
    assert "[draco]" in refusal.value.action
