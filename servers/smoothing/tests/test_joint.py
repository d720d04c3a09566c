"""method joint: neighbours share their walls, with no gap and no overlap."""

from __future__ import annotations

import os
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray

from nephra_contract import labels as names
from nephra_contract.errors import Cancelled, NephraError, StructureMissing
from nephra_contract.nifti import read_labels
from nephra_contract.progress import Progress
from nephra_contract.scene import Mesh
from nephra_contract.sides import assign_sides
from nephra_contract.testing import ORIENTATIONS, OperationTests, anatomy
from nephra_contract.volume import LabelMap
from nephra_smoothing.operations.base import OPERATION, Base, base

KIDNEY, TUMOR, CYST, ARTERY = names.KIDNEY_RIGHT, names.TUMOR, names.CYST, names.ARTERY


class TestJoint(OperationTests):
    """Every promise of an operation holds for this method, too."""

    operation = OPERATION
    orientations = ORIENTATIONS[::5]  # all of them through the files: test_world.py
    parameters: ClassVar[dict[str, Any]] = {"method": "joint"}
    empty_error: ClassVar[type[NephraError] | None] = StructureMissing


def made(labels: LabelMap, **parameters: Any) -> dict[int, Mesh]:
    """The meshes by label."""
    wish = Base.model_validate({"method": "joint", **parameters})
    return {m.label: m for m in base(labels, wish, Progress()).value.meshes}


def solid(mesh: Mesh) -> trimesh.Trimesh:
    """The mesh as trimesh sees it."""
    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)


def inside(labels: LabelMap, centre: Any, radius: float) -> NDArray[np.bool_]:
    """Voxels of a ball, mm."""
    world = labels.to_world(np.argwhere(np.ones(labels.shape, bool))).reshape(*labels.shape, 3)
    return np.asarray(np.linalg.norm(world - centre, axis=-1) < radius)


def kidney(spacing: tuple[float, float, float] = (0.8, 0.8, 0.8)) -> LabelMap:
    """A ball with a tumour in its side, and a cyst in both of them: all pairs touch."""
    shape = [round(45 / s) for s in spacing]
    labels = LabelMap(np.zeros(shape, np.uint8), np.diag([*spacing, 1.0]))
    for number, centre, radius in (
        (KIDNEY, (19.3, 22.1, 22.4), 14.0),
        (TUMOR, (31.2, 22.3, 22.9), 8.0),
        (CYST, (27.0, 15.2, 22.1), 4.5),
    ):
        labels.voxels[inside(labels, centre, radius)] = number
    return labels


def walls_of(meshes: dict[int, Mesh]) -> dict[tuple[int, int], set[tuple[bytes, ...]]]:
    """By pair of labels, the faces that both have, as their corners' bits in any order."""
    faces = {
        n: {frozenset(p.tobytes() for p in corners) for corners in m.vertices[m.faces]}
        for n, m in meshes.items()
    }
    return {
        (a, b): {tuple(sorted(f)) for f in faces[a] & faces[b]} for a, b in combinations(faces, 2)
    }


@pytest.mark.parametrize("error_mm", [0.0, 0.1])
def test_neighbours_share_walls_to_the_last_bit(error_mm: float) -> None:
    """Faces of one that lie within the union are faces of the other, with the same vertices.

    If all faces that are not shared are put together, they are one closed surface that encloses
    the sum of all volumes: there is neither a gap nor an overlap.
    """
    meshes = made(kidney(), decimation_error_mm=error_mm)
    walls = walls_of(meshes)
    assert all(len(shared) > 30 for shared in walls.values())
    within = set().union(*walls.values())
    outer = []
    for mesh in meshes.values():
        corners = mesh.vertices[mesh.faces]
        free = [tuple(sorted(p.tobytes() for p in c)) not in within for c in corners]
        outer.append(corners[np.array(free)])
    soup = np.concatenate(outer)
    hull = trimesh.Trimesh(soup.reshape(-1, 3), np.arange(3 * len(soup)).reshape(-1, 3))
    assert hull.is_watertight
    total_mm3 = sum(m.volume_mm3 for m in meshes.values())
    assert hull.volume == pytest.approx(total_mm3, rel=1e-9)


