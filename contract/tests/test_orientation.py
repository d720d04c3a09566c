"""One way of lying for every grid."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from nephra_contract.orientation import canonical, stored_copy
from nephra_contract.testing import ORIENTATIONS, reorient
from nephra_contract.volume import LabelMap


def _oblique(degrees: float) -> NDArray[np.float64]:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("zy", [degrees, 7.0], degrees=True).as_matrix()
    affine[:3, :3] *= (0.8, 0.7, 2.5)
    affine[:3, 3] = (-30.0, 12.5, 400.0)
    return affine


@pytest.mark.parametrize("degrees", [0.0, 20.0, 45.0, 50.0])
def test_all_48_stored_orders_give_one_view(degrees: float) -> None:
    """Bit for bit, also where two axes are equally near."""
    voxels = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
    stored = LabelMap(voxels, _oblique(degrees))
    views = [canonical(reorient(stored, o)) for o in ORIENTATIONS]
    for view in views:
        np.testing.assert_array_equal(view.voxels, views[0].voxels)
        np.testing.assert_array_equal(view.affine, views[0].affine)


def test_the_view_runs_to_right_front_and_head_and_moves_nothing() -> None:
    """Every voxel stays where it is in the patient."""
    stored = LabelMap(np.arange(60, dtype=np.uint8).reshape(3, 4, 5), _oblique(20.0))
    for orientation in ORIENTATIONS:
        view = canonical(reorient(stored, orientation))
        assert (np.diagonal(view.affine)[:3] > 0).all()
        where = view.to_world(np.argwhere(view.voxels == 42))
        was = stored.to_world(np.argwhere(stored.voxels == 42))
        np.testing.assert_allclose(where, was, atol=1e-5)


def test_writing_into_the_view_of_a_copy_changes_the_copy_alone() -> None:
    """What was given stays as it was."""
    stored = reorient(LabelMap(np.zeros((3, 4, 5), np.uint8), _oblique(0.0)), ORIENTATIONS[29])
    copied, view = stored_copy(stored)
    view[0, 0, 0] = 7
    assert copied.counts == {7: 1}
    assert stored.counts == {}
