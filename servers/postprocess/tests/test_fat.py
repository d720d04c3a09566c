"""Promises of `postprocess/fat`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nephra_contract import labels as names
from nephra_contract.errors import GeometryRefused, StructureMissing
from nephra_contract.nifti import read_image, read_labels
from nephra_contract.operation import Outcome
from nephra_contract.progress import Progress
from nephra_contract.sides import assign_sides
from nephra_contract.testing import OperationTests, anatomy
from nephra_contract.volume import LabelMap, Volume
from nephra_postprocess.operations.fat import OPERATION, Fat, add_fat


class TestFat(OperationTests):
    """The conformance suite."""

    operation = OPERATION
    adds = (names.PERIRENAL_FAT,)
    empty_error = StructureMissing
    # A step of 2 mm says nothing more of grids of 3 mm.
    parameters = {"grid_mm": 4.0}  # noqa: RUF012


class TestFatWithCt(OperationTests):
    """The same promises with a CT on a grid of its own."""

    operation = OPERATION
    adds = (names.PERIRENAL_FAT,)
    empty_error = StructureMissing
    parameters = {"grid_mm": 4.0}  # noqa: RUF012

    def inputs(self) -> list[Any]:
        """A whole anatomy, and a CT whose fat lies in waves."""
        affine = anatomy().affine @ np.diag([0.9, 1.1, 1.2, 1.0])
        where = np.stack(np.meshgrid(*[np.arange(n) for n in (76, 38, 46)], indexing="ij"))
        hu = np.where(np.sin(where.sum(axis=0) / 5) > -0.6, -100, 40)
        return [anatomy(), Volume(hu.astype(np.int16), affine)]


def _ball(radius_mm: float = 20.0) -> LabelMap:
    """One right kidney, a ball, in the middle of an axis-aligned 2 mm grid with x to the right."""
    grid = np.stack(np.meshgrid(*[np.arange(-60.0, 61.0, 2.0)] * 3, indexing="ij"), axis=-1)
    voxels = np.where((grid**2).sum(axis=-1) <= radius_mm**2, names.KIDNEY_RIGHT, 0)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -60.0
    return LabelMap(voxels.astype(np.uint8), affine)


def _added(labels: LabelMap, image: Volume | None = None) -> Outcome:
    return add_fat(labels, image, Fat(), Progress())


def _reach_mm(outcome: Outcome, axis: int) -> tuple[float, float]:
    """How far fat reaches beyond a ball of 20 mm, towards lower and higher world coordinates."""
    fat: LabelMap = outcome.value
    where = fat.to_world(np.argwhere(fat.voxels == names.PERIRENAL_FAT))[:, axis]
    return -float(where.min()) - 20, float(where.max()) - 20


def test_fat_is_as_thick_as_asked_in_each_direction() -> None:
    """Behind and below more than in front and above, in mm, within a voxel or two."""
    outcome, asked = _added(_ball()), Fat()
    assert _reach_mm(outcome, 0) == pytest.approx((asked.medial_mm, asked.lateral_mm), abs=3)
    assert _reach_mm(outcome, 1) == pytest.approx((asked.posterior_mm, asked.anterior_mm), abs=3)
    assert _reach_mm(outcome, 2) == pytest.approx((asked.inferior_mm, asked.superior_mm), abs=3)


def test_no_other_structure_loses_a_voxel() -> None:
    """Fat is put into background alone."""
    before = anatomy()
    after = _added(before).value.voxels
    kept = before.voxels != 0
    np.testing.assert_array_equal(after[kept], before.voxels[kept])


def test_without_a_ct_it_says_that_it_is_an_estimate() -> None:
    """What is not measured is called so."""
    report = _added(anatomy()).report
    assert report["estimated"] is True
    assert report["method"] == "estimated, no CT"
    assert set(report["added_ml"]) == {"right", "left"}


def test_with_a_ct_only_voxels_of_fat_density_are_taken() -> None:
    """The CT, on a grid of its own, decides; its other half is water here."""
    mask = _ball()
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = -80.0
    hu = np.full((41, 41, 41), -100, np.int16)
    hu[:, :, 20:] = 10
    outcome = _added(mask, Volume(hu, affine))
    z = mask.to_world(np.argwhere(outcome.value.voxels == names.PERIRENAL_FAT))[:, 2]
    assert z.size > 1000
    assert z.max() < 0
    assert outcome.report["estimated"] is False


def test_a_kidney_at_the_border_of_the_grid_is_served() -> None:
    """Half a kidney has half its fat."""
    whole = _ball()
    half = whole.crop((slice(30, 61), slice(0, 61), slice(0, 61)))
    ratio = (_added(half).value.counts[names.PERIRENAL_FAT] - 0.0) / _added(whole).value.counts[
        names.PERIRENAL_FAT
    ]
    assert 0.4 < ratio < 0.6


def test_fat_beyond_another_organ_is_not_perirenal() -> None:
    """A wall in front of the kidney keeps the space behind it empty."""
    mask = _ball()
    voxels = mask.voxels.copy()
    voxels[:, 42:44, :] = names.numbers()["liver"]
    outcome = _added(mask.like(voxels))
    assert not (outcome.value.voxels[:, 44:, :] == names.PERIRENAL_FAT).any()


def test_walls_that_masks_do_not_name_stay_free() -> None:
    """Between fat and the back muscles lies the quadratus lumborum, between fat and ribs muscle."""
    for number, clear_mm in ((names.numbers()["autochthon_right"], 9), (names.RIBS, 5)):
        mask = _ball()
        voxels = mask.voxels.copy()
        voxels[:, 16:18, :] = number
        fat = _added(mask.like(voxels)).value.voxels == names.PERIRENAL_FAT
        nearest = int(np.flatnonzero(fat.any(axis=(0, 2)))[0])
        assert 2.0 * (nearest - 17) == pytest.approx(clear_mm + 1, abs=1.5)


def test_the_renal_sinus_is_no_perirenal_fat() -> None:
    """Vessels and the renal pelvis run in it."""
    mask = _ball(24.0)
    voxels = mask.voxels.copy()
    voxels[18:32, 27:34, 24:37] = 0
    bay = _added(mask.like(voxels)).value.voxels[23:31, 28:33, 26:35]
    assert not (bay == names.PERIRENAL_FAT).any()


def test_fat_lies_in_the_groove_beside_a_tumour() -> None:
    """A tumour that stands out makes no sinus."""
    mask = _ball()
    voxels = mask.voxels.copy()
    grid = np.stack(np.meshgrid(*[np.arange(-60.0, 61.0, 2.0)] * 3, indexing="ij"), axis=-1)
    lump = ((grid - (30.0, 0.0, 0.0)) ** 2).sum(axis=-1) <= 16**2
    voxels[lump & (voxels == 0)] = names.TUMOR
    assert _added(mask.like(voxels)).value.voxels[39, 30, 39] == names.PERIRENAL_FAT


def test_fat_that_is_there_stays_and_counts_as_none_of_what_is_added() -> None:
    """A mask may bring fat of its own."""
    mask = _ball()
    voxels = mask.voxels.copy()
    voxels[2:8, 2:8, 2:8] = names.PERIRENAL_FAT
    outcome, plain = _added(mask.like(voxels)), _added(mask)
    assert (outcome.value.voxels[2:8, 2:8, 2:8] == names.PERIRENAL_FAT).all()
    assert outcome.report["added_ml"] == plain.report["added_ml"]


def test_with_a_ct_fat_reaches_farther_but_hangs_together() -> None:
    """The CT decides; what lies behind a wall of muscle is another space."""
    mask = _ball()
    hu = np.full(mask.shape, -100, np.int16)
    hu[:, 12:14, :] = 50
    where = _added(mask, Volume(hu, mask.affine)).value.voxels == names.PERIRENAL_FAT
    behind_mm = -2.0 * float(np.flatnonzero(where.any(axis=(0, 2)))[0]) + 60
    assert behind_mm == pytest.approx(32.0, abs=0.1)
    assert behind_mm > 20 + Fat().posterior_mm - 2


def test_with_a_ct_fat_behind_muscle_is_not_taken_though_a_gap_leads_there() -> None:
    """Fat of the abdominal wall hangs together with the kidney's somewhere."""
    mask = _ball()
    hu = np.full(mask.shape, -100, np.int16)
    hu[:, 14:18, :] = 50
    hu[34:48, 14:18, :] = -100
    where = _added(mask, Volume(hu, mask.affine)).value.voxels == names.PERIRENAL_FAT
    assert where[34:48, :14].any()
    assert not where[:30, :14].any()