def test_light_falls_on_a_kidney_as_if_its_tumour_hid_the_wall_between() -> None:
    """Where both meet, the kidney's normals are those of the ball that is seen."""
    meshes = made(kidney(), lod=1)
    shared = walls_of(meshes)
    mesh = meshes[KIDNEY]
    assert mesh.contact is not None
    assert mesh.contact.sum() == sum(len(f) for pair, f in shared.items() if KIDNEY in pair)
    assert all(level.contact is not None for level in mesh.levels)
    rim = np.intersect1d(mesh.faces[mesh.contact], mesh.faces[~mesh.contact])
    outward = mesh.vertices[rim] - (19.3, 22.1, 22.4)
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)

    def off_deg(normals: NDArray[np.float64]) -> float:
        return float(np.degrees(np.arccos(np.median((normals[rim] * outward).sum(axis=1)))))

    assert off_deg(mesh.normals) < 12
    assert off_deg(Mesh(KIDNEY, mesh.vertices, mesh.faces).normals) > 40


def test_no_point_is_in_two_structures_or_between_them() -> None:
    """Random points near the contact: the winding numbers of all structures add up to 0 or 1."""
    meshes = made(kidney())
    points = np.random.default_rng(3).uniform((18, 10, 15), (36, 32, 30), (400, 3))
    winding = np.array([winding_numbers(m, points) for m in meshes.values()])
    np.testing.assert_allclose(winding, np.rint(winding), atol=1e-6)
    assert set(np.rint(winding.sum(axis=0))) == {0.0, 1.0}
    deep = np.linalg.norm(points - (19.3, 22.1, 22.4), axis=1) < 13
    np.testing.assert_allclose(winding.sum(axis=0)[deep], 1, atol=1e-6)


