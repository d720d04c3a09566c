"""A field in blocks is the same field."""

from __future__ import annotations

import numpy as np
import pytest
from cc3d import connected_components
from numpy.typing import NDArray

from nephra_smoothing import simplification
from nephra_smoothing.blocks import Blocks, in_blocks, pays, pieces_of
from nephra_smoothing.field import anti_aliased, occupancy, padding, plain
from nephra_smoothing.landscape import Whole
from nephra_smoothing.shape import Structure, Wish
from nephra_smoothing.simplification import simplify
from nephra_smoothing.soundness import is_sound, shells
from nephra_smoothing.structure import surface_of
from nephra_smoothing.surface import Surface

AFFINE = np.array([[-0.8, 0, 0.1, 40], [0, 0.7, 0, -9], [0, 0, 1.1, 300], [0, 0, 0, 1]])
Mask = NDArray[np.bool_]


def tubes() -> Mask:
    """Crooked thin tubes, one wide one, and specks, some at the border."""
    rng = np.random.default_rng(3)
    mask = np.zeros((61, 47, 53), bool)
    x, y, z = np.indices(mask.shape)
    mask |= np.hypot(x - 20 - z / 8, y - 17) < 5.3
    for _ in range(6):
        place = rng.integers(5, 40, 3)
        for _ in range(90):
            place = np.clip(place + rng.integers(-1, 2, 3), 0, np.array(mask.shape) - 2)
            i, j, k = place
            mask[i : i + 2, j : j + 2, k : k + 2] = True
    mask[tuple(rng.integers(0, 47, (3, 60)))] = True
    return mask


def both(mask: Mask, sigma: float, side: int) -> tuple[Whole, Blocks]:
    """The field on one grid, and in blocks."""
    sigmas = np.full(3, sigma)
    pad = padding(sigmas, np.ones(3))
    occupied = occupancy(mask, AFFINE, (1, 1, 1), pad)
    spacing = occupied.spacing_mm
    field = anti_aliased(occupied, sigmas * spacing) if sigma else plain(occupied)
    return Whole(field, occupied), in_blocks(mask, AFFINE, sigmas, pad, side)


def triangles(surface: Surface) -> NDArray[np.float64]:
    """(M, 9) the corners of all faces, each from its lowest on, in order."""
    corners = np.round(surface.points, 3)[surface.faces]
    key = corners @ np.array([1e6, 1e3, 1.0])
    turn = (key.argmin(axis=1)[:, None] + np.arange(3)) % 3
    rows = np.take_along_axis(corners, turn[:, :, None], axis=1).reshape(-1, 9)
    return np.asarray(rows[np.lexsort(rows.T)])


@pytest.mark.parametrize("sigma", [0.0, 0.8, 2.0])
@pytest.mark.parametrize("side", [8, 16, 32])
def test_blocks_give_the_same_surface(side: int, sigma: float) -> None:
    """The same triangles, wound alike, at any level, and closed where blocks meet."""
    whole, blocks = both(tubes(), sigma, side)
    assert len(blocks.blocks) > 1
    assert blocks.high == whole.high
    for level in (0.0, 0.031):
        one, many = whole.surface(level), blocks.surface(level)
        assert len(many.points) == len(one.points)
        assert len(many.faces) == len(one.faces)
        assert is_sound(many) is is_sound(one)
        assert many.volume_mm3 == pytest.approx(one.volume_mm3, rel=1e-6)
        far = np.abs(np.sort(many.points, axis=0) - np.sort(one.points, axis=0))
        assert far.max() < 1e-4
        same = np.isclose(triangles(many), triangles(one), atol=2e-3).all(axis=1)
        assert same.mean() > 0.99


@pytest.mark.parametrize("side", [8, 16])
def test_what_is_lost_is_the_same(side: int) -> None:
    """Voxels without a surface near them are found in blocks, too."""
    for sigma in (0.8, 3.0):
        whole, blocks = both(tubes(), sigma, side)
        assert blocks.lost_mm3() == pytest.approx(whole.lost_mm3())


@pytest.mark.parametrize("share", [0.01, 0.06, 0.15])
@pytest.mark.parametrize("side", [4, 7])
def test_pieces_are_counted_across_blocks(side: int, share: float) -> None:
    """Corner to corner across the corner of blocks is one piece."""
    mask = np.random.default_rng(1).random((31, 33, 29)) < share
    assert pieces_of(mask, side) == connected_components(mask, connectivity=26, return_N=True)[1]


def test_blocks_pay_for_what_is_sparse_only() -> None:
    """A line through a large box pays, a solid there does not; nor does a small box."""
    mask = np.zeros((160, 160, 160), bool)
    mask[80, 80] = True
    assert pays(mask)
    assert not pays(mask[70:90, 70:90])
    assert not pays(~mask)


def lattice() -> Mask:
    """Three thin tubes that cross in a large empty box, and a few specks."""
    mask = np.zeros((150, 150, 150), bool)
    mask[60:63, 60:64, 3:147] = mask[60:63, 3:147, 70:73] = mask[3:147, 61:63, 40:44] = True
    for place in (20, 90, 130):
        mask[place : place + 3, place : place + 3, place : place + 4] = True
    return mask


def test_a_sparse_tree_gets_the_same_surface(monkeypatch: pytest.MonkeyPatch) -> None:
    """From voxels to triangles, with and without blocks: the same count, volume and pieces."""
    structure, other = Structure(lattice(), AFFINE), Structure(lattice(), AFFINE)
    wish = Wish(thin=True, smoothing_mm=None, decimation_error_mm=0.0, most_triangles=10**6)
    assert structure.is_sparse
    sparse = surface_of(structure, wish)
    monkeypatch.setitem(other.__dict__, "is_sparse", False)
    dense = surface_of(other, wish)
    assert sparse.faults == dense.faults == ()
    assert len(sparse.surface.faces) == len(dense.surface.faces)
    assert is_sound(sparse.surface)
    assert len(shells(sparse.surface)) == len(shells(dense.surface)) == 4
    assert sparse.surface.volume_mm3 == pytest.approx(structure.volume_mm3, rel=1e-3)
    far = np.abs(np.sort(sparse.surface.points, axis=0) - np.sort(dense.surface.points, axis=0))
    assert far.max() < 0.01


def test_simplifying_in_parts_leaves_one_sound_surface(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where parts meet they are joined again: closed, as many pieces, within the distance."""
    whole, _ = both(lattice(), 0.8, 32)
    surface = whole.surface()
    at_once, _ = simplify(surface, 0.1, 2.0, 10**6)
    monkeypatch.setattr(simplification, "_FACES_AT_A_TIME", len(surface.faces) // 4)
    fewer, found_mm = simplify(surface, 0.1, 2.0, 10**6)
    assert found_mm <= 0.1
    assert is_sound(fewer)
    assert len(shells(fewer)) == len(shells(surface))
    assert len(at_once.faces) < len(fewer.faces) < 0.8 * len(surface.faces)
