"""Voxels that touch in an edge or a corner."""

from __future__ import annotations

import numpy as np
from cc3d import connected_components

from nephra_smoothing.contacts import corners_filled


def test_what_touches_hangs_together_by_faces() -> None:
    """Each piece of a random mask, by corners, lies within one piece by faces afterwards."""
    rng = np.random.default_rng(3)
    for share in (0.02, 0.05, 0.1):
        mask = rng.random((24, 20, 22)) < share
        filled = corners_filled(mask)
        assert (filled | ~mask).all()
        before, count = connected_components(mask, connectivity=26, return_N=True)
        after = connected_components(filled, connectivity=6)
        pairs = np.unique(np.stack([before[mask], after[mask]]), axis=1)
        assert pairs.shape[1] == count
        by_faces = connected_components(mask, connectivity=6, return_N=True)[1]
        assert by_faces > count


def test_a_body_without_such_places_stays_as_it_is() -> None:
    """A box has none; the input is never written to."""
    mask = np.zeros((9, 8, 7), bool)
    mask[2:6, 2:6, 2:5] = True
    np.testing.assert_array_equal(corners_filled(mask), mask)
    mask[6, 6, 5] = True
    before = mask.copy()
    assert corners_filled(mask).sum() == mask.sum() + 2
    np.testing.assert_array_equal(mask, before)
