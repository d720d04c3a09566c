"""Paths around what a bridge must not run through."""

from __future__ import annotations

from itertools import product

import edt
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

Path = NDArray[np.float64]
#: Extent of the blocks that a way is looked for on.
_BLOCK_MM = 1.6
#: A detour may be this many times as long as the straight way, and this much.
_LONGER, _LONGER_MM = 1.5, 3.0
#: It may turn by this much over `_TURN_MM`.
_TURN_DEG, _TURN_MM = 75.0, 4.0
_SMOOTH_MM = 2.5
_LATER = np.array([o for o in product((-1, 0, 1), repeat=3) if o > (0, 0, 0)])


def find_detour(
    blocked: NDArray[np.bool_],
    first: NDArray[np.int_],
    linear: NDArray[np.float64],
    straight: Path,
    radius_mm: float,
) -> Path | None:
    """A smooth path between the ends of another one that keeps clear, or None.

    The shortest way through blocks of voxels, where to be near an obstacle counts as a longer
    way; then smoothed, between fixed ends.

    Args:
        blocked: (x, y, z) a box of the volume: what must not be entered.
        first: (3,) index of its first voxel in the volume.
        linear: (3, 3) voxel → mm.
        straight: (N, 3) mm in the volume's local frame, the way that is blocked.
        radius_mm: of the bridge.
    """
    spacing = np.linalg.norm(linear, axis=0)
    factors = np.maximum(np.floor(_BLOCK_MM / spacing), 1).astype(int)
    coarse = _pool(blocked, factors)
    steps = linear * factors
    # A block's middle, in the volume's frame.
    origin = linear @ (first + 0.5 * (factors - 1))
    inverse = np.linalg.inv(steps)
    ends = [np.rint(inverse @ (p - origin)).astype(int) for p in (straight[0], straight[-1])]
    ends = [np.clip(e, 0, np.array(coarse.shape) - 1) for e in ends]
    for end in ends:
        coarse[tuple(end)] = False
    blocks = _shortest(coarse, steps, ends, radius_mm)
    if blocks is None:
        return None
    path = _smooth(np.concatenate([straight[:1], blocks[1:-1] @ steps.T + origin, straight[-1:]]))
    return path if _plausible(path, _length_mm(straight)) else None


def _pool(blocked: NDArray[np.bool_], factors: NDArray[np.int_]) -> NDArray[np.bool_]:
    """Blocks of which any voxel is blocked; what does not fill a block is blocked too."""
    short = -np.array(blocked.shape) % factors
    padded = np.pad(blocked, [(0, int(n)) for n in short], constant_values=True)
    a, b, c = (n // f for n, f in zip(padded.shape, factors, strict=True))
    split = padded.reshape(a, factors[0], b, factors[1], c, factors[2])
    return np.asarray(split.any(axis=(1, 3, 5)))


def _shortest(
    blocked: NDArray[np.bool_],
    steps: NDArray[np.float64],
    ends: list[NDArray[np.int_]],
    radius_mm: float,
) -> NDArray[np.int_] | None:
    """(n, 3) blocks of the cheapest way between two blocks."""
    spacing = np.linalg.norm(steps, axis=0)
    clear_mm = edt.edt(np.asfortranarray(~blocked), anisotropy=tuple(spacing), order="F")
    weight = 1 + 4 * np.clip(1 - clear_mm / (radius_mm + _BLOCK_MM), 0, 1)
    number = np.arange(blocked.size).reshape(blocked.shape)
    # Beside a wall there is room for half a tube at most.
    open_ = ~blocked & (clear_mm >= 0.5 * radius_mm)
    for end in ends:
        open_[tuple(end)] = True
    rows, columns, lengths = [], [], []
    for offset in _LATER:
        here, there = _shifted(offset, blocked.shape)
        both = open_[here] & open_[there]
        rows.append(number[here][both])
        columns.append(number[there][both])
        lengths.append(
            0.5 * (weight[here] + weight[there])[both] * float(np.linalg.norm(steps @ offset))
        )
    graph = coo_array(
        (np.round(np.concatenate(lengths), 6), (np.concatenate(rows), np.concatenate(columns))),
        shape=(blocked.size, blocked.size),
    ).tocsr()
    start, stop = (int(number[tuple(e)]) for e in ends)
    distance, before = dijkstra(graph, directed=False, indices=start, return_predecessors=True)
    if not np.isfinite(distance[stop]):
        return None
    way = [stop]
    while way[-1] != start:
        way.append(int(before[way[-1]]))
    return np.stack(np.unravel_index(way[::-1], blocked.shape), axis=1)


def _shifted(
    offset: NDArray[np.int_], shape: tuple[int, ...]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where a neighbour in a direction is within the box, and those neighbours."""
    pairs = list(zip(offset.tolist(), shape, strict=True))
    here = tuple(slice(max(-o, 0), n - max(o, 0)) for o, n in pairs)
    return here, tuple(slice(max(o, 0), n - max(-o, 0)) for o, n in pairs)


def _smooth(path: Path) -> Path:
    """The path at steps of half a millimetre, without its corners; the ends stay."""
    path = _resample(path, 0.5)
    fixed = np.linspace(0, 1, len(path))[:, None]
    line = path[0] + fixed * (path[-1] - path[0])
    # Mirrored at its ends with the other sign, so that these stay where they are.
    away = path - line
    mirrored = np.concatenate([-away[:0:-1], away, -away[-2::-1]])
    rounded = gaussian_filter1d(mirrored, _SMOOTH_MM / 0.5, axis=0, mode="nearest")
    return _resample(line + rounded[len(path) - 1 : 2 * len(path) - 1], 0.5)


def _resample(path: Path, step_mm: float) -> Path:
    arc = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    where = np.linspace(0, arc[-1], max(int(arc[-1] / step_mm) + 1, 2))
    return np.stack([np.interp(where, arc, column) for column in path.T], axis=1)


def _length_mm(path: Path) -> float:
    return float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())


def _plausible(path: Path, straight_mm: float) -> bool:
    """Whether a vessel may run so: not much longer than straight, without sharp turns."""
    if _length_mm(path) > _LONGER * straight_mm + _LONGER_MM:
        return False
    step = max(int(_TURN_MM / 0.5), 1)
    chords = path[step:] - path[:-step]
    if len(chords) <= step:
        return True
    sizes = np.linalg.norm(chords, axis=1)
    cosines = (chords[step:] * chords[:-step]).sum(axis=1) / (sizes[step:] * sizes[:-step] + 1e-9)
    return bool(cosines.min() >= np.cos(np.deg2rad(_TURN_DEG)))