def test_a_ct_of_somewhere_else_is_refused() -> None:
    """Its fat would be nobody's."""
    far = np.diag([4.0, 4.0, 4.0, 1.0])
    far[:3, 3] = 4000.0
    with pytest.raises(GeometryRefused) as refusal:
        _added(_ball(), Volume(np.full((20, 20, 20), -100, np.int16), far))
    assert refusal.value.code == "image_elsewhere"


def test_a_ct_of_half_the_kidney_says_so() -> None:
    """Fat is added where the CT is, and a warning says how much that is."""
    mask = _ball()
    half = Volume(np.full((61, 61, 31), -100, np.int16), mask.affine)
    outcome = _added(mask, half)
    assert "54%" in outcome.warnings[0]
    assert not (outcome.value.voxels[:, :, 32:] == names.PERIRENAL_FAT).any()


def test_kidneys_without_sides_get_their_own_fat_each() -> None:
    """`kidney` alone is parted by where it lies."""
    whole = anatomy()
    voxels = np.where(whole.mask((2, 3)), names.KIDNEY, 0).astype(np.uint8)
    outcome = _added(whole.like(voxels))
    assert set(outcome.report["added_ml"]) == {"right", "left"}
    assert outcome.value.counts[names.KIDNEY] == (voxels > 0).sum()


