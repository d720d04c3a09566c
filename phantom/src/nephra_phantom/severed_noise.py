"""What networks invent beside vessels: blobs, and short tubes that lead nowhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nephra_phantom.grid import Box, Grid
from nephra_phantom.shapes import Tube
from nephra_phantom.vasculature_grid import paint


@dataclass(frozen=True)
class Noise:
    """A false piece.

    Args:
        kind: `blob` or `tube`.
        voxels: (n, 3) indices.
    """

    kind: str
    voxels: NDArray[np.intp]


def scatter(
    taken: NDArray[np.bool_],
    grid: Grid,
    near_mm: NDArray[np.float64],
    count: int,
    rng: np.random.Generator,
) -> list[Noise]:
    """Draw false pieces that touch neither the whole tree nor each other.

    Args:
        taken: (i, j, k) the uncut tree; pieces are added to it.
        grid: where it lies.
        near_mm: (n, 4) places and radii in mm of the gaps: two in five pieces lie beside one.
        count: how many.
        rng: where chance comes from.
    """
    found: list[Noise] = []
    tree = np.argwhere(taken)[:: max(int(taken.sum()) // 5000, 1)]
    for _ in range(20 * count):
        if len(found) == count:
            break
        centre = _somewhere(tree, grid, near_mm, rng)
        kind = "blob" if rng.uniform() < 0.6 else "tube"
        line = _blob(centre, rng) if kind == "blob" else _tube(centre, rng)
        voxels = _voxels(line, grid)
        if len(voxels) and not _touches(voxels, taken):
            taken[tuple(voxels.T)] = True
            found.append(Noise(kind, voxels))
    return found


def _somewhere(
    tree: NDArray[np.intp],
    grid: Grid,
    near_mm: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    draw = float(rng.uniform())
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    if draw < 0.4 and len(near_mm):
        place = near_mm[int(rng.integers(len(near_mm)))]
        return np.asarray(place[:3] + direction * (place[3] + rng.uniform(2, 14)))
    if draw < 0.6:
        index = tree[int(rng.integers(len(tree)))]
        start = grid.affine[:3, :3] @ index + grid.affine[:3, 3]
        return np.asarray(start + direction * rng.uniform(3, 20))
    index = rng.uniform(0, np.array(grid.shape) - 1)
    return np.asarray(grid.affine[:3, :3] @ index + grid.affine[:3, 3])


def _blob(centre: NDArray[np.float64], rng: np.random.Generator) -> Tube:
    radius = float(rng.uniform(0.6, 3.5))
    offset = rng.normal(size=3) * 0.4 * radius
    return Tube(np.stack([centre - offset, centre + offset]), radius * rng.uniform(0.7, 1, 2))


def _tube(centre: NDArray[np.float64], rng: np.random.Generator) -> Tube:
    length, radius = float(rng.uniform(4, 12)), float(rng.uniform(0.8, 2.8))
    count = int(length) + 2
    direction = rng.normal(size=3)
    steps = []
    for _ in range(count):
        direction = direction / np.linalg.norm(direction) + rng.normal(0, 0.15, 3)
        steps.append(direction / np.linalg.norm(direction) * length / count)
    points = centre + np.cumsum(steps, axis=0)
    return Tube(points - points.mean(axis=0) + centre, np.full(count, radius))


def _voxels(line: Tube, grid: Grid) -> NDArray[np.intp]:
    """(n, 3) indices of a tube's voxels; none where the grid cuts it."""
    reach = float(line.radii.max()) + 2 * float(grid.spacing_mm.max())
    box = grid.box(line.points.min(axis=0) - reach, line.points.max(axis=0) + reach)
    start = np.array([part.start for part in box])
    shape = tuple(int(part.stop - part.start) for part in box)
    if min(shape) < 1:
        return np.zeros((0, 3), np.intp)
    affine = grid.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ start
    small = np.zeros(shape, np.uint8)
    paint(small, Grid((shape[0], shape[1], shape[2]), affine), [line], 1)
    return np.asarray(np.argwhere(small) + start)


def _touches(voxels: NDArray[np.intp], taken: NDArray[np.bool_]) -> bool:
    """Whether a voxel's 26 neighbours are taken."""
    low = np.maximum(voxels.min(axis=0) - 1, 0)
    high = voxels.max(axis=0) + 2
    box: Box = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
    around = np.argwhere(taken[box]) + low
    if not len(around):
        return False
    apart = np.abs(around[:, None, :] - voxels[None, :, :]).max(axis=2)
    return bool((apart <= 1).any())
