"""Severed trees: what was cut and added is known, and keeps to the rule."""

from __future__ import annotations

import json
from pathlib import Path

import cc3d
import numpy as np
import pytest
from numpy.typing import NDArray

from nephra_contract.nifti import read_image, read_labels
from nephra_phantom.severed import NOISE, SPACINGS_MM, Severed, drawn, whole_tree, write_cases
from nephra_phantom.vasculature import Habit, grid_of, grow
from nephra_phantom.vasculature_grid import paint


@pytest.fixture(scope="module", params=list(SPACINGS_MM))
def case(request: pytest.FixtureRequest) -> Severed:
    """A drawn tree at one of the two spacings."""
    return drawn(31, SPACINGS_MM[request.param])


def test_each_cut_parts_its_two_sides(case: Severed) -> None:
    """In the mask the sides are pieces of their own; with all removed voxels they are one."""
    pieces = cc3d.connected_components(case.mask.voxels > 0, connectivity=26)
    whole = case.mask.voxels > 0
    for cut in case.cuts:
        whole[tuple(cut.removed.T)] = True
    mended = cc3d.connected_components(whole, connectivity=26)
    inverse = np.linalg.inv(case.mask.affine)
    assert len(case.cuts) >= 5
    for cut in case.cuts:
        index = np.rint(cut.sides_mm @ inverse[:3, :3].T + inverse[:3, 3]).astype(int)
        near = [_around(pieces, i) for i in index]
        assert not near[0] & near[1]
        assert _around(mended, index[0]) & _around(mended, index[1])
        assert 3 <= cut.gap_mm <= 20


def test_noise_touches_neither_the_tree_nor_what_was_removed(case: Severed) -> None:
    """Each false piece is a component of its own, with and without the gaps."""
    whole = case.mask.voxels > 0
    for cut in case.cuts:
        whole[tuple(cut.removed.T)] = True
    pieces = cc3d.connected_components(whole, connectivity=26)
    sizes = np.bincount(pieces.ravel())
    assert len(case.noise) >= 10
    for piece in case.noise:
        number = pieces[tuple(piece.voxels[0])]
        assert sizes[number] == len(piece.voxels)


def test_a_tree_is_one_piece_and_the_same_for_a_seed() -> None:
    """All vessels hang together, down to the thinnest."""
    habit = Habit((120.0, 120.0, 120.0))
    one, other = grow(5, habit), grow(5, habit)
    assert len(one) > 5
    assert all(np.array_equal(a.points, b.points) for a, b in zip(one, other, strict=True))
    grid = grid_of(habit, (0.8, 0.8, 0.8))
    voxels = np.zeros(grid.shape, np.uint8)
    paint(voxels, grid, one, 203)
    assert cc3d.connected_components(voxels, connectivity=26, return_N=True)[1] == 1
    assert min(float(t.radii[0]) for t in one) >= 1.2


def test_cases_are_files_with_their_truth(tmp_path: Path) -> None:
    """Mask, numbers of cuts and false pieces, and a description that agrees with them."""
    write_cases(tmp_path, quick=True, first_seed=40)
    homes = sorted((tmp_path / "severed").iterdir())
    assert len(homes) == 6
    described = json.loads((homes[0] / "case.json").read_text())
    truth = read_image(homes[0] / "truth.nii.gz")
    mask = read_labels(homes[0] / "mask.nii.gz")
    assert truth.same_grid(mask)
    for cut in described["cuts"]:
        removed = truth.voxels == cut["number"]
        assert int(removed.sum()) == cut["voxels"]
        assert not mask.voxels[removed].any()
    for piece in described["noise"]:
        assert piece["number"] > NOISE
        assert bool((mask.voxels[truth.voxels == piece["number"]] > 0).all())


def test_a_whole_tree_is_large_and_severed() -> None:
    """In a small volume too it is cut and has noise around."""
    tree = whole_tree((128, 128, 128), (0.8, 0.8, 0.8), seed=3)
    assert tree.shape == (128, 128, 128)
    assert cc3d.connected_components(tree.voxels, connectivity=26, return_N=True)[1] > 20


def _around(pieces: NDArray[np.uint32], index: NDArray[np.int_]) -> set[int]:
    low = np.maximum(index - 1, 0)
    part = pieces[low[0] : index[0] + 2, low[1] : index[1] + 2, low[2] : index[2] + 2]
    return set(np.unique(part).tolist()) - {0}