def winding_numbers(mesh: Mesh, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """How often the mesh goes round each point (van Oosterom & Strackee 1983)."""
    a, b, c = (mesh.vertices[mesh.faces[:, k]][None] - points[:, None] for k in range(3))
    la, lb, lc = (np.linalg.norm(v, axis=-1) for v in (a, b, c))
    over = np.einsum("pfi,pfi->pf", a, np.cross(b, c))
    under = la * lb * lc + (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (c * a).sum(-1) * lb
    return np.asarray(np.arctan2(over, under).sum(axis=1) / (2 * np.pi))


@pytest.mark.parametrize("spacing", [(0.8, 0.8, 0.8), (0.7, 0.7, 2.0), (0.8, 0.8, 5.0)])
def test_walls_are_smooth_and_where_they_belong(spacing: tuple[float, float, float]) -> None:
    """Against the true balls: mean distance, mean angle, volumes; between thick slices, too."""
    labels = kidney(spacing)
    mesh = made(labels)[KIDNEY]
    centre = np.array((19.3, 22.1, 22.4))
    middles = mesh.vertices[mesh.faces].mean(axis=1)
    own = (np.linalg.norm(middles - (31.2, 22.3, 22.9), axis=1) > 9.5) & (
        np.linalg.norm(middles - (27.0, 15.2, 22.1), axis=1) > 6
    )
    out = (middles - centre)[own]
    distance = np.linalg.norm(out, axis=1)
    normals = solid(mesh).face_normals[own]
    cosine = ((out / distance[:, None]) * normals).sum(axis=1)
    angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    thick = spacing[2] == 5.0
    area = solid(mesh).area_faces[own]
    assert np.average(np.abs(distance - 14), weights=area) < (0.4 if thick else 0.16)
    assert np.average(angle, weights=area) < (10 if thick else 5)
    assert mesh.volume_mm3 == pytest.approx(
        labels.counts[KIDNEY] * labels.voxel_volume_mm3, rel=0.005
    )


@pytest.mark.parametrize("direction", [(1, 0, 0), (1, 1, 1), (1, -1, 1), (0.2, 1, -0.9)])
def test_a_thin_tube_within_an_organ_stays_whole(direction: tuple[float, float, float]) -> None:
    """A vessel of little more than one voxel's radius in an organ: one piece, its volume."""
    labels = LabelMap(np.zeros((48, 48, 48), np.uint8), np.diag([0.7, 0.7, 0.7, 1.0]))
    labels.voxels[inside(labels, (16.4, 16.6, 16.5), 13)] = KIDNEY
    world = labels.to_world(np.argwhere(np.ones(labels.shape, bool))) - (16.5, 16.7, 16.4)
    along = np.asarray(direction) / np.linalg.norm(direction)
    run = world @ along
    tube = np.linalg.norm(world - run[:, None] * along, axis=1) < 0.95
    labels.voxels[(tube & (np.abs(run) < 15)).reshape(labels.shape)] = ARTERY
    mesh = made(labels)[ARTERY]
    assert solid(mesh).is_watertight
    assert len(solid(mesh).split(only_watertight=False)) == 1
    voxels_mm3 = labels.counts[ARTERY] * labels.voxel_volume_mm3
    assert mesh.volume_mm3 == pytest.approx(voxels_mm3, rel=0.05)


def test_every_structure_is_closed_and_of_its_volume() -> None:
    """2 % of volume, 5 % for tubes; the report says so."""
    labels = anatomy()
    outcome = base(labels, Base(method="joint"), Progress())
    assert outcome.warnings == ()
    for mesh in outcome.value.meshes:
        label = names.table()[mesh.label]
        said = outcome.report["structures"][label.name]
        assert said["method"] == "joint"
        assert said["watertight"]
        assert abs(said["volume_error_percent"]) < 2
        assert solid(mesh).is_watertight


def test_simplifying_keeps_to_its_distance() -> None:
    """A larger error gives fewer triangles; zero keeps all."""
    counts = []
    for error_mm in (0.0, 0.05, 0.3):
        wish = Base(method="joint", decimation_error_mm=error_mm)
        outcome = base(kidney(), wish, Progress())
        said = outcome.report["structures"].values()
        assert max(s["decimation_error_mm"] for s in said) <= error_mm
        counts.append(sum(s["triangles"] for s in said))
    assert counts[0] > 2 * counts[1] > 3 * counts[2]


def test_coarser_levels_share_walls_too() -> None:
    """Each level has its error, fewer triangles, closed surfaces and common walls."""
    meshes = made(kidney((0.5, 0.5, 0.5)), lod=2, decimation_error_mm=0)
    coarse = {
        n: Mesh(n, m.levels[0].vertices, m.levels[0].faces) for n, m in meshes.items() if m.levels
    }
    assert set(coarse) == {KIDNEY, TUMOR, CYST}
    assert all(solid(m).is_watertight for m in coarse.values())
    assert all(walls_of(coarse).values())
    for mesh in meshes.values():
        counts = [len(mesh.faces), *(len(level.faces) for level in mesh.levels)]
        assert counts == sorted(set(counts), reverse=True)
        assert all(0 < level.error_mm < 1 for level in mesh.levels)
    assert len(meshes[KIDNEY].faces) > 2 * len(meshes[KIDNEY].levels[0].faces)


def test_islands_and_unwanted_structures_are_nothing() -> None:
    """What is left out leaves no wall behind."""
    labels = kidney()
    labels.voxels[2:4, 2:4, 2:4] = KIDNEY
    meshes = made(labels, structures=["kidney"], min_volume_mm3=10)
    assert tuple(meshes) == (KIDNEY,)
    assert meshes[KIDNEY].vertices.min() > 4
    with pytest.raises(StructureMissing):
        made(labels, min_volume_mm3=1e5)


def test_it_can_be_cancelled() -> None:
    """Between its stages."""
    progress = Progress()
    progress.stop.set()
    with pytest.raises(Cancelled):
        base(kidney(), Base(method="joint"), progress)


REAL = os.environ.get("NEPHRA_REAL_DATA")


@pytest.mark.skipif(REAL is None, reason="NEPHRA_REAL_DATA is not set")
@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "space"),
    [("masks/kits23/case_00021.nii.gz", "kits"), ("ct/ts_example_ct_seg_v1.nii.gz", "totalseg_v1")],
)
def test_real_masks(name: str, space: Any) -> None:
    """Real kidneys in thick slices, and all structures of a body: closed, of their volumes."""
    labels = assign_sides(read_labels(Path(str(REAL)) / name, space))
    meshes = made(labels)
    assert tuple(meshes) == labels.present
    for number, mesh in meshes.items():
        assert solid(mesh).is_watertight
        voxels_mm3 = labels.counts[number] * labels.voxel_volume_mm3
        assert mesh.volume_mm3 == pytest.approx(voxels_mm3, rel=0.02)
