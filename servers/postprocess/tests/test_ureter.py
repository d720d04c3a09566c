"""Promises of `postprocess/ureter`."""

from __future__ import annotations

import cc3d
import numpy as np

from nephra_contract import labels as names
from nephra_contract.errors import StructureMissing
from nephra_contract.operation import Outcome
from nephra_contract.progress import Progress
from nephra_contract.testing import OperationTests, anatomy
from nephra_contract.volume import LabelMap
from nephra_postprocess.operations.ureter import OPERATION, Ureter, join_ureters


class TestUreter(OperationTests):
    """The conformance suite."""

    operation = OPERATION
    empty_error = StructureMissing


def _join(labels: LabelMap) -> Outcome:
    return join_ureters(labels, Ureter(), Progress())


def _pieces(labels: LabelMap, number: int) -> int:
    mask = np.ascontiguousarray(labels.voxels == number)
    return int(cc3d.connected_components(mask, connectivity=26, return_N=True)[1])


def test_the_severed_ureter_is_one_again_and_the_other_untouched() -> None:
    """The gap in the right one is closed; the left one, whole, keeps every voxel."""
    cut = anatomy()
    joined = _join(cut).value
    assert (_pieces(cut, names.URETER_RIGHT), _pieces(joined, names.URETER_RIGHT)) == (2, 1)
    assert joined.counts[names.URETER_LEFT] == cut.counts[names.URETER_LEFT]


def _crossing() -> LabelMap:
    """Upper half of the right ureter, lower half of the left one, in one line at the midline."""
    voxels = np.zeros((40, 20, 60), np.uint8)
    voxels[21:25, 8:12, 34:58] = names.URETER_RIGHT
    voxels[17:21, 8:12, 2:26] = names.URETER_LEFT
    return LabelMap(voxels, np.diag([1.0, 1.0, 1.0, 1.0]))


def test_one_side_is_never_joined_with_the_other() -> None:
    """Not even where they face each other."""
    labels = _crossing()
    outcome = _join(labels)
    np.testing.assert_array_equal(outcome.value.voxels, labels.voxels)
    assert outcome.report["bridges"] == []


def test_ureters_without_a_side_get_one_from_the_patient() -> None:
    """Label 205 is parted by world x before anything is joined."""
    cut = anatomy()
    ureters = cut.mask(names.URETERS)
    unsided = cut.like(np.where(ureters, names.URETER, cut.voxels).astype(np.uint8))
    joined = _join(unsided).value
    np.testing.assert_array_equal(joined.voxels, _join(cut).value.voxels)


def test_a_long_gap_in_a_straight_ureter_is_closed() -> None:
    """Peristalsis leaves gaps of 26 mm; a vessel's would stay open."""
    voxels = np.zeros((30, 30, 120), np.uint8)
    voxels[13:17, 13:17, 4:44] = voxels[13:17, 13:17, 70:114] = names.URETER_LEFT
    joined = _join(LabelMap(voxels, np.diag([1.0, 1.0, 1.0, 1.0]))).value
    assert _pieces(joined, names.URETER_LEFT) == 1
