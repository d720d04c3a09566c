"""Promises of the cells that voxels are put into."""

from __future__ import annotations

import cc3d
import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components

from nephra_contract.volume import LabelMap
from nephra_postprocess.tubes.cells import join_cells
from nephra_postprocess.tubes.voxels import voxels_of


def _noise(seed: int) -> LabelMap:
    voxels = (np.random.default_rng(seed).uniform(size=(23, 18, 15)) < 0.06).astype(np.uint8)
    return LabelMap(voxels * np.uint8(52), np.eye(4))


@pytest.mark.parametrize("spacing", [(0.8, 0.8, 0.8), (0.8, 0.8, 2.5), (3.0, 3.0, 3.0)])
def test_pieces_are_those_of_all_26_neighbours(spacing: tuple[float, float, float]) -> None:
    """Blocks of cells never join or part what single voxels would not."""
    for seed in range(5):
        labels = _noise(seed)
        indices = voxels_of(labels, [52])
        cells = join_cells(indices, labels.shape, np.diag(spacing))
        count, piece = connected_components(cells.graph, directed=False)
        expected = cc3d.connected_components(labels.voxels > 0, connectivity=26)
        theirs = expected[tuple(indices.T)]
        pairs = set(zip(piece[cells.cell].tolist(), theirs.tolist(), strict=True))
        assert len(pairs) == count == int(expected.max())


def test_voxels_come_in_c_order_however_the_volume_is_stored() -> None:
    """Fortran order and reversed axes give the same list."""
    labels = _noise(7)
    expected = np.argwhere(labels.voxels == 52)
    turned = np.asfortranarray(labels.voxels)
    flipped = np.ascontiguousarray(labels.voxels[::-1, :, ::-1])[::-1, :, ::-1]
    for stored in (labels.voxels, turned, flipped):
        np.testing.assert_array_equal(voxels_of(LabelMap(stored, np.eye(4)), [52]), expected)
