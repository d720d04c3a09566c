"""Several masks become one."""

from __future__ import annotations

import numpy as np
import pytest

from nephra_contract import labels as names
from nephra_contract.merge import PRECEDENCE, merge, regrid
from nephra_contract.testing import ORIENTATIONS, anatomy, reorient
from nephra_contract.volume import LabelMap


def _block(number: int, start: int, stop: int) -> LabelMap:
    voxels = np.zeros((10, 4, 4), np.uint8)
    voxels[start:stop] = number
    return LabelMap(voxels, np.diag([2.0, 2.0, 2.0, 1.0]))


def test_what_decides_the_operation_stays_on_top() -> None:
    """Tumour over artery over kidney over organ over fat, in whatever order they come."""
    maps = [
        _block(names.PERIRENAL_FAT, 0, 10),
        _block(names.TUMOR, 4, 6),
        _block(names.KIDNEY_LEFT, 2, 8),
        _block(names.ARTERY, 5, 7),
    ]
    for order in (maps, maps[::-1]):
        merged = merge(order).voxels[:, 0, 0].tolist()
        assert merged == [209, 209, 3, 3, 201, 201, 203, 3, 209, 209]


def test_within_a_group_the_earlier_mask_stays() -> None:
    """Two models' kidneys: the first one named is believed."""
    merged = merge([_block(names.KIDNEY_LEFT, 0, 5), _block(names.KIDNEY_RIGHT, 3, 8)])
    assert merged.voxels[:, 0, 0].tolist() == [3] * 5 + [2] * 3 + [0] * 2


def test_every_group_of_the_table_has_its_place() -> None:
    """A new group in the table cannot be forgotten here."""
    assert {label.group for label in names.table().values()} == set(PRECEDENCE)


def test_one_mask_is_returned_as_it_is() -> None:
    """No copy, no change."""
    only = anatomy()
    assert merge([only]) is only


def test_masks_on_other_grids_are_brought_to_the_first() -> None:
    """Whatever the axis order of the second, the result is the same."""
    whole = anatomy()
    tumor = whole.like(np.where(whole.voxels == names.TUMOR, whole.voxels, 0))
    rest = whole.like(np.where(whole.voxels == names.TUMOR, 0, whole.voxels))
    for orientation in ORIENTATIONS[::5]:
        merged = merge([rest, reorient(tumor, orientation)])
        np.testing.assert_array_equal(merged.voxels, whole.voxels)
        np.testing.assert_array_equal(merged.affine, whole.affine)


@pytest.mark.parametrize("factor", [1, 2])
def test_regridding_keeps_things_in_place(factor: int) -> None:
    """The centroid of a structure moves by less than half a voxel."""
    whole = anatomy()
    affine = whole.affine @ np.diag([1 / factor, 1 / factor, 1 / factor, 1])
    fine = LabelMap(np.zeros([n * factor for n in whole.shape], np.uint8), affine)
    moved = regrid(whole, fine)
    for number in (names.KIDNEY_LEFT, names.TUMOR):
        before = whole.to_world(np.argwhere(whole.voxels == number)).mean(axis=0)
        after = moved.to_world(np.argwhere(moved.voxels == number)).mean(axis=0)
        assert np.abs(before - after).max() < 1.8


def test_outside_of_the_old_grid_is_nothing() -> None:
    """No label is smeared over the border."""
    small = _block(5, 0, 10)
    grid = LabelMap(np.zeros((30, 12, 12), np.uint8), np.diag([2.0, 2.0, 2.0, 1.0]))
    moved = regrid(small, grid)
    assert moved.counts == {5: 10 * 4 * 4}
