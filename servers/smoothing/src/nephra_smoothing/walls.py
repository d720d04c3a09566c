"""The walls between all labels of a map, as one mesh that neighbours share.

Each tetrahedron of a grid cut into tetrahedra (six per cell, Freudenthal 1942) has a vertex
where its corners differ, and each edge whose ends differ a polygon through the tetrahedra around
it. In this dual no more than four labels meet in a point and three along a line, so that the
polygons around any one label are a closed 2-manifold, however its voxels touch. Nearly every
cell can do with one vertex for its six tetrahedra, which makes of it a surface net (Gibson 1998):
where each of its labels, and all but that label, hang together along the cell's edges. Only the
others keep their six.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nephra_smoothing.tetrahedra import corner_at, hangs_together, ring_around, tetrahedra

Ints = NDArray[np.int64]

#: Cells that are looked at side by side.
_BLOCK = 1 << 18
_TETRAHEDRA = 6


@dataclass(frozen=True, eq=False)
class Walls:
    """Polygons between labels; each has one label on either side.

    Args:
        points: (N, 3) float64, indices of the grid's axes.
        quads: (Q, 4) int64, counter-clockwise seen from outside.
        quad_sides: (Q, 2) int64, the label inside, the larger one, and the label outside.
        fans: (T, 3) int64, triangles, as the quads.
        fan_sides: (T, 2) int64.
        rims: (E, 2) int64, the sides of polygons, each once.
        meeting: (E,) bool, where three polygons or more meet.
    """

    points: NDArray[np.float64]
    quads: Ints
    quad_sides: Ints
    fans: Ints
    fan_sides: Ints
    rims: Ints
    meeting: NDArray[np.bool_]

    def triangles(self, points: NDArray[np.float64]) -> tuple[Ints, Ints]:
        """All as triangles, quads cut along the shorter diagonal, for vertices at `points`.

        Returns:
            (M, 3) faces, counter-clockwise seen from outside; (M, 2) their sides.
        """
        a, b, c, d = (points[self.quads[:, k]] for k in range(4))
        other = ((c - a) ** 2).sum(axis=1) > ((d - b) ** 2).sum(axis=1)
        start = other.astype(np.int64)
        q = np.take_along_axis(self.quads, (start[:, None] + np.arange(4)) % 4, axis=1)
        faces = np.concatenate([q[:, :3], q[:, [0, 2, 3]], self.fans])
        return faces, np.concatenate([self.quad_sides, self.quad_sides, self.fan_sides])


@dataclass(frozen=True, eq=False)
class _Cells:
    """The cells whose corners differ.

    Args:
        at: (C,) flat index of the first corner, ascending.
        loose: (C,) keeps a vertex per tetrahedron.
        first: (C,) number of its (first) vertex.
        points: (N, 3) positions of all vertices.
    """

    at: Ints
    loose: NDArray[np.bool_]
    first: Ints
    points: NDArray[np.float64]

    def vertices(self, cell: Ints, tetrahedron: int) -> Ints:
        """Numbers of the vertices of these cells (by flat index) for one tetrahedron."""
        rank = np.searchsorted(self.at, cell)
        return self.first[rank] + np.where(self.loose[rank], tetrahedron, 0)

    def any_loose(self, cells: list[Ints]) -> NDArray[np.bool_]:
        """Where one of several cells (each by flat index) is loose."""
        loose_at = self.at[self.loose]
        if not len(loose_at):
            return np.zeros(len(cells[0]), bool)
        found = np.zeros(len(cells[0]), bool)
        for cell in cells:
            rank = np.minimum(np.searchsorted(loose_at, cell), len(loose_at) - 1)
            found |= loose_at[rank] == cell
        return found


def walls(labels: NDArray[np.unsignedinteger]) -> Walls:
    """All walls of a map.

    Args:
        labels: (I, J, K) unsigned integers, C order, 0 on the whole border.
    """
    flat = labels.reshape(-1)
    strides = _strides(labels.shape)
    cells = _cells(labels, strides)
    quads, corners, triangles = [], [], []
    points, count = [cells.points], len(cells.points)
    for way in range(1, 8):
        across = _offset(way, strides)
        # The cell whose first corner is such a voxel differs in its corners, too.
        p = cells.at[flat[cells.at] != flat[cells.at + across]]
        ring = ring_around(way)
        offsets = [_offset(o, strides) for o, _ in ring]
        loose = cells.any_loose([p - o for o in sorted(set(offsets))])
        if way in (1, 2, 4):
            whole = p[~loose]
            distinct = [o for n, o in enumerate(offsets) if o != offsets[n - 1]]
            quads.append(np.stack([cells.vertices(whole - o, 0) for o in distinct], axis=1))
            corners.append(np.stack([whole, whole + across], axis=1))
        p = p[loose]
        turn = np.stack([cells.vertices(p - _offset(o, strides), t) for o, t in ring], axis=1)
        fan, of, used = _fans(turn, count)
        points.append(cells.points[turn[used]].mean(axis=1))
        triangles.append((fan, np.stack([p, p + across], axis=1)[of]))
        count += len(used)
    quad, pair = np.concatenate(quads), flat[np.concatenate(corners)].astype(np.int64)
    fan = np.concatenate([f for f, _ in triangles])
    fan_pair = flat[np.concatenate([c for _, c in triangles])].astype(np.int64)
    return _assembled(np.concatenate(points), _wound(quad, pair), _wound(fan, fan_pair))


def _assembled(
    points: NDArray[np.float64], quads: tuple[Ints, Ints], fans: tuple[Ints, Ints]
) -> Walls:
    """Without vertices that no polygon has."""
    used = np.zeros(len(points), bool)
    used[quads[0].ravel()] = used[fans[0].ravel()] = True
    number = np.cumsum(used) - 1
    quad, fan, count = number[quads[0]], number[fans[0]], int(used.sum())
    rims, times = np.unique(
        np.concatenate([_rims(quad, count), _rims(fan, count)]), return_counts=True
    )
    ends = np.stack([rims // count, rims % count], axis=1)
    return Walls(points[used], quad, quads[1], fan, fans[1], ends, times > 2)


def _rims(polygons: Ints, count: int) -> Ints:
    """One number per side of each polygon, the same from both ends."""
    ends = polygons, np.roll(polygons, -1, axis=1)
    return np.asarray(np.minimum(*ends) * count + np.maximum(*ends)).ravel()


def _wound(polygons: Ints, sides: Ints) -> tuple[Ints, Ints]:
    """With the larger label inside, of which the polygon looks outward."""
    turned = sides[:, 0] < sides[:, 1]
    polygons, sides = polygons.copy(), sides.copy()
    polygons[turned] = polygons[turned, ::-1]
    sides[turned] = sides[turned, ::-1]
    return polygons, sides


def _fans(turn: Ints, count: int) -> tuple[Ints, Ints, Ints]:
    """Triangles around a new middle of each polygon.

    Args:
        turn: (P, R) vertices around; the same one may stand in neighbouring places.
        count: vertices that there are; the first middle has this number.

    Returns:
        (T, 3) triangles; (T,) the polygon of each; the polygons that are more than a line.
    """
    following = np.roll(turn, -1, axis=1)
    apart = turn != following
    used = np.flatnonzero(apart.sum(axis=1) > 2)
    middle = np.full(len(turn), -1, np.int64)
    middle[used] = count + np.arange(len(used))
    polygon, place = np.nonzero(apart & (middle >= 0)[:, None])
    made = turn[polygon, place], following[polygon, place], middle[polygon]
    return np.stack(made, axis=1), polygon, used


def _cells(labels: NDArray[np.unsignedinteger], strides: Ints) -> _Cells:
    at = _mixed(labels)
    flat = labels.reshape(-1)
    corners = np.array([_offset(c, strides) for c in range(8)])
    loose = np.zeros(len(at), bool)
    middles = np.empty((len(at), 3), np.float32)
    for start in range(0, len(at), _BLOCK):
        part = slice(start, start + _BLOCK)
        values = flat[at[part, None] + corners]
        loose[part] = _is_loose(values)
        middles[part] = _middles(values, tuple(range(8)))
    first = np.cumsum(np.where(loose, _TETRAHEDRA, 1))
    first -= np.where(loose, _TETRAHEDRA, 1)
    total = int(first[-1]) + (_TETRAHEDRA if loose[-1] else 1) if len(at) else 0
    points = np.empty((total, 3))
    points[first[~loose]] = _places(at[~loose], labels.shape) + middles[~loose]
    values = flat[at[loose][:, None] + corners]
    for number, tetrahedron in enumerate(tetrahedra()):
        # Halfway to its own middle, so that neighbours with the same edges do not fall together.
        own = np.mean([corner_at(c) for c in tetrahedron], axis=0)
        inner = (_middles(values, tetrahedron) + own) / 2
        points[first[loose] + number] = _places(at[loose], labels.shape) + inner
    return _Cells(at, loose, first, points)


def _mixed(labels: NDArray[np.unsignedinteger]) -> Ints:
    """Flat indices of the first corners of cells whose corners differ, ascending."""
    found = [np.zeros(0, np.int64)]
    plane = labels.shape[1] * labels.shape[2]
    planes = max(_BLOCK * 16 // plane, 1)
    for start in range(0, labels.shape[0] - 1, planes):
        part = labels[start : start + planes + 1]
        mixed = np.zeros((len(part) - 1, *labels.shape[1:]), bool)
        inner = mixed[:, :-1, :-1]
        along = part[..., 1:] != part[..., :-1]
        either = along[:, 1:] | along[:, :-1]
        either |= (part[:, 1:] != part[:, :-1])[..., :-1]
        inner |= either[1:] | either[:-1]
        inner |= (part[1:] != part[:-1])[:, :-1, :-1]
        found.append(np.flatnonzero(mixed) + start * plane)
    return np.concatenate(found)


def _is_loose(values: NDArray[np.unsignedinteger]) -> NDArray[np.bool_]:
    """(C, 8) labels of corners → where one vertex would not do."""
    whole = hangs_together()
    loose = np.zeros(len(values), bool)
    for corner in range(8):
        same = np.packbits(values == values[:, corner, None], axis=1, bitorder="little")
        loose |= ~whole[same[:, 0]]
    return loose


def _middles(values: NDArray[np.unsignedinteger], corners: tuple[int, ...]) -> NDArray[np.float32]:
    """(C, 3) the mean of the middles of those edges whose ends differ, in cells."""
    between = [
        (a, b)
        for n, a in enumerate(corners)
        for b in corners[n + 1 :]
        if len(corners) == 4 or (a ^ b) in (1, 2, 4)
    ]
    middles = np.array([(corner_at(a) + corner_at(b)) / 2 for a, b in between], np.float32)
    differs = np.stack([values[:, a] != values[:, b] for a, b in between], axis=1)
    weights = differs.astype(np.float32)
    return np.asarray(weights @ middles / np.maximum(weights.sum(axis=1), 1)[:, None])


def _strides(shape: tuple[int, ...]) -> Ints:
    return np.array([shape[1] * shape[2], shape[2], 1])


def _offset(bits: int, strides: Ints) -> int:
    """How far a corner is from the first one in flat indices."""
    return int(corner_at(bits).astype(np.int64) @ strides)


def _places(at: Ints, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """(C, 3) indices of flat indices."""
    return np.stack(np.unravel_index(at, shape), axis=1).astype(np.float64)
