"""Promises of paths around obstacles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nephra_postprocess.tubes.detours import find_detour

_LINEAR = np.diag([0.8, 0.8, 0.8])
_FIRST = np.array([5, 6, 7])


def _blocked(half_mm: float) -> NDArray[np.bool_]:
    """A post of that half width across the way, in a box of 40 x 40 x 40 voxels."""
    blocked = np.zeros((40, 40, 40), bool)
    half = int(half_mm / 0.8)
    blocked[:, 20 - half : 20 + half + 1, 18:22] = True
    return blocked


def _straight() -> NDArray[np.float64]:
    """Along z through the middle of the box, 22 mm."""
    steps = np.linspace(6, 34, 40)[:, None]
    path = (_FIRST + np.concatenate([np.full((40, 2), 20.0), steps], axis=1)) @ _LINEAR
    return np.asarray(path, np.float64)


def test_a_path_leads_around_a_post() -> None:
    """Its ends stay, it keeps clear of the post, and it is not much longer than straight."""
    blocked, straight = _blocked(2.0), _straight()
    path = find_detour(blocked, _FIRST, _LINEAR, straight, 1.5)
    assert path is not None
    np.testing.assert_allclose(path[[0, -1]], straight[[0, -1]], atol=1e-6)
    index = np.rint(path @ np.linalg.inv(_LINEAR)).astype(int) - _FIRST
    assert not blocked[tuple(index.T)].any()
    length = np.linalg.norm(np.diff(path, axis=0), axis=1).sum()
    assert 22 < length < 30


def test_no_path_is_found_where_the_way_around_is_too_long_or_closed() -> None:
    """A wall, or a post nearly as wide as one, is not gone around."""
    wall = np.zeros((40, 40, 40), bool)
    wall[:, :, 18:22] = True
    for blocked in (wall, _blocked(13.0)):
        assert find_detour(blocked, _FIRST, _LINEAR, _straight(), 1.5) is None
