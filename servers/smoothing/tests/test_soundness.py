"""Whether a surface is one that a solid body can have."""

from __future__ import annotations

import numpy as np
import pytest

from nephra_smoothing.soundness import faulty_points, is_sound, shells, without_crumbs
from nephra_smoothing.surface import Surface

POINTS = np.array([[0.0, 0, 0], [3, 0, 0], [0, 2, 0], [0, 0, 1]])
FACES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])


def joined(shared: int) -> Surface:
    """Two tetrahedra that have their first `shared` vertices in common."""
    other = POINTS[shared:] * (1, 1, -2) + (0, 0, -0.5)
    number = np.array([*range(shared), *range(4, 8 - shared)])
    turned = number[FACES[:, ::-1]]
    return Surface(np.concatenate([POINTS, other]), np.concatenate([FACES, turned]))


def test_a_tetrahedron_is_sound() -> None:
    """Closed, outward, no fault."""
    surface = Surface(POINTS, FACES)
    assert is_sound(surface)
    assert len(faulty_points(surface)) == 0
    assert shells(surface) == pytest.approx([1.0])


@pytest.mark.parametrize(
    "faces",
    [
        FACES[:3],
        np.concatenate([FACES[:3], FACES[3:, ::-1]]),
        np.concatenate([FACES, FACES[:1]]),
        np.zeros((0, 3), np.int64),
    ],
    ids=["a hole", "a face turned", "a face twice", "nothing"],
)
def test_what_is_not_closed_is_not_sound(faces: np.ndarray) -> None:
    """Holes, turned and doubled faces are found."""
    assert not is_sound(Surface(POINTS, faces))


def test_bodies_that_touch_in_a_vertex_or_an_edge_are_not_sound() -> None:
    """A pinch is no 2-manifold, though every edge may have its two faces."""
    assert is_sound(joined(0))
    assert not is_sound(joined(1))
    assert not is_sound(joined(2))
    np.testing.assert_array_equal(faulty_points(joined(1)), POINTS[:1])
    np.testing.assert_array_equal(faulty_points(joined(2)), POINTS[:2])


def test_flat_faces_are_not_sound() -> None:
    """A face without an area has no normal."""
    flat = POINTS.copy()
    flat[3] = (1.5, 0, 0)
    assert not is_sound(Surface(flat, FACES))


def test_crumbs_are_left_out() -> None:
    """Small pieces go, large ones stay; never all."""
    both = Surface(np.concatenate([POINTS, POINTS / 10 + 20]), np.concatenate([FACES, FACES + 4]))
    kept = without_crumbs(both, 0.5)
    assert shells(kept) == pytest.approx([1.0])
    assert len(kept.points) == 4
    assert without_crumbs(both, 1e6) is both
