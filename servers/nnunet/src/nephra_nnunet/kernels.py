"""Inner loops that Numba compiles when this module is imported; `plain` says what they do.

They are compiled for exactly the types that they get, so that nothing is left to compile at a
request, and kept on disk where there is a place for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numba import njit, types

#: Minima and maxima become vector instructions only if NaN and the zero's sign do not matter;
#: what is finite is checked before.
_OPTIONS: dict[str, Any] = {"nogil": True, "fastmath": {"nnan", "nsz"}}

Loop = Callable[..., Any]


def _compiled(result: Any, *arguments: Any) -> Callable[[Loop], Loop]:
    signature = result(*arguments)

    def compile_now(function: Loop) -> Loop:
        try:
            made = njit(signature, cache=True, **_OPTIONS)(function)
        except RuntimeError:
            # Nowhere to keep compiled code: a read-only installation without a home.
            made = njit(signature, **_OPTIONS)(function)
        return made  # type: ignore[no-any-return]

    return compile_now


def _read(dtype: Any, axes: int, layout: Literal["A", "C"] = "A") -> Any:
    return types.Array(dtype, axes, layout, readonly=True)


def _written(dtype: Any, axes: int, layout: Literal["A", "C"] = "A") -> Any:
    return types.Array(dtype, axes, layout)


_VALUES = _written(types.float32, 2, "C")
_HEADS = _written(types.int64, 1, "C")
_PLANE = _read(types.float32, 3, "C")
_SEEN = _read(types.int16, 2, "C")
_SPANS = _read(types.int64, 2, "C")
_WEIGHTS = _read(types.float32, 2, "C")
_PLACE: Any = types.Tuple((types.int64,) * 4)  # type: ignore[no-untyped-call]


@_compiled(
    types.void, _written(types.float32, 4, "C"), _written(types.float32, 3, "C"),
    _read(types.float32, 4, "C"), _read(types.float32, 3, "C"),
    types.int64, types.int64, types.int64,
)  # fmt: skip
def add(
    sums: Any, weights: Any, output: Any, weight: Any, first: int, second: int, third: int
) -> None:
    """Add weighted outputs, and their weights; whole arrays, so that their inner axes are dense."""
    depth, rows, columns, channels = output.shape
    length = sums.shape[0]
    for a in range(depth):
        place = (first + a) % length
        for b in range(rows):
            for c in range(columns):
                w = weight[a, b, c]
                weights[place, second + b, third + c] += w
                total, value = sums[place, second + b, third + c], output[a, b, c]
                for k in range(channels):
                    total[k] += value[k] * w


@_compiled(types.float32, _VALUES, types.int64, types.boolean)
def _bound(extremes: Any, count: int, regions: bool) -> Any:
    """What a head must reach at some corner to be seen: of classes the largest of the smallest."""
    if regions:
        return np.float32(0)
    largest, n = extremes[2], count
    for k in range(count):
        largest[k] = extremes[0, k]
    # Halves against halves, because a running maximum is no vector instruction.
    while n > 1:
        half = (n + 1) // 2
        for k in range(n - half):
            x = largest[k + half]
            largest[k] = max(largest[k], x)
        n = half
    # Weights sum up to one but for rounding.
    return largest[0] - np.float32(1e-5) * abs(largest[0])


@_compiled(types.int64, _PLANE, _PLANE, _PLACE, types.boolean, _VALUES,
           _VALUES, _HEADS)  # fmt: skip
def _gather(
    low: Any, high: Any, place: Any, regions: bool, extremes: Any, cube: Any, heads: Any
) -> int:
    """The heads that can be seen in a cell, with their eight corners; gives how many."""
    b0, b1, c0, c1 = place
    v0, v1, v2, v3 = low[b0, c0], low[b0, c1], low[b1, c0], low[b1, c1]
    v4, v5, v6, v7 = high[b0, c0], high[b0, c1], high[b1, c0], high[b1, c1]
    least, most, count = extremes[0], extremes[1], low.shape[2]
    for h in range(count):
        least[h] = min(v0[h], v1[h], v2[h], v3[h], v4[h], v5[h], v6[h], v7[h])
        most[h] = max(v0[h], v1[h], v2[h], v3[h], v4[h], v5[h], v6[h], v7[h])
    bound = _bound(extremes, count, regions)
    kept = 0
    for h in range(count):
        if most[h] >= bound:
            heads[kept] = h
            kept += 1
    for k in range(kept):
        h = heads[k]
        cube[0, k], cube[1, k], cube[2, k], cube[3, k] = v0[h], v1[h], v2[h], v3[h]
        cube[4, k], cube[5, k], cube[6, k], cube[7, k] = v4[h], v5[h], v6[h], v7[h]
    return kept


@_compiled(types.void, _WEIGHTS, _WEIGHTS, types.int64, types.int64, _VALUES)
def _weigh_pairs(first: Any, second: Any, start: int, stop: int, pairs: Any) -> None:
    """Products of the weights of two axes: (4, voxels) for each pair of corners."""
    for corner in range(4):
        one, other = corner // 2, corner % 2
        place = 0
        for a in range(first.shape[1]):
            for b in range(start, stop):
                pairs[corner, place] = first[one, a] * second[other, b]
                place += 1


@_compiled(types.int64, _VALUES, types.int64, _WEIGHTS, types.int64, types.int64, _VALUES)
def _weigh(pairs: Any, rows: int, third: Any, start: int, stop: int, weights: Any) -> int:
    """Weights of the eight corners for each voxel of a cell, (8, voxels); gives how many."""
    place = 0
    for row in range(rows):
        for c in range(start, stop):
            low, high = third[0, c], third[1, c]
            for corner in range(4):
                weights[2 * corner, place] = pairs[corner, row] * low
                weights[2 * corner + 1, place] = pairs[corner, row] * high
            place += 1
    return place


@_compiled(types.void, _VALUES, _HEADS, types.int64, _VALUES, types.int64, types.boolean,
           _written(types.float32, 1, "C"), _written(types.int32, 1, "C"))  # fmt: skip
def _decide_cell(
    cube: Any, heads: Any, count: int, weights: Any, voxels: int, regions: bool, top: Any, seen: Any
) -> None:
    """What is seen at each voxel of a cell."""
    w0, w1, w2, w3 = weights[0], weights[1], weights[2], weights[3]
    w4, w5, w6, w7 = weights[4], weights[5], weights[6], weights[7]
    for j in range(voxels):
        top[j], seen[j] = (0 if regions else -np.inf), 0
    for k in range(count):
        c0, c1, c2, c3 = cube[0, k], cube[1, k], cube[2, k], cube[3, k]
        c4, c5, c6, c7 = cube[4, k], cube[5, k], cube[6, k], cube[7, k]
        here = np.int32(heads[k] + regions)
        for j in range(voxels):
            x = c0 * w0[j] + c1 * w1[j] + c2 * w2[j] + c3 * w3[j]
            x = x + c4 * w4[j] + c5 * w5[j] + c6 * w6[j] + c7 * w7[j]
            better = x > top[j]
            seen[j] = here if better else seen[j]
            top[j] = x if better and not regions else top[j]


@_compiled(
    types.void, _PLANE, _PLANE, _SEEN, _SEEN, _WEIGHTS, _SPANS, _WEIGHTS, _SPANS, _WEIGHTS,
    types.int64, types.int64, _read(types.uint8, 1, "C"), types.boolean,
    _written(types.uint8, 3),
)  # fmt: skip
def write(
    low: Any,
    high: Any,
    seen_low: Any,
    seen_high: Any,
    weights: Any,
    second: Any,
    second_weights: Any,
    third: Any,
    third_weights: Any,
    first_run: int,
    last_run: int,
    numbers: Any,
    regions: bool,
    labels: Any,
) -> None:
    """Write the labels between two planes, cell by cell."""
    count, depth = low.shape[2], labels.shape[0]
    widest = depth * np.max(second[1] - second[0]) * np.max(third[1] - third[0])
    cube, extremes = np.empty((8, count), np.float32), np.empty((3, count), np.float32)
    heads, pairs = np.empty(count, np.int64), np.empty((4, widest), np.float32)
    voxel_weights, top = np.empty((8, widest), np.float32), np.empty(widest, np.float32)
    chosen = np.empty(widest, np.int32)
    for m in range(first_run, last_run):
        b0, b1, row, last_row = second[2, m], second[3, m], second[0, m], second[1, m]
        _weigh_pairs(weights, second_weights, row, last_row, pairs)
        for n in range(third.shape[1]):
            c0, c1, start, stop = third[2, n], third[3, n], third[0, n], third[1, n]
            seen = seen_low[b0, c0]
            differ = (seen_low[b0, c1] - seen) | (seen_low[b1, c0] - seen)
            differ |= (seen_low[b1, c1] - seen) | (seen_high[b0, c0] - seen)
            differ |= (seen_high[b0, c1] - seen) | (seen_high[b1, c0] - seen)
            if differ | (seen_high[b1, c1] - seen) == 0:
                labels[:, row:last_row, start:stop] = numbers[seen]
                continue
            able = _gather(low, high, (b0, b1, c0, c1), regions, extremes, cube, heads)
            voxels = _weigh(pairs, depth * (last_row - row), third_weights, start, stop,
                            voxel_weights)  # fmt: skip
            _decide_cell(cube, heads, able, voxel_weights, voxels, regions, top, chosen)
            place = 0
            for a in range(depth):
                for b in range(row, last_row):
                    for c in range(start, stop):
                        labels[a, b, c] = numbers[chosen[place]]
                        place += 1
