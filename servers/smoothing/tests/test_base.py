"""smoothing/base: the promises of every operation, and its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray
from pydantic import ValidationError

from nephra_contract import labels as names
from nephra_contract.errors import NephraError, RequestInvalid, StructureMissing
from nephra_contract.nifti import read_labels
from nephra_contract.operation import Outcome
from nephra_contract.progress import Progress
from nephra_contract.scene import Mesh, Scene
from nephra_contract.sides import assign_sides
from nephra_contract.testing import OperationTests, anatomy
from nephra_contract.volume import LabelMap
from nephra_smoothing.operations.base import OPERATION, Base, base

LIVER, TUMOR, ARTERY = names.numbers()["liver"], names.TUMOR, names.ARTERY
TILTED = np.array(
    [[0.6, -0.5, 0.1, -40.0], [0.5, 0.7, 0.0, 15.0], [0.1, 0.2, 1.4, -900.0], [0, 0, 0, 1]]
)


class TestBase(OperationTests):
    """Every promise of an operation, in all 48 orders of the stored axes."""

    operation = OPERATION
    empty_error: ClassVar[type[NephraError] | None] = StructureMissing


def made(voxels: NDArray[Any], affine: NDArray[np.float64], **parameters: Any) -> Outcome:
    """The operation's outcome on a label array."""
    return base(LabelMap(voxels.astype(np.uint8), affine), Base(**parameters), Progress())


def solid(mesh: Mesh) -> trimesh.Trimesh:
    """The mesh as trimesh sees it."""
    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)


def only(outcome: Outcome) -> Mesh:
    """The one mesh of a scene."""
    scene: Scene = outcome.value
    assert len(scene.meshes) == 1
    return scene.meshes[0]


def world(shape: tuple[int, int, int], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """(I, J, K, 3) positions of all voxels in mm."""
    grid = LabelMap(np.zeros(shape, np.uint8), affine)
    return grid.to_world(np.argwhere(np.ones(shape, bool))).reshape(*shape, 3)


def tube(direction: tuple[float, float, float], radius: float) -> NDArray[np.bool_]:
    """A tube through the middle of a 40³ grid, in voxels."""
    along = np.asarray(direction) / np.linalg.norm(direction)
    offset = world((40, 40, 40), np.eye(4)) - (19.7, 20.2, 19.6)
    run = offset @ along
    inside = np.linalg.norm(offset - run[..., None] * along, axis=-1) <= radius
    return np.asarray(inside & (abs(run) < 15), dtype=bool)


@pytest.mark.parametrize("spacing", [(0.8, 0.8, 0.8), (0.7, 0.7, 2.5), (0.8, 0.8, 5.0)])
def test_a_ball_comes_out_as_a_ball(spacing: tuple[float, float, float]) -> None:
    """An analytic ball: distance to the true surface, centre and volume are right."""
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-12.0, 31.0, 400.0)
    shape = tuple(int(40 / s) + 1 for s in spacing)
    centre = affine[:3, 3] + 19.6
    inside = np.linalg.norm(world((shape[0], shape[1], shape[2]), affine) - centre, axis=-1) <= 15
    outcome = made(inside * LIVER, affine)
    mesh = only(outcome)
    off = np.abs(np.linalg.norm(mesh.vertices - centre, axis=1) - 15)
    assert off.mean() < (0.15 if spacing[2] < 5 else 0.4)
    np.testing.assert_allclose(solid(mesh).center_mass, centre, atol=0.15 * spacing[2])
    voxels_mm3 = np.count_nonzero(inside) * np.prod(spacing)
    assert mesh.volume_mm3 == pytest.approx(voxels_mm3, rel=2e-3)
    out = (mesh.vertices - centre) / np.linalg.norm(mesh.vertices - centre, axis=1)[:, None]
    angles = np.degrees(np.arccos(np.clip((mesh.normals * out).sum(axis=1), -1, 1)))
    assert angles.mean() < 10


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_sheared_or_mirrored_grid_puts_it_where_it_is(mirrored: bool) -> None:
    """Bounds and centroid agree with the voxels in world mm; normals look outward."""
    affine = TILTED @ np.diag([-1.0 if mirrored else 1.0, 1, 1, 1])
    voxels = np.zeros((50, 44, 36), np.uint8)
    voxels[10:40, 12:30, 8:28] = LIVER
    mesh = only(made(voxels, affine))
    centres = LabelMap(voxels, affine).to_world(np.argwhere(voxels))
    np.testing.assert_allclose(solid(mesh).center_mass, centres.mean(axis=0), atol=0.05)
    half = np.abs(affine[:3, :3]).sum(axis=1) / 2
    assert (mesh.vertices.min(axis=0) > centres.min(axis=0) - half - 0.3).all()
    assert (mesh.vertices.max(axis=0) < centres.max(axis=0) + half + 0.3).all()
    assert mesh.volume_mm3 == pytest.approx(
        np.count_nonzero(voxels) * abs(np.linalg.det(affine[:3, :3])), rel=2e-3
    )


