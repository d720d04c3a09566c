"""Bridges drawn: a smooth path between two ends, swept by a ball of linearly varying radius."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nephra_postprocess.bridges import Bridge


def path_mm(bridge: Bridge, step_mm: float) -> NDArray[np.float64]:
    """(N, 3) cubic Hermite curve along a bridge, from start to stop.

    Its tangents are the ends' own, as long as the gap; the curve is a straight line where the
    ends face each other.
    """
    length_mm = max(bridge.length_mm, step_mm)
    count = int(np.ceil(1.2 * length_mm / step_mm)) + 1
    t = np.linspace(0, 1, max(count, 2))[:, None]
    start, stop = bridge.start_mm, bridge.stop_mm
    leaving, arriving = bridge.leaving * length_mm, bridge.arriving * length_mm
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
) -> tuple[tuple[slice, slice, slice], NDArray[np.bool_]]:
    """Voxels of a tube around a path.

    Args:
        path: (N, 3) mm in the crop's local frame.
        radii_mm: at its start and stop.
        linear: (3, 3) voxel → mm.
        shape: of the crop.

    Returns:
        A box of the crop, and in it the tube's voxels; the path's own are always among them,
        so that a tube thinner than a voxel is not interrupted.
    """
    inverse: NDArray[np.float64] = np.asarray(np.linalg.inv(linear), dtype=np.float64)
    reach = max(radii_mm) * np.linalg.norm(inverse, axis=1) + 1
    voxels = path @ inverse.T
    low = np.maximum(np.floor(voxels.min(axis=0) - reach), 0).astype(int)
    high = np.minimum(np.ceil(voxels.max(axis=0) + reach) + 1, shape).astype(int)
    high = np.maximum(high, low)
    box = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
    grid = np.stack(
        np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij"),
        axis=-1,
    )
    points = grid @ linear.T
    inside = np.zeros(points.shape[:3], dtype=bool)
    steps = np.linspace(0, 1, len(path))
    for (a, b), (u, v) in zip(pairwise(path), pairwise(steps), strict=True):
        along = b - a
        t = np.clip((points - a) @ along / max(float(along @ along), 1e-12), 0, 1)
        radius_mm = radii_mm[0] + (u + t * (v - u)) * (radii_mm[1] - radii_mm[0])
        distance2 = ((points - a - t[..., None] * along) ** 2).sum(axis=-1)
        inside |= np.round(distance2, 9) <= radius_mm**2
    _mark_path(inside, path, low, inverse)
    return box, inside


def _mark_path(
    inside: NDArray[np.bool_],
    path: NDArray[np.float64],
    low: NDArray[np.int_],
    inverse: NDArray[np.float64],
) -> None:
    dense = np.concatenate([np.linspace(a, b, 8) for a, b in pairwise(path)])
    index = np.floor(np.round(dense @ inverse.T, 6) + 0.5).astype(int) - low
    there = ((index >= 0) & (index < inside.shape)).all(axis=1)
    inside[tuple(index[there].T)] = True
