"""Walls made smooth, and moved so that every label keeps its volume; shared vertices move once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nephra_smoothing.walls import Ints, Walls

Points = NDArray[np.float64]

#: Degree of the smoothing polynomial.
_DEGREE = 20
#: No vertex moves further than this from where it was made, in cells, along each axis.
_ROOM = 0.75
_MOST_STEPS = 8
#: A face below (twice) that area, or with a shorter edge, would not survive four decimals.
_FLAT_MM2, _TOGETHER_MM = 1e-6, 5e-4
_MOST_SPREADS = 12
#: Faces that are looked at side by side.
_BLOCK, _LARGE_BLOCK = 1 << 16, 1 << 20


def relaxed(walls: Walls, pass_bands: Sequence[float]) -> list[NDArray[np.float32]]:
    """Smooth by low-pass filters (Taubin, Zhang & Golub 1996).

    Lines along which walls meet are smoothed along themselves only, points where such lines
    meet move with their ends on these lines.

    Args:
        pass_bands: 0..2; the lower, the smoother.

    Returns:
        For each of them (N, 3), where the vertices go, grid indices.
    """
    mean = _neighbours_mean(walls)
    start = walls.points.astype(np.float32)
    weights = [_filter(band) for band in pass_bands]
    earlier, now = start, np.asarray(mean @ start)
    sums = [w[0] * earlier + w[1] * now for w in weights]
    for degree in range(2, _DEGREE + 1):
        earlier, now = now, 2 * np.asarray(mean @ now) - earlier
        for total, w in zip(sums, weights, strict=True):
            total += w[degree] * now
    for total in sums:
        np.clip(total, start - _ROOM, start + _ROOM, out=total)
    return sums


def _filter(band: float) -> NDArray[np.float32]:
    """Weights of the Chebyshev polynomials of the neighbours' mean: Hamming's window."""
    n = np.arange(_DEGREE + 1)
    edge = np.arccos(np.clip(1 - band, -1, 1))
    window = 0.54 + 0.46 * np.cos(n * np.pi / (_DEGREE + 1))
    weights = window * 2 * np.sin(n * edge) / (np.maximum(n, 1) * np.pi)
    weights[0] = edge / np.pi
    return np.asarray(weights / weights.sum(), dtype=np.float32)


def _neighbours_mean(walls: Walls) -> Any:
    """(N, N) sparse: each vertex's mean over those that it is smoothed with."""
    from scipy.sparse import csr_array

    count = len(walls.points)
    on_line = np.zeros(count, bool)
    on_line[walls.rims[walls.meeting].ravel()] = True
    start = np.concatenate([walls.rims[:, 0], walls.rims[:, 1]])
    stop = np.concatenate([walls.rims[:, 1], walls.rims[:, 0]])
    kept = np.concatenate([walls.meeting, walls.meeting]) | ~on_line[start]
    start, stop = start[kept].astype(np.int32), stop[kept].astype(np.int32)
    share = (1 / np.bincount(start, minlength=count)).astype(np.float32)
    return csr_array((share[start], (start, stop)), shape=(count, count))