def test_left_stays_left() -> None:
    """The left kidney's surface lies at lower world x than the right one's (RAS+)."""
    scene = base(anatomy(), Base(structures=["kidney"]), Progress()).value
    right, left = scene.meshes
    assert (right.label, left.label) == (names.KIDNEY_RIGHT, names.KIDNEY_LEFT)
    assert left.vertices[:, 0].max() < right.vertices[:, 0].min()


def test_every_structure_is_there_closed_and_of_its_volume() -> None:
    """Names in order of their labels; closed; 2 % of volume, 5 % for tubes; the report says so."""
    labels = anatomy()
    outcome = base(labels, Base(), Progress())
    assert tuple(m.label for m in outcome.value.meshes) == labels.present
    assert list(outcome.report["structures"]) == [names.name_of(n) for n in labels.present]
    assert outcome.warnings == ()
    for mesh in outcome.value.meshes:
        label = names.table()[mesh.label]
        volume_mm3 = labels.counts[mesh.label] * labels.voxel_volume_mm3
        tolerance = 0.05 if label.group in ("artery", "vein", "urinary") else 0.02
        assert mesh.volume_mm3 == pytest.approx(volume_mm3, rel=tolerance)
        assert solid(mesh).is_watertight
        assert solid(mesh).is_winding_consistent
        said = outcome.report["structures"][label.name]
        assert said["watertight"]
        assert said["triangles"] == len(mesh.faces)
        assert said["mask_volume_ml"] == pytest.approx(volume_mm3 / 1000, rel=1e-3)
        assert abs(said["volume_error_percent"]) < 100 * tolerance


@pytest.mark.parametrize("direction", [(1, 0, 0), (1, 1, 1), (1, 0.4, 0.2), (0.1, 1, 0.9)])
@pytest.mark.parametrize("radius", [0.8, 1.3])
def test_a_thin_tube_stays_in_one_piece(
    direction: tuple[float, float, float], radius: float
) -> None:
    """A vessel of one voxel's radius is one closed surface from end to end."""
    mask = tube(direction, radius)
    mesh = only(made(mask * ARTERY, np.diag([0.7, 0.7, 0.7, 1.0])))
    assert solid(mesh).is_watertight
    assert len(solid(mesh).split(only_watertight=False)) == 1
    assert mesh.volume_mm3 == pytest.approx(np.count_nonzero(mask) * 0.343, rel=0.05)
    along = np.asarray(direction) / np.linalg.norm(direction)
    assert np.ptp(mesh.vertices @ along) > 0.7 * 28


def test_a_thin_branch_of_a_thick_vessel_stays() -> None:
    """Next to a trunk of eight voxels a branch of one keeps its course."""
    offset = world((60, 44, 60), np.eye(4))
    trunk = np.linalg.norm(offset[..., :2] - (14.2, 21.8), axis=-1) <= 8
    branch = np.linalg.norm(offset[..., 1:] - (21.8, 30.3), axis=-1) <= 1.0
    branch &= (offset[..., 0] > 14) & (offset[..., 0] < 54)
    mesh = only(made((trunk | branch) * ARTERY, np.eye(4)))
    assert len(solid(mesh).split(only_watertight=False)) == 1
    assert mesh.vertices[:, 0].max() > 52


