"""Where labels lie."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy.ndimage import find_objects

from nephra_smoothing.boxes import boxes_of


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("step", [1, -1])
def test_boxes_are_right_however_the_memory_lies(order: tuple[int, ...], step: int) -> None:
    """As scipy finds them, on turned and mirrored views, ascending."""
    rng = np.random.default_rng(8)
    voxels = rng.integers(0, 200, (9, 13, 11)).astype(np.uint8) * (rng.random((9, 13, 11)) < 0.2)
    view = voxels.astype(np.uint8).transpose(order)[::step, :, ::-1]
    found = boxes_of(view)
    expected = enumerate(find_objects(np.ascontiguousarray(view)), start=1)
    assert found == {number: box for number, box in expected if box is not None}
    assert list(found) == sorted(found)


def test_an_empty_map_has_none() -> None:
    """No label, no box."""
    assert boxes_of(np.zeros((4, 5, 6), np.uint8)) == {}
