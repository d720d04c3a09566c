"""Odd masks are answered sensibly by both operations that rejoin tubes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from nephra_contract import labels as names
from nephra_contract.progress import Progress
from nephra_contract.volume import LabelMap
from nephra_postprocess.operations.ureter import Ureter, join_ureters
from nephra_postprocess.operations.vessel import Vessel, join_vessels


def _filled(shape: tuple[int, int, int], *boxes: tuple[slice, slice, slice]) -> NDArray[np.bool_]:
    filled = np.zeros(shape, bool)
    for box in boxes:
        filled[box] = True
    return filled


_ALL = slice(None)
_ODD = {
    "one voxel": _filled((9, 9, 9), (slice(4, 5), slice(4, 5), slice(4, 5))),
    "everything": _filled((12, 11, 10), (_ALL, _ALL, _ALL)),
    "one slice": _filled((40, 30, 1), (slice(3, 15), slice(9, 12), _ALL)),
    "two in one slice": _filled(
        (60, 30, 1), (slice(2, 22), slice(9, 13), _ALL), (slice(28, 50), slice(9, 13), _ALL)
    ),
    "all borders": _filled(
        (30, 30, 30), (_ALL, slice(14, 17), slice(14, 17)), (slice(0, 1), _ALL, _ALL)
    ),
    "diagonal": np.asarray(np.eye(30, dtype=bool)[:, :, None] & np.ones((1, 1, 30), bool)),
    "hollow": np.asarray(
        _filled((30, 30, 30), (slice(5, 25),) * 3) & ~_filled((30, 30, 30), (slice(8, 22),) * 3)
    ),
}


@pytest.mark.parametrize("name", list(_ODD))
@pytest.mark.parametrize("sheared", [False, True])
def test_odd_masks_are_answered_and_nothing_is_lost(name: str, sheared: bool) -> None:
    """No crash, no warning, every voxel that was there still is; thick and sheared grids too."""
    affine = np.diag([0.8, 0.8, 2.5, 1.0])
    if sheared:
        affine[0, 1], affine[1, 2] = 0.3, -0.4
    for number in (names.ARTERY, names.URETER_LEFT):
        voxels = (_ODD[name] * np.uint8(number)).astype(np.uint8)
        labels = LabelMap(voxels, affine)
        if number == names.ARTERY:
            outcome = join_vessels(labels, Vessel(min_fragment_volume_mm3=0), Progress())
        else:
            outcome = join_ureters(labels, Ureter(min_fragment_volume_mm3=0), Progress())
        assert bool((outcome.value.voxels[voxels > 0] == number).all())
        assert set(outcome.report) == {"bridges", "fragments"}