def oblique_tube(shape: tuple[int, int, int], step: tuple[float, float]) -> NDArray[np.bool_]:
    """One voxel per slice, moving in-plane by `step` from slice to slice."""
    mask = np.zeros(shape, bool)
    for k in range(2, shape[2] - 2):
        mask[int(4 + step[0] * k), int(5 + step[1] * k), k] = True
    return mask


@pytest.mark.parametrize("step", [(1.0, 0.0), (1.0, 1.0), (0.7, 0.4)])
def test_a_tube_of_thick_slices_stays_in_one_piece(step: tuple[float, float]) -> None:
    """Where slices of a thin tube touch in edges or corners only, its surface still is one."""
    mask = oblique_tube((40, 40, 24), step)
    outcome = made(mask * names.URETER_LEFT, np.diag([0.8, 0.8, 5.0, 1.0]))
    mesh = only(outcome)
    assert outcome.warnings == ()
    assert len(solid(mesh).split(only_watertight=False)) == 1
    assert mesh.volume_mm3 == pytest.approx(np.count_nonzero(mask) * 3.2, rel=0.05)


def test_small_islands_stay_beside_a_large_organ() -> None:
    """Coarse cells serve the organ; islands of a few voxels keep their number and volume."""
    inside = np.linalg.norm(world((80, 80, 80), np.eye(4)) - 39.5, axis=-1) <= 24
    mask = inside.copy()
    corners = [(4, 4, 4), (70, 6, 8), (6, 72, 70), (74, 74, 5), (5, 40, 74), (72, 72, 72)]
    for i, j, k in corners:
        mask[i : i + 2, j : j + 2, k : k + 2] = True
    outcome = made(mask * LIVER, np.diag([0.8, 0.8, 0.8, 1.0]))
    volumes = sorted(float(p.volume) for p in solid(only(outcome)).split(only_watertight=False))
    assert outcome.warnings == ()
    assert len(volumes) == 1 + len(corners)
    np.testing.assert_allclose(volumes[:-1], 8 * 0.512, rtol=0.25)
    assert volumes[-1] == pytest.approx(np.count_nonzero(inside) * 0.512, rel=2e-3)


def test_large_organs_get_few_triangles_and_keep_their_course() -> None:
    """Cells grow with what is meshed: a large ball has few triangles before any is left out."""
    counts = {}
    for radius in (5, 50):
        shape = (2 * radius + 6,) * 3
        centre = radius + 2.6
        inside = np.linalg.norm(world(shape, np.eye(4)) - centre, axis=-1) <= radius
        mesh = only(made(inside * LIVER, np.diag([0.8] * 3 + [1.0]), decimation_error_mm=0))
        off = np.abs(np.linalg.norm(mesh.vertices / 0.8 - centre, axis=1) - radius)
        assert 0.8 * off.mean() < 0.1
        counts[radius] = len(mesh.faces)
    # As many times as its area is larger would be 100.
    assert counts[50] < 25 * counts[5]


def odd(kind: str) -> NDArray[np.bool_]:
    """Masks that no anatomy is like."""
    mask = np.zeros((18, 20, 16), bool)
    if kind == "one voxel":
        mask[5, 6, 7] = True
    elif kind == "touching all borders":
        mask[:] = True
    elif kind == "one slice":
        mask[:, :, 8] = True
    elif kind == "hollow shell":
        mask[2:16, 2:18, 2:14] = True
        mask[5:13, 5:15, 5:11] = False
    elif kind == "corner to corner":
        mask[2:6, 2:6, 2:6] = mask[6:10, 6:10, 6:10] = mask[2:6, 6:10, 10:13] = True
    elif kind == "chessboard":
        mask[:] = np.indices(mask.shape).sum(axis=0) % 2 == 0
    else:
        mask[:] = np.random.default_rng(4).random(mask.shape) < 0.15
    return mask


