"""Interpolation between thick slices."""

from __future__ import annotations

import numpy as np

from nephra_smoothing.slices import between_slices


def stack(radii: list[float]) -> np.ndarray:
    """Discs, one per slice along the last axis, with two empty slices at both ends."""
    x, y = np.indices((41, 41)) - 20.0
    planes = [np.hypot(x, y) <= r for r in [-1, -1, *radii, -1, -1]]
    return np.stack(planes, axis=2).astype(np.float32)


def test_outlines_move_from_slice_to_slice() -> None:
    """Half-way between two discs lies a disc of half-way radius."""
    fine = between_slices(stack([6, 6, 14, 14]), 2, 4)
    assert fine.shape == (41, 41, 32)
    radii = np.sqrt(fine.sum(axis=(0, 1)) / np.pi)
    inner = radii[2 * 4 + 2 : 6 * 4 - 2]
    assert (np.diff(inner) >= -0.05).all()
    np.testing.assert_allclose([inner[0], inner[-1]], [6, 14], atol=0.4)
    np.testing.assert_allclose(
        inner[len(inner) // 2 - 1 : len(inner) // 2 + 1].mean(), 10, atol=0.6
    )


def test_ends_close_about_half_a_slice_further() -> None:
    """The volume stays near slices times thickness, and the border stays empty."""
    share = stack([12, 12, 12])
    fine = between_slices(share, 2, 5)
    np.testing.assert_allclose(fine.sum() / 5, share.sum(), rtol=0.06)
    assert fine[:, :, :5].max() == fine[:, :, -5:].max() == 0


def test_nothing_grows_where_no_slice_has_anything() -> None:
    """In-plane, the result stays within the outlines of the slices."""
    share = stack([3, 15, 2, 15, 3])
    fine = between_slices(share, 2, 6)
    assert fine[share.max(axis=2) == 0].max() == 0


def test_round_ends_reach_as_far_as_their_slices_tell() -> None:
    """A small last disc after a large one is a pole: the shape ends soon behind it."""

    def reach(radii: list[float]) -> float:
        """Slices between the middle of the last one and where the axis leaves the shape."""
        line = between_slices(stack(radii), 2, 10)[20, 20]
        return float(line[(len(radii) + 1) * 10 + 5 :].sum() / 10)

    flat, round_, pole = reach([12, 12, 12]), reach([14, 13, 9]), reach([14, 12, 4])
    assert flat > 0.6
    assert 0.4 < round_ <= flat
    assert 0.05 < pole < 0.25
