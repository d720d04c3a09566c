"""Promises of `postprocess/fat`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nephra_contract import labels as names
from nephra_contract.errors import StructureMissing
from nephra_contract.nifti import read_labels
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
