"""A field in blocks, where voxels are: a tree of vessels costs what it fills, not its box."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from nephra_contract.volume import bounding_box
from nephra_smoothing.field import NOTHING, Occupancy, anti_aliased, kernel_radius, plain
from nephra_smoothing.field import rescaled as rescaled_affine
from nephra_smoothing.surface import Surface, contour, in_mm

#: Cells along each side of a block.
BLOCK = 32
#: It pays for boxes of so many cells of whose blocks so many have voxels.
_LEAST_CELLS, _MOST_SHARE = 2_000_000, 0.4

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Block:
    """The part of a block where the field may be positive.

    Args:
        start: (3,) its first grid point, in the whole grid.
        values: (I, J, K) float32; the points of its last plane are the next block's first.
    """

    start: Ints
    values: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Blocks:
    """A landscape (see there) in blocks.

    Args:
        blocks: those where the field may be positive.
        affine: (4, 4) grid indices → RAS+ mm.
        low: levels above it give closed surfaces.
        lost: (L, 3) cells of the structure with no positive grid point next to them.
        side: cells along each side of a block.
    """

    blocks: tuple[Block, ...]
    affine: NDArray[np.float64]
    low: float
    lost: Ints
    side: int

    @property
    def high(self) -> float:
        """At this level, or above, nothing is enclosed."""
        return max(float(b.values.max()) for b in self.blocks)

    def holds(self, level: float, tolerance: float) -> bool:
        """Whether a grid point has that value."""
        return any((np.abs(b.values - level) < tolerance).any() for b in self.blocks)

    def surface(self, level: float = 0.0) -> Surface:
        """Each block contoured over its own cells, then joined where they meet."""
        points: list[NDArray[np.float64]] = []
        faces: list[Ints] = []
        count = 0
        for block in self.blocks:
            if block.values.max() <= level:
                continue
            found, corners = contour(block.values, level)
            points.append(found + block.start)
            faces.append(corners + count)
            count += len(found)
        if not count:
            return Surface(np.zeros((0, 3)), np.zeros((0, 3), np.int64))
        index, corners = _joined(np.concatenate(points), np.concatenate(faces), self.side)
        return in_mm(index, corners, self.affine)

    def lost_mm3(self) -> float:
        """The largest piece of voxels that have no inside of the surface even next to them."""
        if not len(self.lost):
            return 0.0
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components
        from scipy.spatial import cKDTree

        pairs = cKDTree(self.lost).query_pairs(1.5, p=np.inf, output_type="ndarray")
        links = coo_matrix((np.ones(len(pairs), np.int8), pairs.T), shape=(len(self.lost),) * 2)
        piece = connected_components(links, directed=False)[1]
        return float(np.bincount(piece).max() * abs(np.linalg.det(self.affine[:3, :3])))


def pays(mask: NDArray[np.bool_], side: int = BLOCK) -> bool:
    """Whether a structure fills so few blocks of its box that these are cheaper than the box."""
    if mask.size < _LEAST_CELLS:
        return False
    return bool(filled_blocks(mask, side).mean() < _MOST_SHARE)


def filled_blocks(mask: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """Which blocks have voxels."""
    found = mask
    for axis, length in enumerate(mask.shape):
        found = np.logical_or.reduceat(found, np.arange(0, length, side), axis=axis)
    return found


def pieces_of(mask: NDArray[np.bool_], side: int = BLOCK) -> int:
    """The number of connected pieces; voxels that touch in a corner are one piece.

    Each block is looked at with the first voxels of the next ones: of two that touch, some block
    has both. A voxel that two blocks have links their pieces.
    """
    from cc3d import connected_components
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components as components

    filled = filled_blocks(mask, side)
    places = np.argwhere(filled)[:, None] - np.array(list(product((0, 1), repeat=3)))
    places = np.unique(places.reshape(-1, 3), axis=0)
    voxels: list[Ints] = []
    labels: list[Ints] = []
    count = 0
    for start in places[(places >= 0).all(axis=1)] * side:
        found, more = connected_components(
            _cut(mask, start, start + side + 1), connectivity=26, return_N=True
        )
        for axis, end in product(range(3), (0, side)):
            plane = [slice(None)] * 3
            plane[axis] = slice(end, end + 1)
            seen = found[tuple(plane)]
            at = np.argwhere(seen)
            labels.append(seen[tuple(at.T)].astype(np.int64) - 1 + count)
            at[:, axis] += end
            voxels.append(np.ravel_multi_index(tuple((at + start).T), mask.shape))
        count += int(more)
    voxel, label = np.concatenate(voxels), np.concatenate(labels)
    order = np.argsort(voxel, kind="stable")
    voxel, label = voxel[order], label[order]
    same = np.flatnonzero(voxel[1:] == voxel[:-1])
    links = coo_matrix((np.ones(len(same), np.int8), (label[same], label[same + 1])), (count,) * 2)
    return int(components(links, directed=False, return_labels=False))


def in_blocks(
    mask: NDArray[np.bool_],
    affine: NDArray[np.float64],
    sigma: NDArray[np.float64],
    pad: int,
    side: int = BLOCK,
) -> Blocks:
    """The field of `anti_aliased`, or of `plain` where nothing is blurred, to the last bit.

    Args:
        mask: (I, J, K) at least one voxel.
        affine: (4, 4) voxel → RAS+ mm.
        sigma: (3,) standard deviations of the blur, in voxels.
        pad: empty cells around the mask.
        side: cells along each side of a block.
    """
    blocks: list[Block] = []
    lost: list[Ints] = []
    for start, stop in _ranges(mask, sigma, pad, side):
        block = _block(mask, start, stop, sigma, pad)
        if block is None:
            continue
        grown, inner = block
        lost.append(_lost(mask, grown, start, np.minimum(start + side, stop), pad))
        values = np.ascontiguousarray(grown.values[inner])
        first = grown.start + [s.start for s in inner]
        if values.max() > (NOTHING if sigma.any() else -0.5):
            blocks.append(Block(first, values))
    whole = rescaled_affine(affine, np.ones(3), pad)
    low = NOTHING if sigma.any() else -0.5
    return Blocks(tuple(blocks), whole, low, np.concatenate(lost), side)


def _ranges(
    mask: NDArray[np.bool_], sigma: NDArray[np.float64], pad: int, side: int
) -> Iterator[tuple[Ints, Ints]]:
    """First and last grid points of the blocks that voxels may reach."""
    last = np.array(mask.shape) + 2 * pad - 1
    steps = int(np.ceil((kernel_radius(sigma).max() + 1 + pad) / side))
    filled = np.argwhere(filled_blocks(mask, side))
    near = np.array(list(product(range(-steps, steps + 1), repeat=3)))
    places = np.unique((filled[:, None] + near).reshape(-1, 3), axis=0)
    for place in places[((places >= 0) & (places * side < last)).all(axis=1)]:
        yield place * side, np.minimum((place + 1) * side, last)


def _block(
    mask: NDArray[np.bool_], start: Ints, stop: Ints, sigma: NDArray[np.float64], pad: int
) -> tuple[Block, tuple[slice, ...]] | None:
    """What is near voxels in a block and one grid point around it; and which part is the block's.

    Args:
        start, stop: (3,) its first and its last grid point.
    """
    last = np.array(mask.shape) + 2 * pad - 1
    radius = kernel_radius(sigma)
    low, high = np.maximum(start - 1, 0), np.minimum(stop + 1, last)
    near = bounding_box(_cut(mask, low - radius - pad, high + radius - pad + 1))
    if near is None:
        return None
    first = np.maximum(low - radius - pad, 0) + pad
    # Beyond the voxels' reach there is nothing; one point of that belongs to the cells there.
    at = np.maximum(low, first + [s.start for s in near] - radius - 1)
    end = np.minimum(high, first + [s.stop for s in near] + radius)
    if (np.maximum(at, start) >= np.minimum(end, stop)).any():
        return None
    # Twice the kernel, as it blurs twice; without one, as far as the border's values are changed.
    halo = np.maximum(2 * radius, 1)
    share = np.zeros(end + 1 - at + 2 * halo, np.float32)
    cells = at - halo - pad
    inside = _cut(mask, cells, cells + share.shape)
    offset = np.maximum(-cells, 0)
    share[tuple(slice(o, o + n) for o, n in zip(offset, inside.shape, strict=True))] = inside
    occupied = Occupancy(share, np.eye(4))
    field = anti_aliased(occupied, sigma) if sigma.any() else plain(occupied)
    values = field.values[tuple(slice(h, n - h) for h, n in zip(halo, share.shape, strict=True))]
    for axis in range(3):
        for place in (0, last[axis]):
            if at[axis] <= place <= end[axis]:
                side = np.moveaxis(values, axis, 0)[place - at[axis]]
                np.minimum(side, NOTHING, out=side)
    inner = tuple(
        slice(max(a - b, 0), min(c, d) + 1 - b)
        for a, b, c, d in zip(start, at, stop, end, strict=True)
    )
    return Block(at, values), inner


def _cut(mask: NDArray[np.bool_], low: Ints, high: Ints) -> NDArray[np.bool_]:
    """What of a mask lies between two places, of which either may lie beyond it."""
    return mask[tuple(slice(max(a, 0), max(b, 0)) for a, b in zip(low, high, strict=True))]


def _lost(mask: NDArray[np.bool_], grown: Block, start: Ints, stop: Ints, pad: int) -> Ints:
    """The block's own voxels with no positive grid point next to them."""
    near = grown.values > 0
    for axis in range(3):
        along = np.moveaxis(near, axis, 0)
        before = along[:-1].copy()
        along[:-1] |= along[1:]
        along[1:] |= before
    low = np.maximum(start, grown.start)
    high = np.minimum(stop, grown.start + near.shape)
    low, high = np.maximum(low, pad), np.minimum(high, np.array(mask.shape) + pad)
    if (low >= high).any():
        return np.zeros((0, 3), np.int64)
    here = tuple(slice(a, b) for a, b in zip(low - grown.start, high - grown.start, strict=True))
    return np.argwhere(_cut(mask, low - pad, high - pad) & ~near[here]) + low


def _joined(
    points: NDArray[np.float64], faces: Ints, side: int
) -> tuple[NDArray[np.float64], Ints]:
    """One vertex for each edge of the grid, where blocks meet.

    Args:
        points: (N, 3) grid indices: of each, two are whole.
    """
    base = np.floor(points)
    along = points != base
    shared = np.flatnonzero((~along & (base % side == 0)).any(axis=1))
    size = base.max(axis=0) + 2
    index = base[shared].astype(np.int64)
    edge = np.ravel_multi_index(tuple(index.T), tuple(size.astype(np.int64)))
    edge = 3 * edge + along[shared].argmax(axis=1)
    _, first, which = np.unique(edge, return_index=True, return_inverse=True)
    target = np.arange(len(points))
    target[shared] = shared[first][which]
    kept = target == np.arange(len(points))
    number = np.cumsum(kept) - 1
    return points[kept], number[target][faces]