ODD = [
    "one voxel", "touching all borders", "one slice", "hollow shell", "corner to corner",
    "chessboard", "specks",
]  # fmt: skip


@pytest.mark.parametrize("number", [LIVER, ARTERY])
@pytest.mark.parametrize("kind", ODD)
def test_odd_masks_give_closed_surfaces(kind: str, number: int) -> None:
    """No crash, no hole; volume as stated, in whatever way the voxels touch."""
    mask = odd(kind)
    mesh = only(made(mask * number, np.diag([0.9, 1.1, 2.0, 1.0])))
    assert solid(mesh).is_watertight
    assert solid(mesh).is_winding_consistent
    assert mesh.volume_mm3 == pytest.approx(np.count_nonzero(mask) * 1.98, rel=0.02)


def test_a_hollow_shell_keeps_its_cavity() -> None:
    """The inner wall is a surface of its own that looks inward."""
    pieces = solid(only(made(odd("hollow shell") * LIVER, np.eye(4)))).split()
    assert sorted(np.sign(p.volume) for p in pieces) == [-1, 1]


def test_a_label_of_a_single_slice_map_is_meshed() -> None:
    """A volume of one slice is a volume."""
    mesh = only(made(np.full((512, 65, 1), TUMOR), np.diag([0.8, 0.8, 3.0, 1.0])))
    assert solid(mesh).is_watertight


def test_structures_chooses_by_name_and_group() -> None:
    """Names and groups may be mixed; what is not there is said."""
    outcome = base(anatomy(), Base(structures=["cyst", "kidney", "gallbladder"]), Progress())
    found = [names.name_of(m.label) for m in outcome.value.meshes]
    assert found == ["kidney_right", "kidney_left", "cyst"]
    assert outcome.warnings == ("The mask has no gallbladder.",)


def test_unknown_structures_are_refused() -> None:
    """A misspelt structure is an error that names it."""
    with pytest.raises(RequestInvalid) as refusal:
        base(anatomy(), Base(structures=["kidney", "kidny"]), Progress())
    assert refusal.value.extra["strangers"] == ["kidny"]


def test_only_absent_structures_are_an_error() -> None:
    """No empty scene: a mask without anything wanted is refused."""
    with pytest.raises(StructureMissing) as refusal:
        base(anatomy(), Base(structures=["gallbladder"]), Progress())
    assert (refusal.value.status, refusal.value.code) == (422, "structure_missing")


def test_islands_below_the_volume_are_left_out() -> None:
    """`min_volume_mm3` counts islands, not labels; a label of islands only is said to be out."""
    voxels = np.zeros((30, 30, 30), np.uint8)
    voxels[4:14, 4:14, 4:14] = LIVER
    voxels[20:22, 20:22, 20:22] = LIVER
    voxels[25, 25, 25] = TUMOR
    outcome = made(voxels, np.eye(4), min_volume_mm3=9)
    mesh = only(outcome)
    assert mesh.volume_mm3 == pytest.approx(1000, rel=2e-3)
    assert mesh.vertices.max() < 16
    assert outcome.warnings == ("All islands of tumor are smaller than min_volume_mm3.",)
    with pytest.raises(StructureMissing):
        made(voxels, np.eye(4), min_volume_mm3=2000)


def test_simplifying_keeps_to_its_distance() -> None:
    """A larger error gives fewer triangles, zero all; the measured error is within the bound."""
    inside = np.linalg.norm(world((40, 40, 40), np.eye(4)) - 19.5, axis=-1) <= 15
    counts = []
    for error_mm in (0.0, 0.1, 0.5):
        outcome = made(inside * LIVER, np.eye(4), decimation_error_mm=error_mm)
        assert outcome.report["structures"]["liver"]["decimation_error_mm"] <= error_mm
        counts.append(len(only(outcome).faces))
    assert counts[0] > 1.5 * counts[1] > 3 * counts[2]


