"""The whole body of 117 structures."""

from __future__ import annotations

import numpy as np
import pytest

from nephra_contract import labels as names
from nephra_phantom.body import EXTENT_MM, body

SHAPE = (128, 128, 150)
TRUE_SPACING_MM = tuple(e / n for e, n in zip(EXTENT_MM, SHAPE, strict=True))


def test_all_of_the_table_is_there_in_its_size() -> None:
    """Numbers 1 to 117, with the volumes in mL that a grown patient has, and kidneys on sides."""
    drawn = body(SHAPE, (TRUE_SPACING_MM[0], TRUE_SPACING_MM[1], TRUE_SPACING_MM[2]), seed=3)
    assert drawn.present == tuple(range(1, 118))
    millilitres = drawn.volumes_ml()
    for name, low, high in [
        ("liver", 1200, 2000),
        ("kidney_left", 120, 230),
        ("brain", 1200, 1700),
        ("lung_upper_lobe_left", 900, 1900),
        ("vertebrae_L3", 20, 60),
        ("iliac_artery_left", 6, 25),
    ]:
        assert low < millilitres[names.numbers()[name]] < high, name
    right, left = (np.argwhere(drawn.voxels == n).mean(axis=0) for n in (2, 3))
    assert right[0] > SHAPE[0] / 2 > left[0]


def test_the_grid_may_be_any_and_the_seed_is_the_patient() -> None:
    """Stretched to fill the grid, the same for one seed, another for the next."""
    first = body((96, 96, 96), (0.8, 0.8, 0.8), seed=1)
    assert first.present == tuple(range(1, 118))
    assert first.spacing_mm == pytest.approx((0.8, 0.8, 0.8))
    np.testing.assert_array_equal(first.voxels, body((96, 96, 96), (0.8, 0.8, 0.8), 1).voxels)
    assert (first.voxels != body((96, 96, 96), (0.8, 0.8, 0.8), 2).voxels).any()
