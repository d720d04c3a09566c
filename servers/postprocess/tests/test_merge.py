"""Promises of `postprocess/merge`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nephra_contract import labels as names
from nephra_contract.errors import RequestInvalid
from nephra_contract.progress import Progress
from nephra_contract.testing import OperationTests, anatomy
from nephra_contract.volume import LabelMap
from nephra_postprocess.operations.merge import OPERATION, Merge, merge_masks


def _kidneys_and_organs() -> list[LabelMap]:
    """Kidneys on a part of the grid; the whole anatomy, without kidneys, on the whole one."""
    whole = anatomy()
    kidneys = whole.mask((names.KIDNEY_RIGHT, names.KIDNEY_LEFT))
    part = whole.crop((slice(2, 66), slice(1, 36), slice(5, 50)))
    own = part.like(np.where(kidneys[2:66, 1:36, 5:50], part.voxels, 0).astype(np.uint8))
    return [own, whole.like(np.where(kidneys, 0, whole.voxels).astype(np.uint8))]


class TestMerge(OperationTests):
    """The conformance suite, with masks on two grids."""

    operation = OPERATION

    def inputs(self) -> list[Any]:
        """One input: a list of masks."""
        return [_kidneys_and_organs()]


def _merged(take: list[list[str]] | None) -> LabelMap:
    return merge_masks(_kidneys_and_organs(), Merge(take=take), Progress())


def test_all_structures_of_all_masks_come_together() -> None:
    """Without `take` the union has every voxel of the truth on the first one's grid."""
    expected = anatomy().crop((slice(2, 66), slice(1, 36), slice(5, 50)))
    np.testing.assert_array_equal(_merged(None).voxels, expected.voxels)


def test_take_restricts_each_mask_to_its_structures() -> None:
    """Names and groups say what is taken; the rest of a mask is left out."""
    found = _merged([["*"], ["tumor", "artery"]])
    assert found.present == (
        names.KIDNEY_RIGHT, names.KIDNEY_LEFT, names.AORTA, names.TUMOR, names.ARTERY,
    )  # fmt: skip


@pytest.mark.parametrize("take", [[["kidney"]], [["kidney"], ["*"], ["*"]], [["kidny"], ["*"]]])
def test_take_that_does_not_fit_is_refused(take: list[list[str]]) -> None:
    """One entry per mask, known names only."""
    with pytest.raises(RequestInvalid):
        _merged(take)
