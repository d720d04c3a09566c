"""Promises of the maps from a patient to a template."""

from __future__ import annotations

import numpy as np
import pytest

from nephra_postprocess.atlas.warp import JACOBIAN_FLOOR, Warp, bent

_COMMON = np.array([[1.1, 0, 0, 5], [0, 0.9, 0, -3], [0, 0, 1.2, 8], [0, 0, 0, 1.0]])
_LATTICE = np.diag([4.0, 4.0, 4.0, 1.0])


def _warp(amplitude_mm: float) -> Warp:
    """A wave along x on a lattice of 12 nodes a side."""
    x = np.indices((12, 12, 12))[0] * 4.0
    bend = np.zeros((12, 12, 12, 3), np.float32)
    bend[..., 0] = amplitude_mm * np.sin(2 * np.pi * x / 24.0)
    return Warp(_LATTICE, _COMMON, bend)


def test_push_leads_back_where_pull_came_from() -> None:
    """Points go to the template and return, to a hundredth of a millimetre."""
    warp, points = _warp(2.0), np.random.default_rng(3).uniform(-20, 60, (200, 3))
    np.testing.assert_allclose(warp.push(warp.pull(points)), points, atol=0.02)


def test_an_affine_map_has_its_determinant_everywhere() -> None:
    """Without a bend the Jacobian is the common map's."""
    assert _warp(0.0).jacobian_min == pytest.approx(1.1 * 0.9 * 1.2, abs=1e-3)


def test_a_fold_is_seen() -> None:
    """A wave that turns back on itself has a negative Jacobian."""
    assert _warp(8.0).jacobian_min < 0


def test_a_deformation_that_would_fold_is_taken_back() -> None:
    """Half of it may be kept, or none."""
    warp = _warp(0.0)
    shift = np.zeros((20, 20, 20, 3), np.float32)
    shift[6:14, 6:14, 6:14, 0] = 30.0 * (-1.0) ** np.arange(8)[:, None, None]
    result = bent(warp, [(np.diag([2.0, 2.0, 2.0, 1.0]), shift)])
    assert result.jacobian_min > min(JACOBIAN_FLOOR, 0.9 * warp.jacobian_min)


def test_a_gentle_deformation_is_applied() -> None:
    """What is at x + shift(x) in the old map is at x in the new one."""
    warp = _warp(1.0)
    shift = np.zeros((24, 24, 24, 3), np.float32)
    shift[..., 1] = 3.0 * np.sin(np.pi * np.indices((24, 24, 24))[1] / 23)
    result = bent(warp, [(np.diag([2.0, 2.0, 2.0, 1.0]), shift)])
    point = np.array([[24.0, 24.0, 24.0]])
    expected = warp.pull(point + np.array([[0.0, shift[12, 12, 12, 1], 0.0]]))
    np.testing.assert_allclose(result.pull(point), expected, atol=0.1)
