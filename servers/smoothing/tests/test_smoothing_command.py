"""The predictor without a server."""

from __future__ import annotations

from pathlib import Path

import trimesh

from nephra_contract.nifti import write_labels
from nephra_contract.paths import DataRoot
from nephra_contract.progress import Progress
from nephra_contract.testing import anatomy
from nephra_smoothing.__main__ import build


def test_from_a_mask_file_to_a_scene_on_disk(tmp_path: Path) -> None:
    """The runner reads a mask and leaves OBJ, MTL, GLB and a manifest that others can read."""
    write_labels(tmp_path / "mask.nii.gz", anatomy())
    runner = build(DataRoot(tmp_path))
    assert [d.name for d in runner.describe()] == ["smoothing/base"]
    answer = runner.run(
        "base", {"mask_path": "mask.nii.gz", "structures": ["kidney", "artery"]}, Progress()
    )
    assert answer.mtl_path is not None
    assert answer.glb_path is not None
    assert (tmp_path / answer.mtl_path).is_file()
    objects = trimesh.load_scene(tmp_path / str(answer.obj_path)).geometry
    assert set(objects) == {"kidney_right", "kidney_left", "aorta", "artery"}
    assert set(trimesh.load_scene(tmp_path / answer.glb_path).geometry) == set(objects)
    assert set(answer.volumes_ml) == set(objects)
    for name, mesh in objects.items():
        assert mesh.is_watertight
        assert (
            abs(mesh.volume / 1000 / answer.report["structures"][name]["mask_volume_ml"] - 1) < 0.02
        )
