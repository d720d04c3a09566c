"""Care follows the width of a tube where it is, not its label."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from nephra_contract import labels as names
from nephra_contract.progress import Progress
from nephra_contract.scene import Mesh
from nephra_contract.volume import LabelMap
from nephra_smoothing.calibre import wide_share
from nephra_smoothing.operations.base import Base, base
from nephra_smoothing.shape import Structure

TRUNK, BRANCH = np.array([20.2, 21.8]), np.array([21.8, 45.3])
WIDE, THIN = 10.0, 1.6


def tree() -> NDArray[np.bool_]:
    """A trunk of ten voxels along z that leans, with a branch of less than two along x."""
    x, y, z = np.indices((74, 44, 90)).astype(float)
    trunk = np.hypot(x - TRUNK[0] - (z - 45) / 15, y - TRUNK[1]) <= WIDE
    branch = (np.hypot(y - BRANCH[0], z - BRANCH[1]) <= THIN) & (x > 20) & (x < 68)
    return np.asarray(trunk | branch, dtype=bool)


def made(mask: NDArray[np.bool_]) -> Mesh:
    """The surface as an artery, with all its triangles."""
    labels = LabelMap(mask * np.uint8(names.ARTERY), np.eye(4))
    mesh: Mesh = base(labels, Base(decimation_error_mm=0), Progress()).value.meshes[0]
    return mesh


def test_a_trunk_is_wide_and_its_branch_is_not() -> None:
    """The share is 1 on the trunk, 0 on the branch, and falls between the two."""
    grid = Structure(tree(), np.eye(4))
    trunk, near, far = (
        wide_share(grid, np.array([p], float)) for p in ((10, 22, 20), (36, 22, 44), (50, 22, 44))
    )
    assert trunk is not None
    assert near is not None
    assert far is not None
    assert trunk[0] == pytest.approx(1)
    assert near[0] < 1
    assert far[0] == 0


@pytest.mark.parametrize("length", [1, 5])
def test_thick_slices_do_not_count_as_width(length: int) -> None:
    """Voxels are as long as their longest side: ten pixels are two slices of five."""
    mask = tree()[:40, :, ::length]
    shares = wide_share(Structure(mask, np.diag([1, 1, length, 1.0])), np.array([[10.0, 22, 20]]))
    assert (shares is None) is (length == 5)


def test_a_wide_vessel_has_no_terraces() -> None:
    """Normals of a leaning trunk of ten voxels are off by less than five degrees."""
    mesh = made(tree())
    side = (np.abs(mesh.vertices[:, 2] - 45) > 8) & (np.abs(mesh.vertices[:, 2] - 45) < 36)
    x, y, z = mesh.vertices.T
    out = np.stack([x - TRUNK[0] - (z - 45) / 15, y - TRUNK[1], np.zeros_like(x)], axis=1)
    out[:, 2] = -out[:, 0] / 15
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    angles = np.degrees(np.arccos(np.clip((mesh.normals * out).sum(axis=1), -1, 1)))
    assert angles[side].mean() < 5


def test_a_branch_keeps_its_course_beside_a_wide_trunk() -> None:
    """Its vertices are those that it has where there is no trunk, but for the volume held."""
    mesh = made(tree())
    alone = tree()
    alone[:32] = False
    bare = made(alone)
    there = mesh.vertices[(mesh.vertices[:, 0] > 44)]
    here = bare.vertices[(bare.vertices[:, 0] > 44)]
    assert len(there) == len(here)
    assert np.ptp(there[:, 0]) == pytest.approx(np.ptp(here[:, 0]), abs=0.15)
    off = np.hypot(there[:, 1] - BRANCH[0], there[:, 2] - BRANCH[1])
    assert off.mean() == pytest.approx(
        np.hypot(here[:, 1] - BRANCH[0], here[:, 2] - BRANCH[1]).mean(), abs=0.1
    )
