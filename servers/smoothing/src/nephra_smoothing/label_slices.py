"""Shape-based interpolation between the thick slices of a label map, of all labels at once."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from nephra_contract.volume import LabelMap
from nephra_smoothing.slices import THICK_SLICES

Plane = NDArray[np.float32]
Box = tuple[slice, slice]

_MOST_PER_SLICE = 8
#: A spot of a tube within a slice that is less deep than this keeps its pixels to the middle
#: between two slices: the next slice may have it elsewhere.
_SMALL_PIXELS = 4.0


def with_thinner_slices(labels: LabelMap, tubes: Collection[int]) -> LabelMap:
    """Cut thick slices into thinner ones, in which outlines move from one to the next.

    What any label has, and within it each label, is interpolated by the signed distances to the
    outlines in two neighbouring slices (Raya & Udupa 1990); the label that is deepest wins. So
    there is no gap between labels where the slices have none.

    Args:
        labels: 0 on the whole border.
        tubes: labels whose small cross-sections must not vanish between two slices.

    Returns:
        The same map where the slices are thin enough.
    """
    spacing = np.array(labels.spacing_mm)
    axis = int(np.argmax(spacing))
    pixels = np.delete(spacing, axis)
    pixels /= pixels.min()
    ratio = spacing[axis] / np.median(spacing)
    if ratio <= THICK_SLICES:
        return labels
    count = min(round(float(ratio)), _MOST_PER_SLICE)
    stack = np.moveaxis(labels.voxels, axis, 0)
    out = np.zeros((len(stack) * count, *stack.shape[1:]), labels.voxels.dtype)
    slices = [_outlines(plane, pixels) for plane in stack[:2]]
    for below in range(len(stack) - 1):
        _between(out, below, count, (slices[0], slices[1]), set(tubes))
        slices = [slices[1], _outlines(stack[min(below + 2, len(stack) - 1)], pixels)]
    affine = labels.affine.copy()
    affine[:3, 3] += affine[:3, axis] * (1 / count - 1) / 2
    affine[:3, axis] /= count
    # A border of nothing, as there was: the first and the last half slice are empty.
    return LabelMap(np.ascontiguousarray(np.moveaxis(out, 0, axis)), affine)


#: By label, and 0 for all of them together: its box in the slice, and its signed distance there.
_Slice = dict[int, tuple[Box, Plane]]


def _outlines(plane: NDArray[np.unsignedinteger], pixels: NDArray[np.float64]) -> _Slice:
    from scipy.ndimage import find_objects

    found = {}
    if plane.any():
        found[0] = _outline(plane > 0, pixels)
        for number, box in enumerate(find_objects(plane), start=1):
            if box is not None:
                found[number] = _outline(plane == number, pixels, box)
    return found


def _outline(
    mask: NDArray[np.bool_], pixels: NDArray[np.float64], box: Box | None = None
) -> tuple[Box, Plane]:
    """Signed distance to the outline within a box and a pixel around it, positive inside."""
    from edt import edt
    from scipy.ndimage import find_objects

    rows, columns = box or find_objects(mask.view(np.uint8))[0]
    wider = (slice(rows.start - 1, rows.stop + 1), slice(columns.start - 1, columns.stop + 1))
    inside = np.ascontiguousarray(mask[wider])
    sampling = (float(pixels[0]), float(pixels[1]))
    depth = edt(inside, anisotropy=sampling, black_border=True, parallel=1)
    depth -= edt(~inside, anisotropy=sampling, parallel=1)
    # Centres of pixels next to the outline lie half a pixel from it.
    return wider, np.asarray(depth - np.sign(depth) * np.float32(0.5))


def _between(
    out: NDArray[np.unsignedinteger], below: int, count: int, pair: tuple[_Slice, _Slice],
    tubes: set[int],
) -> None:  # fmt: skip
    """Fill the thin slices between the middles of slice `below` and of the next one."""
    everything = _both(pair, 0)
    if everything is None:
        return
    labels = sorted({*pair[0], *pair[1]} - {0})
    both = {n: found for n in labels if (found := _both(pair, n)) is not None}
    for number in range(below * count + count // 2, (below + 1) * count + count // 2):
        t = np.float32((number + 0.5) / count - 0.5 - below)
        box, (first, second) = everything
        inside = (1 - t) * first + t * second > 0
        best = np.full(inside.shape, -np.inf, np.float32)
        target = out[number][box]
        for label in labels:
            part, (first, second) = both[label]
            within = tuple(
                slice(p.start - b.start, p.stop - b.start) for p, b in zip(part, box, strict=True)
            )
            depth = (1 - t) * first + t * second
            if label in tubes:
                near = first if t < 0.5 else second
                small = _small(near)
                depth[small] = np.maximum(depth, near)[small]
                inside[within] |= small
            wins = depth > best[within]
            best[within][wins] = depth[wins]
            target[within][wins] = label
        target[~inside] = 0


def _small(depth: Plane) -> NDArray[np.bool_]:
    """Where spots are that are nowhere deep."""
    from cc3d import connected_components

    inside = depth > 0
    if not inside.any():
        return inside
    spot = connected_components(inside, connectivity=8)
    deepest = np.zeros(int(spot.max()) + 1)
    np.maximum.at(deepest, spot.ravel(), depth.ravel())
    small = deepest < _SMALL_PIXELS
    small[0] = False
    return np.asarray(small[spot])


def _both(pair: tuple[_Slice, _Slice], label: int) -> tuple[Box, tuple[Plane, Plane]] | None:
    """The distances in two slices over one box; an end is a dome that is half a slice high."""
    here = [s.get(label) for s in pair]
    known = [h for h in here if h is not None]
    if not known:
        return None
    box = (
        slice(min(h[0][0].start for h in known), max(h[0][0].stop for h in known)),
        slice(min(h[0][1].start for h in known), max(h[0][1].stop for h in known)),
    )
    shape = (box[0].stop - box[0].start, box[1].stop - box[1].start)
    planes = []
    for h in here:
        if h is None:
            (other,) = known
            mean = float(other[1][other[1] > 0].mean())
            planes.append(np.minimum(_placed(other, box, shape), 0) - np.float32(mean))
        else:
            planes.append(_placed(h, box, shape))
    return box, (planes[0], planes[1])


def _placed(found: tuple[Box, Plane], box: Box, shape: tuple[int, int]) -> Plane:
    """A distance over a larger box; beyond its own it is as at its edge, less the way there."""
    (rows, columns), depth = found
    before = (rows.start - box[0].start, columns.start - box[1].start)
    after = (shape[0] - before[0] - depth.shape[0], shape[1] - before[1] - depth.shape[1])
    if not any((*before, *after)):
        return depth
    wider = np.pad(depth, ((before[0], after[0]), (before[1], after[1])), mode="edge")
    i, j = (
        np.maximum(np.maximum(b - np.arange(n), np.arange(n) - (b + d - 1)), 0)
        for b, d, n in zip(before, depth.shape, shape, strict=True)
    )
    return np.asarray(wider - np.hypot(i[:, None], j[None, :]), dtype=np.float32)