def test_odd_grids_are_served() -> None:
    """One slice, one voxel, a kidney that fills the grid: an answer each, never a crash."""
    affine = np.diag([0.8, 0.8, 5.0, 1.0])
    slice_ = np.zeros((512, 651, 1), np.uint8)
    slice_[100:180, 300:360] = names.KIDNEY_RIGHT
    outcome = _added(LabelMap(slice_, affine))
    assert outcome.report["added_ml"]["right"] > 5
    dot = np.zeros((9, 9, 9), np.uint8)
    dot[4, 4, 4] = names.KIDNEY_LEFT
    assert _added(LabelMap(dot, np.eye(4))).report["added_ml"]["left"] > 0
    full = np.full((9, 9, 9), names.KIDNEY_LEFT, np.uint8)
    assert _added(LabelMap(full, np.eye(4))).report["added_ml"] == {"left": 0.0}


def test_a_sheared_grid_gives_the_fat_of_an_upright_one() -> None:
    """Volumes agree as far as voxels of 2 mm can tell."""
    shear = np.eye(4)
    shear[0, 2] = 0.3
    upright = _ball()
    grid = np.stack(np.meshgrid(*[np.arange(61)] * 3, indexing="ij"), axis=-1)
    world = grid @ (shear @ upright.affine)[:3, :3].T + (shear @ upright.affine)[:3, 3]
    voxels = np.where((world**2).sum(axis=-1) <= 20.0**2, names.KIDNEY_RIGHT, 0)
    sheared = LabelMap(voxels.astype(np.uint8), shear @ upright.affine)
    there, here = _added(sheared), _added(upright)
    assert there.report["added_ml"]["right"] == pytest.approx(
        here.report["added_ml"]["right"], rel=0.08
    )


@pytest.mark.real_data
def test_most_of_what_is_drawn_blindly_is_fat_in_a_real_ct(real_data: Path) -> None:
    """A real CT with a mask of all organs, not looked at: what is drawn is fat by its HU."""
    folder = real_data / "ct"
    mask = read_labels(folder / "ts_example_ct_sm_seg_v2.nii.gz", "totalseg_v2")
    hu = read_image(folder / "ts_example_ct_sm.nii.gz").voxels
    drawn = _added(mask).value.voxels == names.PERIRENAL_FAT
    middle = mask.to_world(np.argwhere(mask.mask((2, 3))))[:, 0].mean()
    x_mm = mask.to_world(np.argwhere(drawn))[:, 0]
    fat = (hu[drawn] >= -190) & (hu[drawn] <= -30)
    assert fat[x_mm > middle].mean() >= 0.72
    assert fat[x_mm < middle].mean() >= 0.88


@pytest.mark.real_data
def test_real_kidneys_keep_their_volume_and_get_fat_on_their_side(real_data: Path) -> None:
    """KiTS masks, stored (z, y, x): kidneys unchanged, fat around each, behind more than before."""
    path = real_data / "masks" / "kits23" / "case_00061.nii.gz"
    mask = assign_sides(read_labels(path, "kits"))
    outcome = _added(mask)
    fat: LabelMap = outcome.value
    assert {n: c for n, c in fat.counts.items() if n != names.PERIRENAL_FAT} == mask.counts
    kidneys_y = mask.to_world(np.argwhere(mask.mask(names.KIDNEYS)))[:, 1].mean()
    fat_y = fat.to_world(np.argwhere(fat.voxels == names.PERIRENAL_FAT))[:, 1].mean()
    assert fat_y < kidneys_y
    assert all(50 < ml < 600 for ml in outcome.report["added_ml"].values())