def test_triangles_are_limited() -> None:
    """`max_triangles_per_label` holds, and the surface stays closed."""
    inside = np.linalg.norm(world((40, 40, 40), np.eye(4)) - 19.5, axis=-1) <= 15
    mesh = only(
        made(inside * LIVER, np.eye(4), decimation_error_mm=0.001, max_triangles_per_label=500)
    )
    assert len(mesh.faces) <= 500
    assert solid(mesh).is_watertight


def test_more_smoothing_is_smoother() -> None:
    """A staircase is flatter the wider the blur."""
    offset = world((40, 40, 40), np.eye(4))
    wedge = (offset[..., 2] < 12 + offset[..., 0] / 4) & (offset[..., 2] > 4)

    def bends(smoothing_mm: float) -> float:
        mesh = only(made(wedge * LIVER, np.eye(4), smoothing_mm=smoothing_mm))
        top = (np.abs(mesh.vertices[:, :2] - 19.5) < 12).all(axis=1) & (mesh.vertices[:, 2] > 10)
        return float(np.std(mesh.vertices[top, 2] - mesh.vertices[top, 0] / 4))

    assert bends(2.0) < bends(0.3) < bends(0.0)


def test_the_space_of_the_obj_travels_with_the_scene() -> None:
    """LPS unless RAS is asked for; the meshes themselves are RAS+ either way."""
    mask = odd("corner to corner") * LIVER
    lps, ras = made(mask, np.eye(4)).value, made(mask, np.eye(4), space="RAS").value
    assert (lps.space, ras.space) == ("LPS", "RAS")
    np.testing.assert_array_equal(lps.meshes[0].vertices, ras.meshes[0].vertices)


@pytest.mark.parametrize(
    "parameters",
    [{"smoothing_mm": -1}, {"decimation_error_mm": 6}, {"space": "LAS"}, {"structures": []}],
)
def test_parameters_out_of_bounds_are_refused(parameters: dict[str, Any]) -> None:
    """Bounds hold."""
    with pytest.raises(ValidationError):
        Base(**parameters)


REAL = os.environ.get("NEPHRA_REAL_DATA")
real_data = pytest.mark.skipif(REAL is None, reason="NEPHRA_REAL_DATA is not set")


def check_real(labels: LabelMap, kept: Callable[[int], bool]) -> None:
    """Closed, of their volumes, and over the mask."""
    outcome = base(labels, Base(), Progress())
    assert tuple(m.label for m in outcome.value.meshes) == labels.present
    for mesh in outcome.value.meshes:
        label = names.table()[mesh.label]
        volume_mm3 = labels.counts[mesh.label] * labels.voxel_volume_mm3
        tolerance = 0.05 if label.group in ("artery", "vein", "urinary") else 0.02
        assert solid(mesh).is_watertight, label.name
        assert mesh.volume_mm3 == pytest.approx(volume_mm3, rel=tolerance), label.name
        if not kept(mesh.label):
            continue
        centres = labels.to_world(np.argwhere(labels.voxels == mesh.label))
        off = solid(mesh).center_mass - centres.mean(axis=0)
        assert np.linalg.norm(off) < max(labels.spacing_mm), label.name


@real_data
@pytest.mark.real_data
@pytest.mark.parametrize("case", ["case_00021", "case_00268"])
def test_kits_masks(case: str) -> None:
    """Real kidneys, tumours and cysts, stored as (z, y, x)."""
    path = Path(str(REAL)) / "masks" / "kits23" / f"{case}.nii.gz"
    check_real(assign_sides(read_labels(path, "kits")), lambda _: True)


@real_data
@pytest.mark.real_data
def test_a_whole_body_of_labels() -> None:
    """The reference mask of a real CT at 3 mm, all its structures."""
    path = Path(str(REAL)) / "ct" / "ts_example_ct_seg_v1.nii.gz"
    check_real(read_labels(path, "totalseg_v1"), lambda n: names.table()[n].group != "bone")
