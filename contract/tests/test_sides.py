"""Left and right come from the patient, not from the array."""

from __future__ import annotations

import numpy as np
import pytest

from nephra_contract import labels as names
from nephra_contract.sides import assign_sides, midline_x_mm
from nephra_contract.testing import ORIENTATIONS, anatomy, reorient
from nephra_contract.volume import LabelMap


def _unsided(keep: tuple[int, ...]) -> LabelMap:
    whole = anatomy()
    voxels = np.where(np.isin(whole.voxels, keep), whole.voxels, 0).astype(np.uint8)
    voxels[np.isin(voxels, names.KIDNEYS)] = names.KIDNEY
    voxels[np.isin(voxels, names.URETERS)] = names.URETER
    return whole.like(voxels)


@pytest.mark.parametrize("with_spine", [True, False])
def test_sides_follow_world_x_in_every_axis_order(with_spine: bool) -> None:
    """Right is larger x (RAS+), with and without landmarks."""
    keep = (*names.KIDNEYS, *names.URETERS, *((names.SPINE,) if with_spine else ()))
    truth = anatomy()
    for orientation in ORIENTATIONS:
        sided = assign_sides(reorient(_unsided(keep), orientation))
        for number in (*names.KIDNEYS[:2], *names.URETERS[:2]):
            assert sided.counts[number] == truth.counts[number], (orientation, number)


def test_a_single_kidney_gets_its_side_from_the_spine() -> None:
    """No second kidney is needed."""
    labels = _unsided((names.KIDNEY_LEFT, names.SPINE))
    assert set(assign_sides(labels).counts) == {names.KIDNEY_LEFT, names.SPINE}


def test_a_known_midline_is_believed() -> None:
    """A caller with the image knows better than a mask of one kidney."""
    labels = _unsided((names.KIDNEY_LEFT,))
    assert set(assign_sides(labels, midline_mm=0.0).counts) == {names.KIDNEY_LEFT}
    assert set(assign_sides(labels, midline_mm=-500.0).counts) == {names.KIDNEY_RIGHT}


def test_a_horseshoe_kidney_is_parted_at_the_midline() -> None:
    """One piece that reaches over the midline has two sides."""
    labels = _unsided((names.KIDNEY_RIGHT, names.KIDNEY_LEFT, names.SPINE))
    voxels = labels.voxels.copy()
    voxels[18:52, 14:18, 26:29] = names.KIDNEY
    sided = assign_sides(labels.like(voxels), midline_mm=0.0)
    x_mm = {
        n: sided.to_world(np.argwhere(sided.voxels == n))[:, 0]
        for n in (names.KIDNEY_RIGHT, names.KIDNEY_LEFT)
    }
    assert x_mm[names.KIDNEY_RIGHT].min() > 0 > x_mm[names.KIDNEY_LEFT].max()


def test_small_debris_does_not_move_the_midline() -> None:
    """Only two pieces of comparable size are two kidneys."""
    labels = _unsided((names.KIDNEY_LEFT,))
    voxels = labels.voxels.copy()
    voxels[2, 2, 2] = names.KIDNEY
    assert midline_x_mm(labels.like(voxels), fallback_x_mm=1.25) == 1.25


def test_masks_without_unsided_labels_are_returned_as_they_are() -> None:
    """No copy."""
    whole = anatomy()
    assert assign_sides(whole) is whole
