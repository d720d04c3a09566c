"""Tubes cut through at known places, as networks leave them: tilted, ragged, or with a horn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from nephra_phantom.grid import Box, Grid
from nephra_phantom.shapes import Point, Tube

Ending = Literal["flat", "tilted", "ragged", "horn"]
_ENDINGS: tuple[Ending, ...] = ("flat", "tilted", "ragged", "horn")
_SHARES = (0.3, 0.3, 0.2, 0.2)
_SAMPLE_MM = 0.5


@dataclass(frozen=True)
class Course:
    """A centre line sampled densely.

    Args:
        points: (n, 3) mm, `_SAMPLE_MM` apart.
        radii: (n,) mm.
        free: (n,) it runs in no other tube there, and inside of the grid.
        unbranched: (n,) no other tube begins there.
    """

    points: NDArray[np.float64]
    radii: NDArray[np.float64]
    free: NDArray[np.bool_]
    unbranched: NDArray[np.bool_]


@dataclass(frozen=True)
class Cut:
    """One place where a tube was severed.

    Args:
        gap_mm: along the centre line.
        radius_mm: of the tube in the middle of the gap.
        endings: how its two ends look.
        ends_mm: (2, 3) where the centre line enters and leaves the gap, in world mm.
        directions: (2, 3) unit, of the centre line there, into the gap.
        sides_mm: (2, 3) points inside of the tube just behind both ends, in world mm.
        kept_mm: (2, 3) points up to which both sides keep their tube.
        removed: (n, 3) voxel indices that were taken away.
    """

    gap_mm: float
    radius_mm: float
    endings: tuple[Ending, Ending]
    ends_mm: NDArray[np.float64]
    directions: NDArray[np.float64]
    sides_mm: NDArray[np.float64]
    kept_mm: NDArray[np.float64]
    removed: NDArray[np.intp]


def courses(tubes: list[Tube], grid: Grid) -> list[Course]:
    """Sample centre lines, and find out where they may be cut."""
    dense = [_sample(one) for one in tubes]
    inverse = np.linalg.inv(grid.affine)
    found = []
    low = np.array([p.min(axis=0) - r.max() - 1.0 for p, r in dense])
    high = np.array([p.max(axis=0) + r.max() + 1.0 for p, r in dense])
    for n, (points, radii) in enumerate(dense):
        free = np.ones(len(points), bool)
        unbranched = np.ones(len(points), bool)
        for m in np.flatnonzero(((low <= high[n]) & (high >= low[n])).all(axis=1)).tolist():
            if m == n:
                continue
            others, other_radii = dense[m]
            distance, at = cKDTree(others).query(points)
            free &= distance > 0.9 * other_radii[at]
            for end in (0, -1):
                away = np.linalg.norm(points - others[end], axis=1)
                inside = away < radii + 1.0
                if inside.any():
                    unbranched &= away > other_radii[end] + np.maximum(radii, 1.0) * 0.5 + 1.0
        index = points @ inverse[:3, :3].T + inverse[:3, 3]
        free &= ((index > 1) & (index < np.array(grid.shape) - 2)).all(axis=1)
        found.append(Course(points, radii, free, unbranched))
    return found


def sever(
    mask: NDArray[np.bool_],
    grid: Grid,
    tubes: list[Tube],
    count: int,
    rng: np.random.Generator,
    least_radius_mm: float = 0.0,
    proven: bool = True,
) -> list[Cut]:
    """Cut a tree at random places; `mask` is written into.

    Both sides keep at least max(8 mm, 0.8 gap, local diameter) of their vessel.

    Args:
        mask: (i, j, k) the tree's voxels.
        grid: where they lie.
        tubes: the tree's centre lines.
        count: how many cuts are wanted; fewer where there is no room.
        rng: where chance comes from.
        least_radius_mm: thinner tubes are not cut.
        proven: look whether each cut parts its two sides; takes it back if not.
    """
    lines = courses(tubes, grid)
    kept = [line.free.copy() for line in lines]
    lengths = np.array([line.free.sum() for line in lines], dtype=np.float64)
    cuts: list[Cut] = []
    for _ in range(40 * count):
        if len(cuts) == count:
            break
        # Trunks are few: half of the weight is per vessel, half by length.
        weights = lengths / lengths.sum() + (lengths > 0) / (lengths > 0).sum()
        n = int(rng.choice(len(lines), p=weights / weights.sum()))
        place = _place(lines[n], kept[n], rng)
        if place is None or lines[n].radii[sum(place) // 2] < least_radius_mm:
            continue
        cut = _cut(mask, grid, lines, n, place, rng)
        if cut is None or (proven and not _parts(mask, grid, cut)):
            continue
        kept[n][place[0] - 2 : place[1] + 2] = False
        cuts.append(cut)
    return cuts


def _sample(one: Tube) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    steps = np.linalg.norm(np.diff(one.points, axis=0), axis=1)
    arc = np.concatenate([[0], np.cumsum(steps)])
    where = np.arange(0, arc[-1], _SAMPLE_MM)
    points = np.stack([np.interp(where, arc, column) for column in one.points.T], axis=1)
    return points, np.interp(where, arc, one.radii)


def _place(
    line: Course, kept: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[int, int] | None:
    """First and last sample of a gap, or None where the drawn one breaks the rule."""
    gap_mm = float(rng.uniform(3, 20))
    size = round(gap_mm / _SAMPLE_MM)
    if len(line.points) <= size + 2:
        return None
    first = int(rng.integers(0, len(line.points) - size))
    last = first + size
    need = _kept(line, first, last)
    if first - need < 0 or last + need >= len(line.points):
        return None
    if not kept[first - need : last + need + 1].all() or not line.unbranched[first:last].all():
        return None
    return first, last


def _kept(line: Course, first: int, last: int) -> int:
    """How many samples both sides of a gap keep: max(8 mm, 0.8 gap, local diameter)."""
    gap_mm = (last - first) * _SAMPLE_MM
    diameter = 2 * float(line.radii[first : last + 1].max())
    return int(np.ceil(max(8.0, 0.8 * gap_mm, diameter) / _SAMPLE_MM))


def _cut(
    mask: NDArray[np.bool_],
    grid: Grid,
    lines: list[Course],
    number: int,
    place: tuple[int, int],
    rng: np.random.Generator,
) -> Cut | None:
    """Take the voxels of a gap away."""
    line, (first, last) = lines[number], place
    radius = float(line.radii[(first + last) // 2])
    reach = 2.5 * float(line.radii[first : last + 1].max()) + 4.0
    low, high = line.points[first : last + 1].min(0), line.points[first : last + 1].max(0)
    box = grid.box(low - reach, high + reach)
    indices = np.argwhere(mask[box]) + [part.start for part in box]
    points = indices @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    around = int(np.ceil(reach / _SAMPLE_MM))
    own = slice(max(first - around, 0), last + around)
    distance, _ = cKDTree(line.points[own]).query(points)
    mine = distance < line.radii[own].max() + float(grid.spacing_mm.max())
    mine &= ~_of_others(points, distance / radius, lines, number, box, grid)
    endings = [_ENDINGS[n] for n in rng.choice(len(_ENDINGS), size=2, p=_SHARES)]
    inside = mine
    behind, directions = [], []
    for at, sign, ending in ((first, 1.0, endings[0]), (last, -1.0, endings[1])):
        along = line.points[min(at + 3, len(line.points) - 1)] - line.points[max(at - 3, 0)]
        along = sign * along / np.linalg.norm(along)
        removed, depth = _end(points - line.points[at], along, radius, ending, rng)
        directions.append(along)
        inside = inside & removed
        behind.append(at - int(sign * (depth + 2.0) / _SAMPLE_MM))
    taken = indices[inside]
    if len(taken) < 4:
        return None
    mask[tuple(taken.T)] = False
    need = _kept(line, first, last) - 2
    sides = line.points[np.clip(behind, 0, len(line.points) - 1)]
    kept = line.points[[first - need, last + need]]
    return Cut(
        (last - first) * _SAMPLE_MM, radius, (endings[0], endings[1]), line.points[[first, last]],
        np.stack(directions), sides, kept, taken,
    )  # fmt: skip


def _of_others(
    points: NDArray[np.float64],
    share: NDArray[np.float64],
    lines: list[Course],
    number: int,
    box: Box,
    grid: Grid,
) -> NDArray[np.bool_]:
    """Which voxels lie deeper in another tube than in the one that is cut."""
    start = np.array([part.start for part in box], dtype=np.float64)
    stop = np.array([part.stop for part in box], dtype=np.float64)
    low, high = (grid.affine[:3, :3] @ v + grid.affine[:3, 3] for v in (start, stop))
    low, high = np.minimum(low, high), np.maximum(low, high)
    found = np.zeros(len(points), bool)
    for n, line in enumerate(lines):
        near = ((line.points > low) & (line.points < high)).all(axis=1)
        if n == number or not near.any():
            continue
        away, at = cKDTree(line.points[near]).query(points)
        found |= away / line.radii[near][at] < share
    return found


def _end(
    offset: NDArray[np.float64],
    along: Point,
    radius: float,
    ending: str,
    rng: np.random.Generator,
) -> tuple[NDArray[np.bool_], float]:
    """Voxels beyond one end of a gap, and by how many mm the end reaches back.

    Args:
        offset: (n, 3) mm from the end's middle.
        along: direction into the gap.
        radius: of the tube in mm.
        ending: its look.
        rng: where chance comes from.
    """
    across = rng.normal(size=3)
    across -= (across @ along) * along
    across /= np.linalg.norm(across)
    if ending in ("tilted", "ragged"):
        angle = np.deg2rad(rng.uniform(10, 35))
        depth = offset @ (np.cos(angle) * along + np.sin(angle) * across)
        if ending == "ragged":
            waves = rng.uniform(0.8, 2.0, (3, 3)) * rng.choice([-1, 1], (3, 3))
            depth = depth + 0.5 * np.sin(offset @ waves + rng.uniform(0, 6, 3)).sum(axis=1)
        return depth > 0, radius * float(np.tan(angle)) + 1.5
    depth = offset @ along
    if ending == "flat":
        return depth > 0, 0.0
    # A horn: the outer part goes further back than the middle, to a tip off the axis.
    height = float(rng.uniform(0.5, 1.6)) * min(radius, 5.0) + 1.0
    tip = across * float(rng.uniform(0, 0.5)) * radius
    share = np.clip((depth + height) / height, 0, 1)
    lateral = offset - depth[:, None] * along - share[:, None] * tip
    thick = np.linalg.norm(lateral, axis=1) > 1.05 * radius * (1 - share) + 0.3
    return (depth > 0) | ((depth > -height) & thick), height


def _parts(mask: NDArray[np.bool_], grid: Grid, cut: Cut) -> bool:
    """Whether a cut's sides are apart now, and whole; else its voxels come back.

    A vessel as thin as a slice is thick may fall to pieces where nobody has cut it.
    """
    pieces = cc3d.connected_components(mask, connectivity=26)
    near = [_pieces_at(pieces, grid, point) for point in cut.sides_mm]
    far = [_pieces_at(pieces, grid, point) for point in cut.kept_mm]
    whole = all(n & f for n, f in zip(near, far, strict=True))
    if whole and not near[0] & near[1]:
        return True
    mask[tuple(cut.removed.T)] = True
    return False


def _pieces_at(pieces: NDArray[np.uint32], grid: Grid, point_mm: Point) -> set[int]:
    """Numbers of the pieces within a voxel of a point."""
    inverse = np.linalg.inv(grid.affine)
    index = np.rint(inverse[:3, :3] @ point_mm + inverse[:3, 3]).astype(int)
    low = np.maximum(index - 1, 0)
    around = pieces[low[0] : index[0] + 2, low[1] : index[1] + 2, low[2] : index[2] + 2]
    return set(np.unique(around).tolist()) - {0}
