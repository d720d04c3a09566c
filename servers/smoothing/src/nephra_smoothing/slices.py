"""Shape-based interpolation between thick slices (Raya & Udupa 1990)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Slices thicker than this many times the pixels are interpolated.
THICK_SLICES = 2.0

#: In slices; what is seen in a slice reaches further than this beyond its middle.
_LEAST_REACH = 0.1


def between_slices(share: NDArray[np.float32], axis: int, factor: int) -> NDArray[np.float32]:
    """Cut each slice into `factor` thinner ones whose outlines move from one to the next.

    Each slice becomes a map of the signed distance to its outline; the maps are interpolated
    by a cubic through four slices (Catmull & Rom 1974).

    Args:
        share: (I, J, K) occupancy with at least two empty slices at both ends of `axis`.
        axis: the one that the slices are stacked along.
        factor: thin slices per slice, 2 or more.

    Returns:
        The occupancy with `factor` times as many cells along `axis`.
    """
    stack = np.ascontiguousarray(np.moveaxis(share, axis, 0))
    distance = _closed(np.stack([_signed_distance(plane) for plane in stack]))
    count = len(distance)
    # Slices before the first and behind the last are like those.
    distance = np.concatenate([distance[:1], distance[:1], distance, distance[-1:], distance[-1:]])
    out = np.empty((count, factor, *stack.shape[1:]), np.float32)
    for part in range(factor):
        position = (part + 0.5) / factor - 0.5
        below = int(np.floor(position))
        t = position - below
        weights = (
            (-t + 2 * t**2 - t**3) / 2,
            (2 - 5 * t**2 + 3 * t**3) / 2,
            (t + 4 * t**2 - 3 * t**3) / 2,
            (-(t**2) + t**3) / 2,
        )
        four = [distance[2 + below + k : 2 + below + k + count] for k in (-1, 0, 1, 2)]
        between = np.float32(weights[0]) * four[0]
        for weight, planes in zip(weights[1:], four[1:], strict=True):
            between += np.float32(weight) * planes
        # A cubic may overshoot, and grow what is in neither of the two slices.
        np.maximum(between, np.minimum(*four[1:3]), out=between)
        np.minimum(between, np.maximum(*four[1:3]), out=between)
        # One cell across the outline goes from full to empty.
        between += np.float32(0.5)
        np.clip(between, 0, 1, out=out[:, part])
    return np.moveaxis(out.reshape(count * factor, *stack.shape[1:]), 0, axis)


def _signed_distance(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """In cells, positive inside; NaN throughout where the plane is empty."""
    from edt import edt

    inside = plane > 0.5
    if not inside.any():
        return np.full(plane.shape, np.nan, np.float32)
    # Inside and outside are two labels to it: one pass tells of each how far the other is.
    depth: NDArray[np.float32] = edt(inside.view(np.uint8) + np.uint8(1), parallel=1)
    depth -= np.float32(0.5)
    np.negative(depth, where=~inside, out=depth)
    edge = (plane > 0) & (plane < 1)
    depth[edge] = plane[edge] - np.float32(0.5)
    return depth


def _closed(distance: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give empty slices a distance, such that a structure ends before them as its slices tell.

    Near a round end areas fall evenly, and reach 0 where the end is: the middle of the last slice
    goes on so far. Where they fall less the end is flat; it lies half a slice further, and gets
    a dome of that volume.
    """
    empty = np.isnan(distance[:, 0, 0])
    out = np.where(np.isnan(distance), np.float32(0), distance)
    areas = np.count_nonzero(out > 0, axis=(1, 2)).astype(np.float64)
    for number in np.flatnonzero(empty):
        ends = []
        for way in (-1, 1):
            for steps in (1, 2):
                neighbour, further = number + way * steps, number + way * (steps + 1)
                if not 0 <= neighbour < len(out) or empty[neighbour]:
                    continue
                before = areas[further] if 0 <= further < len(out) else 0.0
                fall = _fall(out[neighbour], areas[neighbour], before)
                # One slice further it goes on falling as it did.
                ends.append(np.minimum(out[neighbour], 0) - (2 * steps - 1) * fall)
                break
        out[number] = np.maximum.reduce(ends) if ends else -float(max(out.shape))
    return out


def _fall(plane: NDArray[np.float32], area: float, before: float) -> np.float32:
    """How far below its outline the distance has to be one slice further."""
    inside = plane[plane > 0]
    if area >= before:
        return np.float32(inside.mean())
    reach = max(area / (before - area), _LEAST_REACH)
    # At the middle it falls from the largest depth to 0 within that reach.
    return np.float32(max(inside.mean(), inside.max() * (1 - reach) / reach))
