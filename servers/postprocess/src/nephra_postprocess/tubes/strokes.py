"""Bridges drawn: a smooth path between two ends, swept by a ball of linearly varying radius."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from nephra_postprocess.tubes.bridges import Bridge

Box = tuple[slice, slice, slice]
#: How much of its end's direction a path keeps; the rest is the straight line to the other end.
_KEPT = 0.8


def path_mm(bridge: Bridge, step_mm: float) -> NDArray[np.float64]:
    """(N, 3) smooth curve along a bridge, between the whole cross-sections behind its ends.

    A cubic Hermite curve whose tangents are the ends' own, as long as the gap; it is a straight
    line where the ends face each other. It begins behind the cuts, so that what they have left
    of the tube there is made whole.
    """
    start, stop = bridge.roots_mm
    length_mm = max(float(np.linalg.norm(stop - start)), step_mm)
    count = int(np.ceil(1.2 * length_mm / step_mm)) + 1
    t = np.linspace(0, 1, max(count, 2))[:, None]
    chord = (stop - start) / length_mm
    leaving, arriving = (
        length_mm * (_KEPT * v + (1 - _KEPT) * chord) for v in (bridge.leaving, bridge.arriving)
    )
    return np.asarray(
        (2 * t**3 - 3 * t**2 + 1) * start
        + (t**3 - 2 * t**2 + t) * leaving
        + (3 * t**2 - 2 * t**3) * stop
        + (t**3 - t**2) * arriving
    )


def draw(
    path: NDArray[np.float64],
    radii_mm: tuple[float, float],
    linear: NDArray[np.float64],
    shape: tuple[int, ...],
) -> tuple[Box, NDArray[np.bool_]]:
    """Voxels of a tube around a path, with flat ends.

    Args:
        path: (N, 3) mm in the volume's local frame.
        radii_mm: at its start and stop.
        linear: (3, 3) voxel → mm.
        shape: of the volume.

    Returns:
        A box of the volume, and in it the tube's voxels; the path's own are always among them,
        so that a tube thinner than a voxel is not interrupted.
    """
    inverse: NDArray[np.float64] = np.asarray(np.linalg.inv(linear), dtype=np.float64)
    dense = np.concatenate([np.linspace(a, b, 5)[:-1] for a, b in pairwise(path)] + [path[-1:]])
    box = box_around(dense, max(radii_mm), inverse, shape)
    axes = [np.arange(part.start, part.stop) for part in box]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) @ linear.T
    reach = float(np.linalg.norm(dense[1] - dense[0])) + max(radii_mm)
    distance, at = cKDTree(dense).query(points.reshape(-1, 3), distance_upper_bound=reach + 0.1)
    there = np.isfinite(distance)
    share = np.minimum(at, len(dense) - 1) / (len(dense) - 1)
    radius = radii_mm[0] + share * (radii_mm[1] - radii_mm[0])
    inside = there & (np.round(distance, 6) <= radius)
    # A ball's cap beyond the path's ends lies in the tube behind the cut.
    inside &= _between(points.reshape(-1, 3), dense)
    found = inside.reshape(points.shape[:3])
    low = np.array([part.start for part in box])
    index = np.floor(np.round(dense @ inverse.T, 6) + 0.5).astype(int) - low
    own = ((index >= 0) & (index < found.shape)).all(axis=1)
    found[tuple(index[own].T)] = True
    return box, found


def box_around(
    points: NDArray[np.float64],
    margin_mm: float,
    inverse: NDArray[np.float64],
    shape: tuple[int, ...],
) -> Box:
    """The voxels of a volume within a box around points, widened by a margin."""
    reach = margin_mm * np.linalg.norm(inverse, axis=1) + 1
    voxels = points @ inverse.T
    low = np.clip(np.floor(voxels.min(axis=0) - reach), 0, shape).astype(int)
    high = np.clip(np.ceil(voxels.max(axis=0) + reach) + 1, 0, shape).astype(int)
    high = np.maximum(high, low)
    return slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2])


def _between(points: NDArray[np.float64], path: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points lie before the plane of neither end of a path, where they are near to it."""
    first = (points - path[0]) @ (path[1] - path[0]) < 0
    near_first = ((points - path[0]) ** 2).sum(axis=1) < ((points - path[-1]) ** 2).sum(axis=1)
    last = (points - path[-1]) @ (path[-1] - path[-2]) > 0
    return np.asarray(~(first & near_first) & ~(last & ~near_first))
