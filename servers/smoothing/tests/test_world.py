"""From voxels to the files: each structure lies in the patient where its voxels lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray

from nephra_contract import labels as names
from nephra_contract.progress import Progress
from nephra_contract.scene_files import write_scene
from nephra_contract.testing import ORIENTATIONS, reorient
from nephra_contract.volume import LabelMap
from nephra_smoothing.operations.base import Base, base

Affine = NDArray[np.float64]
LIVER, TUMOR = names.numbers()["liver"], names.TUMOR
RIGHT, LEFT = names.KIDNEY_RIGHT, names.KIDNEY_LEFT
PLAIN = np.array([[1.0, 0, 0, -22], [0, 1.2, 0, 30], [0, 0, 1.5, -940], [0, 0, 0, 1.0]])
OBLIQUE = np.array(
    [[0.9, -0.5, 0.2, -14], [0.4, 1.0, 0.3, -60], [-0.3, 0.0, 1.3, 800], [0, 0, 0, 1]]
)
SHEARED = np.array([[1.0, 0.3, 0, -26], [0, 1.0, 0.4, 45], [0, 0, 1.4, -300], [0, 0, 0, 1.0]])
ODDLY_STORED = ORIENTATIONS[29]
METHODS = ("base", "joint")

#: RAS+ mm → the axes and units of the file, written here once more.
TO_FILE = {
    "LPS": np.diag([-1.0, -1.0, 1.0]),
    "RAS": np.eye(3),
    "glTF": 1e-3 * np.array([[-1.0, 0, 0], [0, 0, 1], [0, 1, 0]]),
}


def patient(affine: Affine) -> LabelMap:
    """Right kidney with a tumour at its front, left kidney lower; no two axes are alike."""
    i, j, k = np.indices((46, 26, 28)).astype(float)

    def ball(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Any:
        return sum(((x - c) / r) ** 2 for x, c, r in zip((i, j, k), centre, radii, strict=True)) < 1

    voxels = np.zeros(i.shape, np.uint8)
    voxels[ball((34.2, 11, 15), (8, 7, 10))] = RIGHT
    voxels[ball((36.2, 17.5, 19.3), (5.3, 5.2, 5.4))] = TUMOR
    voxels[ball((10, 12, 11), (7, 6, 9))] = LEFT
    return LabelMap(voxels, affine)


def written(labels: LabelMap, folder: Path, **parameters: Any) -> Path:
    """The folder with the scene's files."""
    write_scene(folder, base(labels, Base(**parameters), Progress()).value, "scene")
    return folder


def check(found: dict[str, Any], labels: LabelMap, space: str) -> None:
    """Centroid within a tenth of a voxel; bounds within half a voxel of the outer faces' middles.

    Half a voxel along a world axis is half of what a voxel, however it lies, takes up there.
    """
    matrix = TO_FILE[space]
    assert set(found) == {names.name_of(n) for n in labels.present}
    linear = labels.affine[:3, :3]
    steps = np.abs(matrix @ linear)
    to_face, half_voxel = steps.max(axis=1) / 2, steps.sum(axis=1) / 2
    for number in labels.present:
        read = found[names.name_of(number)]
        centres = labels.to_world(np.argwhere(labels.voxels == number)) @ matrix.T
        off = np.linalg.inv(matrix @ linear) @ (read.center_mass - centres.mean(axis=0))
        assert np.abs(off).max() < 0.1, (number, off)
        outer = [centres.min(axis=0) - to_face, centres.max(axis=0) + to_face]
        assert (np.abs(read.bounds - outer) < half_voxel).all(), number
        assert read.is_watertight
        assert read.volume > 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("affine", [OBLIQUE], ids=["oblique"])
def test_every_order_of_the_axes_gives_the_same_place(
    tmp_path: Path, affine: Affine, method: str
) -> None:
    """All 48: the OBJ read back agrees with the mask in world mm, as does the GLB."""
    for orientation in ORIENTATIONS:
        labels = reorient(patient(affine), orientation)
        folder = written(labels, tmp_path, method=method)
        check(dict(trimesh.load_scene(folder / "scene.obj").geometry), labels, "LPS")
        check(dict(trimesh.load_scene(folder / "scene.glb").geometry), labels, "glTF")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("space", ["LPS", "RAS"])
@pytest.mark.parametrize("affine", [PLAIN, OBLIQUE, SHEARED], ids=["plain", "oblique", "sheared"])
def test_sheared_and_oblique_grids_are_where_they_are(
    tmp_path: Path, affine: Affine, space: str, method: str
) -> None:
    """Stored in an odd order too, in both spaces of the OBJ."""
    labels = reorient(patient(affine), ODDLY_STORED)
    folder = written(labels, tmp_path, space=space, method=method)
    check(dict(trimesh.load_scene(folder / "scene.obj").geometry), labels, space)
    check(dict(trimesh.load_scene(folder / "scene.glb").geometry), labels, "glTF")


@pytest.mark.parametrize("method", METHODS)
def test_left_stays_left_in_every_file(tmp_path: Path, method: str) -> None:
    """The patient's left is +x in LPS and glTF, -x in RAS."""
    labels = reorient(patient(PLAIN), ODDLY_STORED)
    for space, sign in (("LPS", 1), ("RAS", -1)):
        folder = written(labels, tmp_path, space=space, method=method)
        for suffix, towards_left in (("obj", sign), ("glb", 1)):
            found = trimesh.load_scene(folder / f"scene.{suffix}").geometry
            left, right = found["kidney_left"], found["kidney_right"]
            assert (towards_left * left.center_mass[0]) > (towards_left * right.center_mass[0])
