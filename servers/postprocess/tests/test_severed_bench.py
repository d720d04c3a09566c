"""The scorer of severed tubes tells right from wrong."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from nephra_contract import labels as names
from nephra_contract.volume import LabelMap
from nephra_postprocess.bench.severed import overlap, score

_CASE = {
    "cuts": [
        {"number": 1, "gap_mm": 6, "radius_mm": 2, "sides_mm": [[10, 10, 10], [10, 10, 22]]},
    ],
    "noise": [{"number": 1001}],
}


def _case() -> tuple[LabelMap, NDArray[np.uint16]]:
    """A square tube with six slices missing, and a speck of noise beside it."""
    voxels = np.zeros((24, 24, 34), np.uint8)
    voxels[8:13, 8:13, 2:13] = voxels[8:13, 8:13, 19:30] = names.ARTERY
    truth = np.zeros(voxels.shape, np.uint16)
    truth[8:13, 8:13, 13:19] = 1
    voxels[18:20, 8:10, 16:18] = names.ARTERY
    truth[18:20, 8:10, 16:18] = 1001
    return LabelMap(voxels, np.eye(4)), truth


def test_a_filled_gap_scores_one_and_an_open_one_nothing() -> None:
    """Exactly what was removed is a Dice of 1; nothing added is not rejoined."""
    cut, truth = _case()
    whole = cut.like(np.where(truth == 1, names.ARTERY, cut.voxels).astype(np.uint8))
    good = score(cut, whole, truth, [names.ARTERY], _CASE)
    assert (good.cuts[0].joined, good.cuts[0].dice, good.cuts[0].near_dice) == (True, 1.0, 1.0)
    assert good.noise == [False]
    bad = score(cut, cut, truth, [names.ARTERY], _CASE)
    assert (bad.cuts[0].joined, bad.cuts[0].dice) == (False, 0.0)


def test_joined_noise_is_seen() -> None:
    """A bridge from the tube to the speck counts against it."""
    cut, truth = _case()
    drawn = cut.like(cut.voxels.copy())
    drawn.voxels[12:19, 8:10, 12:17] = names.ARTERY
    found = score(cut, drawn, truth, [names.ARTERY], _CASE)
    assert found.noise == [True]
    assert not found.cuts[0].joined


def test_a_way_far_around_the_gap_does_not_count() -> None:
    """Both sides of one piece, but not through the gap's surroundings."""
    voxels = np.zeros((60, 24, 34), np.uint8)
    small, truth_small = _case()
    voxels[:24] = small.voxels
    truth = np.zeros(voxels.shape, np.uint16)
    truth[:24] = truth_small
    cut = LabelMap(voxels, np.eye(4))
    loop = cut.like(voxels.copy())
    loop.voxels[8:50, 8:10, 2:4] = loop.voxels[48:50, 8:10, 2:30] = names.ARTERY
    loop.voxels[8:50, 8:10, 28:30] = names.ARTERY
    assert not score(cut, loop, truth, [names.ARTERY], _CASE).cuts[0].joined


def test_the_tolerance_is_one_voxel() -> None:
    """A plane beside another counts as met, two voxels away it does not."""
    one, near, far = (np.zeros((9, 9, 9), bool) for _ in range(3))
    one[4], near[5], far[6] = True, True, True
    assert overlap(one, near) == (0.0, 1.0)
    assert overlap(one, far) == (0.0, 0.0)
    assert overlap(one, one) == pytest.approx((1.0, 1.0))
