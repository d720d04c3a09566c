"""Walls made smooth, and moved so that every label keeps its volume; shared vertices move once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nephra_smoothing.walls import Ints, Walls

Points = NDArray[np.float64]

#: Degree of the smoothing polynomial.
_DEGREE = 20
#: No vertex moves further than this from where it was made, in cells, along each axis.
_ROOM = 0.75
_VOLUME_TOLERANCE = 2e-3
_MOST_STEPS = 8


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
        labels, place = np.unique(np.append(sides.ravel(), 0), return_inverse=True)
        inner, outer = place[:-1].reshape(-1, 2).T
        codes, wall = np.unique(inner * len(labels) + outer, return_inverse=True)
        pairs = np.stack([codes // len(labels), codes % len(labels)], axis=1)
        return cls(labels, pairs, wall.reshape(-1))


def volumes_mm3(points: Points, faces: Ints, sides: Sides) -> NDArray[np.float64]:
    """(L,) enclosed volumes per label; that of label 0 is minus all others."""
    across = _across(points, faces)
    return _volumes(points, faces, sides, across)


def hold_volumes(
    points: Points, faces: Ints, sides: Sides, wanted_mm3: Mapping[int, float], step_mm: float
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
    """
    target = np.array([wanted_mm3.get(int(n), 0.0) for n in sides.labels])
    target[0] = -target.sum()
    earlier = np.zeros(len(target))
    more: NDArray[np.float64] = np.ones(len(target))
    for step in range(_MOST_STEPS):
        across = _across(points, faces)
        missing = target - _volumes(points, faces, sides, across)
        if (np.abs(missing) <= _VOLUME_TOLERANCE * np.abs(target)).all():
            break
        if step:
            left = np.divide(missing, earlier, out=np.zeros_like(missing), where=earlier != 0)
            more = np.clip(more / np.clip(1 - left, 0.3, 1.5), 0.5, 4)
        earlier = missing
        area = np.linalg.norm(across, axis=1) / 2
        by_mm = np.clip(_offsets(area, sides, missing * more), -step_mm, step_mm)
        points = points + _moved(points, faces, across, area, by_mm[sides.wall])
    return points


def _offsets(
    face_mm2: NDArray[np.float64], sides: Sides, missing_mm3: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(P,) how far each wall is to move outward, mm."""
    from scipy.sparse import coo_array, eye_array
    from scipy.sparse.linalg import spsolve

    area_mm2 = np.bincount(sides.wall, face_mm2, len(sides.pairs))
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


def _moved(
    points: Points,
    faces: Ints,
    across: Points,
    area: NDArray[np.float64],
    by_mm: NDArray[np.float64],
) -> Points:
    """(N, 3) how far each vertex goes, so that its faces move by `by_mm` along their normals."""
    weight = np.zeros(len(points))
    total = np.zeros((3, len(points)))
    for corner in faces.T:
        weight += np.bincount(corner, area, len(points))
        for axis in range(3):
            total[axis] += np.bincount(corner, across[:, axis] / 2 * by_mm, len(points))
    return np.asarray((total / np.maximum(weight, 1e-12)).T)


def _across(points: Points, faces: Ints) -> Points:
    """(M, 3): per face its normal, as long as twice its area."""
    a = points[faces[:, 0]]
    return np.cross(points[faces[:, 1]] - a, points[faces[:, 2]] - a)


def _volumes(points: Points, faces: Ints, sides: Sides, across: Points) -> NDArray[np.float64]:
    # About the centre, so that a large offset from the origin costs no digits.
    centred = points[faces[:, 0]] - points.mean(axis=0)
    each = np.einsum("ij,ij->i", centred, across) / 6
    wall = np.bincount(sides.wall, each, len(sides.pairs)).astype(np.float64)
    inner, outer = sides.pairs.T
    count = len(sides.labels)
    return np.asarray(np.bincount(inner, wall, count) - np.bincount(outer, wall, count))
