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

#: Fewer heads than this are not worth a look whether they can be left out.
_MANY = 6

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


@_compiled(types.void, _PLANE, types.boolean, _written(types.int16, 2, "C"))
def decide(logits: Any, regions: bool, seen: Any) -> None:
    """(b, c, heads) logits → (b, c) what is seen."""
    rows, columns, heads = logits.shape
    for b in range(rows):
        for c in range(columns):
            best = 0
            if regions:
                for h in range(heads):
                    if logits[b, c, h] > 0:
                        best = h + 1
            else:
                top = logits[b, c, 0]
                for h in range(1, heads):
                    top = max(top, logits[b, c, h])
                while logits[b, c, best] < top:
                    best += 1
            seen[b, c] = best


@_compiled(
    types.void,
    _written(types.float32, 4),
    _written(types.float32, 3),
    _read(types.float32, 4),
    _read(types.float32, 3),
)
def add(sums: Any, weights: Any, output: Any, weight: Any) -> None:
    """Add weighted outputs, and their weights."""
    depth, rows, columns, channels = output.shape
    for a in range(depth):
        for b in range(rows):
            for c in range(columns):
                w = weight[a, b, c]
                weights[a, b, c] += w
                for k in range(channels):
                    sums[a, b, c, k] += output[a, b, c, k] * w


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


@_compiled(types.int64, _VALUES, _HEADS, types.int64, types.boolean, _VALUES, _HEADS)
def _thin(ends: Any, heads: Any, count: int, regions: bool, extremes: Any, kept_heads: Any) -> int:
    """Of these heads those that can be seen between two ends, in place; gives how many."""
    for k in range(count):
        x, y = ends[0, k], ends[1, k]
        extremes[0, k], extremes[1, k] = min(x, y), max(x, y)
    bound = _bound(extremes, count, regions)
    kept = 0
    for k in range(count):
        if extremes[1, k] >= bound:
            kept_heads[kept] = heads[k]
            ends[0, kept], ends[1, kept] = ends[0, k], ends[1, k]
            kept += 1
    return kept


@_compiled(
    types.void, _VALUES, _HEADS, types.int64, _WEIGHTS, types.int64, types.int64, types.boolean,
    _read(types.uint8, 1, "C"), _written(types.uint8, 1),
)  # fmt: skip
def _write_line(
    ends: Any,
    heads: Any,
    count: int,
    weights: Any,
    start: int,
    stop: int,
    regions: bool,
    numbers: Any,
    labels: Any,
) -> None:
    """Write the labels of one line between its two ends."""
    for c in range(start, stop):
        low, high = weights[0, c], weights[1, c]
        best = 0
        if regions:
            for k in range(count):
                if ends[0, k] * low + ends[1, k] * high > 0:
                    best = heads[k] + 1
        else:
            best = heads[0]
            top = ends[0, 0] * low + ends[1, 0] * high
            for k in range(1, count):
                value = ends[0, k] * low + ends[1, k] * high
                if value > top:
                    top = value
                    best = heads[k]
        labels[c] = numbers[best]


@_compiled(types.void, _VALUES, _VALUES, types.int64, types.float32, types.float32)
def _mix(corners: Any, mixed: Any, count: int, low: Any, high: Any) -> None:
    """Interpolate between the first half of the corners and the second."""
    half = mixed.shape[0]
    for q in range(half):
        for k in range(count):
            mixed[q, k] = corners[q, k] * low + corners[q + half, k] * high


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
    count = low.shape[2]
    cube, square = np.empty((8, count), np.float32), np.empty((4, count), np.float32)
    ends, extremes = np.empty((2, count), np.float32), np.empty((3, count), np.float32)
    heads, few = np.empty(count, np.int64), np.empty(count, np.int64)
    for m in range(first_run, last_run):
        b0, b1 = second[2, m], second[3, m]
        for n in range(third.shape[1]):
            c0, c1, start, stop = third[2, n], third[3, n], third[0, n], third[1, n]
            seen = seen_low[b0, c0]
            differ = (seen_low[b0, c1] - seen) | (seen_low[b1, c0] - seen)
            differ |= (seen_low[b1, c1] - seen) | (seen_high[b0, c0] - seen)
            differ |= (seen_high[b0, c1] - seen) | (seen_high[b1, c0] - seen)
            if differ | (seen_high[b1, c1] - seen) == 0:
                labels[:, second[0, m] : second[1, m], start:stop] = numbers[seen]
                continue
            able = _gather(low, high, (b0, b1, c0, c1), regions, extremes, cube, heads)
            for a in range(labels.shape[0]):
                _mix(cube, square, able, weights[0, a], weights[1, a])
                for b in range(second[0, m], second[1, m]):
                    _mix(square, ends, able, second_weights[0, b], second_weights[1, b])
                    if able > _MANY:
                        between = _thin(ends, heads, able, regions, extremes, few)
                        _write_line(ends, few, between, third_weights, start, stop, regions,
                                    numbers, labels[a, b])  # fmt: skip
                    else:
                        _write_line(ends, heads, able, third_weights, start, stop, regions,
                                    numbers, labels[a, b])  # fmt: skip