@dataclass(frozen=True, eq=False)
class Sides:
    """Which walls are between which labels.

    Args:
        labels: (L,) all labels, 0 first.
        pairs: (P, 2) inner and outer label of each wall, as places in `labels`.
        wall: (M,) the wall of each face.
    """

    labels: Ints
    pairs: Ints
    wall: Ints

    @classmethod
    def of(cls, sides: Ints) -> Sides:
        """From the labels (M, 2) on both sides of each face."""
        present = np.zeros(int(sides.max(initial=0)) + 1, bool)
        present[sides.ravel()] = present[0] = True
        labels, place = np.flatnonzero(present), np.cumsum(present) - 1
        codes = place[sides[:, 0]] * len(labels) + place[sides[:, 1]]
        there = np.zeros(len(labels) ** 2, bool)
        there[codes] = True
        used = np.flatnonzero(there)
        pairs = np.stack([used // len(labels), used % len(labels)], axis=1)
        return cls(labels, pairs, (np.cumsum(there) - 1)[codes])

    @cached_property
    def starts(self) -> Ints:
        """(P + 1,) where the faces of each wall begin, if they lie wall by wall."""
        counts = np.bincount(self.wall, minlength=len(self.pairs))
        return np.concatenate([[0], np.cumsum(counts)])

    def walls_of(self, label: int) -> tuple[Ints, Ints]:
        """Numbers of the walls that a label is inside of, and of those that it is outside of."""
        inner, outer = (self.labels[self.pairs] == label).T
        return np.flatnonzero(inner), np.flatnonzero(outer)


def volumes_mm3(points: Points, faces: Ints, sides: Sides) -> NDArray[np.float64]:
    """(L,) enclosed volumes per label; that of label 0 is minus all others."""
    return _measured(points, faces, sides)[0]


def hold_volumes(
    points: Points,
    faces: Ints,
    sides: Sides,
    wanted_mm3: Mapping[int, float],
    step_mm: float,
    tolerance: float,
) -> Points:
    """Move each wall along its normals so that every label encloses its volume.

    As if each label had a pressure and a wall gave way by the difference of its two: the
    pressures that mend all volumes at once are the solution of a Laplace equation between
    labels, weighted by the area of their walls. With curvature, and where walls meet, this is
    near the truth only, so it is repeated, for each label with what was learnt of its response.

    Args:
        points: (N, 3) mm.
        wanted_mm3: by label.
        step_mm: no vertex moves further than this at once.
        tolerance: of a volume, as a share of it.
    """
    target = np.array([wanted_mm3.get(int(n), 0.0) for n in sides.labels])
    target[0] = -target.sum()
    earlier = np.zeros(len(target))
    more: NDArray[np.float64] = np.ones(len(target))
    for step in range(_MOST_STEPS):
        volume_mm3, area_mm2 = _measured(points, faces, sides)
        missing = target - volume_mm3
        if (np.abs(missing) <= tolerance * np.abs(target)).all():
            break
        if step:
            left = np.divide(missing, earlier, out=np.zeros_like(missing), where=earlier != 0)
            more = np.clip(more / np.clip(1 - left, 0.3, 1.5), 0.5, 4)
        earlier = missing
        by_mm = np.clip(_offsets(area_mm2, sides, missing * more), -step_mm, step_mm)
        points = points + _moved(points, faces, sides, by_mm)
    return points


def spread(points: Points, faces: Ints, apart: Points | None) -> Points:
    """Take vertices apart that fell together, or into one line: no face is without an area.

    Args:
        points: (N, 3) mm.
        apart: (N, 3) mm, where no face is flat; vertices go half of the way there, again and
            again. None: to the middle of their neighbours.
    """
    for _ in range(_MOST_SPREADS):
        corners = np.ascontiguousarray(faces.T)
        axes = np.ascontiguousarray(points.T)
        flat = np.zeros(len(faces), bool)
        for start in range(0, len(faces), _BLOCK):
            flat[start : start + _BLOCK] = _is_flat(axes, corners[:, start : start + _BLOCK])
        if not flat.any():
            break
        moving = np.zeros(len(points), bool)
        moving[faces[flat].ravel()] = True
        goal = _middles(points, faces, moving) if apart is None else apart[moving]
        points = points.copy()
        points[moving] = (points[moving] + goal) / 2
    return points


def _middles(points: Points, faces: Ints, moving: NDArray[np.bool_]) -> Points:
    """Where the middles of the neighbours of some vertices are."""
    around = faces[moving[faces].any(axis=1)]
    weight = np.bincount(around.ravel(), minlength=len(points))[moving] * 2.0
    middles = []
    for along in points.T:
        others = along[around].sum(axis=1, keepdims=True) - along[around]
        total = np.bincount(around.ravel(), others.ravel(), len(points))
        middles.append(total[moving] / weight)
    return np.stack(middles, axis=1)


def _is_flat(axes: Points, corners: Ints) -> NDArray[np.bool_]:
    """(M,) whether a face has hardly an area, or an edge hardly a length."""
    flat = (_across(axes, corners) ** 2).sum(axis=0) <= _FLAT_MM2**2
    for one, other in ((0, 1), (1, 2), (2, 0)):
        apart = sum((axis[corners[one]] - axis[corners[other]]) ** 2 for axis in axes)
        flat |= np.asarray(apart) <= _TOGETHER_MM**2
    return np.asarray(flat)


def _offsets(
    area_mm2: NDArray[np.float64], sides: Sides, missing_mm3: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(P,) how far each wall is to move outward, mm."""
    from scipy.sparse import coo_array, eye_array
    from scipy.sparse.linalg import spsolve

    inner, outer = sides.pairs.T
    count = len(sides.labels)
    rows = np.concatenate([inner, outer, inner, outer])
    columns = np.concatenate([inner, outer, outer, inner])
    values = np.concatenate([area_mm2, area_mm2, -area_mm2, -area_mm2])
    laplace = coo_array((values, (rows, columns)), shape=(count, count)).tocsr()[1:, 1:]
    # A label without any area left would make the equation singular.
    laplace = laplace + 1e-9 * eye_array(count - 1)
    pressure = np.concatenate([[0.0], np.atleast_1d(spsolve(laplace.tocsc(), missing_mm3[1:]))])
    return np.asarray(pressure[inner] - pressure[outer])


def _moved(points: Points, faces: Ints, sides: Sides, by_mm: NDArray[np.float64]) -> Points:
    """(N, 3) how far each vertex goes, so that walls move by `by_mm` along their normals."""
    weight = np.zeros(len(points))
    total = np.zeros((3, len(points)))
    axes = np.ascontiguousarray(points.T)
    for start in range(0, len(faces), _LARGE_BLOCK):
        corners = np.ascontiguousarray(faces[start : start + _LARGE_BLOCK].T)
        across = _across(axes, corners)
        area = np.sqrt((across**2).sum(axis=0)) / 2
        across *= by_mm[sides.wall[start : start + _LARGE_BLOCK]] / 2
        for corner in corners:
            weight += np.bincount(corner, area, len(points))
            for axis in range(3):
                total[axis] += np.bincount(corner, across[axis], len(points))
    return np.asarray((total / np.maximum(weight, 1e-12)).T)


def _measured(
    points: Points, faces: Ints, sides: Sides
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(L,) volumes of labels, and (P,) areas of walls."""
    # About the centre, so that a large offset from the origin costs no digits.
    axes = np.ascontiguousarray((points - points.mean(axis=0)).T)
    volume, area = np.zeros(len(sides.pairs)), np.zeros(len(sides.pairs))
    # In blocks that stay in the processor's cache.
    for start in range(0, len(faces), _BLOCK):
        corners = np.ascontiguousarray(faces[start : start + _BLOCK].T)
        across = _across(axes, corners)
        wall = sides.wall[start : start + _BLOCK]
        each = sum(axes[axis][corners[0]] * across[axis] for axis in range(3))
        volume += np.bincount(wall, each, len(volume))
        area += np.bincount(wall, np.sqrt((across**2).sum(axis=0)), len(area))
    inner, outer = sides.pairs.T
    count = len(sides.labels)
    whole = np.bincount(inner, volume, count) - np.bincount(outer, volume, count)
    return np.asarray(whole / 6), area / 2


def _across(axes: Points, corners: Ints) -> Points:
    """(3, M): per face its normal, as long as twice its area.

    Args:
        axes: (3, N) x, y and z of the vertices.
        corners: (3, M).
    """
    first, second, third = corners
    u = [axis[second] - axis[first] for axis in axes]
    v = [axis[third] - axis[first] for axis in axes]
    out = np.empty(corners.shape)
    for axis in range(3):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        out[axis] = u[i] * v[j] - u[j] * v[i]
    return out
