"""Masks that no anatomy is like: each is answered, none with a crash or an open surface."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray

from nephra_contract import labels as names
from nephra_contract.errors import StructureMissing
from nephra_contract.operation import Outcome
from nephra_contract.progress import Progress
from nephra_contract.scene_files import write_scene
from nephra_contract.volume import LabelMap
from nephra_smoothing.operations.base import Base, base

LIVER, ARTERY, TUMOR = names.numbers()["liver"], names.ARTERY, names.TUMOR
SPACING = np.diag([0.9, 1.1, 2.0, 1.0])
METHODS = ("base", "joint")
methods = pytest.mark.parametrize("method", METHODS)


def made(voxels: NDArray[Any], method: str, **parameters: Any) -> Outcome:
    """The operation's outcome, every mesh of which is held to be a solid of its voxels' volume."""
    labels = LabelMap(voxels, SPACING)
    outcome = base(labels, Base.model_validate({"method": method, **parameters}), Progress())
    for mesh in outcome.value.meshes:
        solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
        assert solid.is_watertight, mesh.label
        assert solid.is_winding_consistent, mesh.label
        voxels_mm3 = labels.counts[mesh.label] * labels.voxel_volume_mm3
        assert mesh.volume_mm3 == pytest.approx(voxels_mm3, rel=0.02), mesh.label
    return outcome


def empty(shape: tuple[int, int, int] = (18, 20, 16)) -> NDArray[np.uint8]:
    """Room for a few voxels."""
    return np.zeros(shape, np.uint8)


def specks(count: int, shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    """So many voxels, three empty ones between any two."""
    mask = np.zeros(shape, bool)
    places = np.argwhere(np.ones([n // 4 for n in shape], bool)) * 4 + 1
    chosen = np.random.default_rng(5).permutation(len(places))[:count]
    mask[tuple(places[chosen].T)] = True
    return mask


@methods
def test_an_empty_mask_is_refused(method: str) -> None:
    """A clear 422, no empty scene."""
    with pytest.raises(StructureMissing) as refusal:
        made(empty(), method)
    assert (refusal.value.status, refusal.value.code) == (422, "structure_missing")
    assert refusal.value.action


@methods
@pytest.mark.parametrize("number", [LIVER, ARTERY])
@pytest.mark.parametrize("at", [(5, 6, 7), (0, 0, 0), (17, 19, 15)])
def test_one_voxel_is_a_small_body_at_its_place(
    at: tuple[int, int, int], number: int, method: str
) -> None:
    """In the middle and in the corners of the grid."""
    voxels = empty()
    voxels[at] = number
    (mesh,) = made(voxels, method).value.meshes
    np.testing.assert_allclose(
        mesh.vertices.mean(axis=0), np.array(at) * SPACING.diagonal()[:3], atol=1e-4
    )


@methods
def test_a_mask_that_touches_all_borders_is_closed_there(method: str) -> None:
    """One label, and two that share the grid."""
    voxels = empty() + np.uint8(LIVER)
    made(voxels, method)
    voxels[:, 9:] = TUMOR
    made(voxels, method)


@methods
@pytest.mark.parametrize("number", [LIVER, ARTERY])
def test_three_thousand_specks_are_one_object(number: int, method: str) -> None:
    """All of them stay, each closed."""
    mask = specks(3000, (60, 64, 60))
    (mesh,) = made(mask * np.uint8(number), method).value.meshes
    solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    assert solid.body_count == 3000


@methods
def test_specks_of_every_label_are_named_objects(method: str) -> None:
    """Numbers of the table on some of 3 000 specks, and numbers that no table has."""
    known = [*list(names.table())[::5], 251, 252]
    numbers = np.resize(np.array(known, np.uint8), 3000)
    voxels = empty((60, 64, 60))
    voxels[specks(3000, voxels.shape)] = numbers
    outcome = made(voxels, method)
    assert [m.label for m in outcome.value.meshes] == sorted(known)
    assert "label_251" in outcome.report["structures"]


@methods
def test_more_labels_than_any_table_has_are_as_many_objects(tmp_path: Path, method: str) -> None:
    """Hundreds of labels of one voxel; their files can be read."""
    voxels = np.zeros((60, 64, 60), np.uint16)
    voxels[specks(300, voxels.shape)] = 1000 + np.arange(300)
    scene = made(voxels, method).value
    assert len(scene.meshes) == 300
    write_scene(tmp_path, scene, "scene")
    assert len(trimesh.load_scene(tmp_path / "scene.glb").geometry) == 300


@methods
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_one_slice_is_a_plate(axis: int, method: str) -> None:
    """Within a volume, and a volume of one slice."""
    voxels = empty()
    np.moveaxis(voxels, axis, 0)[7, 3:12, 4:13] = LIVER
    made(voxels, method)
    made(np.ascontiguousarray(np.take(voxels, [7], axis=axis)), method)


@methods
def test_slices_of_512_by_651_are_fine(method: str) -> None:
    """No power of two, not square."""
    i, j = np.indices((512, 651))
    voxels = empty((512, 651, 4))
    voxels[..., 1:3][(np.hypot(i - 250, j - 300) < 200)] = LIVER
    voxels[..., 1:3][(np.hypot(i - 250, j - 300) < 60)] = TUMOR
    made(voxels, method)


@methods
def test_a_hollow_shell_keeps_its_cavity(method: str) -> None:
    """The inner wall looks inward; a label that fills the cavity is another object."""
    voxels = empty()
    voxels[2:16, 2:18, 2:14] = LIVER
    voxels[5:13, 5:15, 5:11] = 0
    (mesh,) = made(voxels, method).value.meshes
    pieces = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).split()
    assert sorted(np.sign(p.volume) for p in pieces) == [-1, 1]
    voxels[5:13, 5:15, 5:11] = TUMOR
    made(voxels, method)


@methods
@pytest.mark.parametrize("step", [(1, 1, 0), (1, 0, -1), (1, 1, 1), (1, -1, 1), (-1, 1, 1)])
@pytest.mark.parametrize("size", [1, 3])
def test_voxels_may_touch_at_an_edge_or_a_corner(
    step: tuple[int, int, int], size: int, method: str
) -> None:
    """Of one label, in the empty and within another label; and of two labels."""
    first = np.array([8, 9, 7])
    second = first + np.array(step) * size
    for one, other, around in ((LIVER, LIVER, 0), (LIVER, LIVER, TUMOR), (LIVER, ARTERY, 0)):
        voxels = empty() + np.uint8(around)
        for number, at in ((one, first), (other, second)):
            voxels[tuple(slice(a, a + size) for a in at)] = number
        made(voxels, method)


@methods
def test_a_chessboard_of_labels_is_taken_apart(method: str) -> None:
    """Every voxel touches its like at edges and corners only, of one, two and three labels."""
    chess = np.indices((9, 8, 7)).sum(axis=0)
    made((chess % 2 * LIVER).astype(np.uint8), method)
    made(np.where(chess % 2, LIVER, TUMOR).astype(np.uint8), method)
    made(np.array([LIVER, TUMOR, ARTERY], np.uint8)[chess % 3], method)


@methods
@pytest.mark.parametrize("smoothing_mm", [0.0, 0.5, 10.0])
def test_a_chessboard_stays_where_it_is_however_smooth(
    tmp_path: Path, smoothing_mm: float, method: str
) -> None:
    """No blur describes it; its files pass the check against the mask's bounds all the same."""
    voxels = (np.indices((12, 13, 11)).sum(axis=0) % 2 * LIVER).astype(np.uint8)
    write_scene(tmp_path, made(voxels, method, smoothing_mm=smoothing_mm).value, "scene")


@methods
@pytest.mark.parametrize("labels", [2, 5])
def test_noise_is_taken_apart(labels: int, method: str) -> None:
    """Any way in which labels can meet at a corner turns up here."""
    table = np.array([0, LIVER, TUMOR, ARTERY, 1, 2], np.uint8)
    voxels = table[np.random.default_rng(labels).integers(0, labels + 1, (14, 15, 13))]
    made(voxels, method)
