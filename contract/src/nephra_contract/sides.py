"""Left and right, from where things are in the patient, never from array order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray

from nephra_contract import labels as names
from nephra_contract.volume import LabelMap, bounding_box

#: label without a side → (right, left)
SIDED: Mapping[int, tuple[int, int]] = {
    names.KIDNEY: (names.KIDNEY_RIGHT, names.KIDNEY_LEFT),
    names.URETER: (names.URETER_RIGHT, names.URETER_LEFT),
}
_MIDLINE = (names.AORTA, names.INFERIOR_VENA_CAVA, names.SPINE, *range(25, 51))


def midline_x_mm(labels: LabelMap, fallback_x_mm: float | None = None) -> float:
    """World x of the patient's midline.

    Spine and great vessels tell, if they are labelled; else two kidney-sized pieces do, half
    way between them; else `fallback_x_mm`, or the middle of the grid.
    """
    central = labels.mask(_MIDLINE)
    if central.any():
        return float(np.median(_world_x(labels, _sample(central))))
    kidneys = _pieces(labels, names.KIDNEYS)
    if len(kidneys) >= 2 and kidneys[1][1] * 3 >= kidneys[0][1]:
        return (kidneys[0][0] + kidneys[1][0]) / 2
    if fallback_x_mm is not None:
        return fallback_x_mm
    centre = (np.array(labels.shape, dtype=np.float64) - 1) / 2
    return float(labels.to_world(centre[None])[0, 0])


def assign_sides(labels: LabelMap, midline_mm: float | None = None) -> LabelMap:
    """Give kidneys and ureters that have no side yet the side that they lie on.

    A piece gets one side by its centroid; a piece that reaches over the midline with a tenth
    of itself (a horseshoe kidney) is parted at the midline. Right is larger world x (RAS+).

    Args:
        labels: our numbers.
        midline_mm: world x of the midline, if it is known better than the mask can tell.

    Returns:
        The same grid; 200 becomes 2 or 3, 205 becomes 206 or 207.
    """
    unsided = [n for n in SIDED if n in labels.counts]
    if not unsided:
        return labels
    middle = midline_x_mm(labels) if midline_mm is None else midline_mm
    voxels = labels.voxels.copy(order="K")
    for number in unsided:
        right, left = SIDED[number]
        # Only the part that holds the label: pieces are counted in four bytes a voxel.
        box = _box(labels, number)
        part = labels.crop(box)
        pieces, count = cc3d.connected_components(
            np.ascontiguousarray(part.voxels == number), connectivity=26, return_N=True
        )
        where = np.argwhere(pieces)
        piece = pieces[tuple(where.T)]
        is_right = _sides(_world_x(part, where), piece, count, middle)
        voxels[box][tuple(where.T)] = np.where(is_right, right, left)
    return labels.like(voxels)


def _sample(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(N, 3) places of every seventh voxel that is true; of all they would take 24 bytes each."""
    # Planes that lie together in memory, one after another.
    along = int(np.argmax(mask.strides))
    places = []
    for number, plane in enumerate(np.moveaxis(mask, along, 0)):
        first, second = np.unravel_index(np.flatnonzero(plane)[::7], plane.shape)
        places.append(np.insert(np.stack([first, second]), along, number, axis=0))
    return np.concatenate(places, axis=1).T


def _box(labels: LabelMap, number: int) -> tuple[slice, slice, slice]:
    box = bounding_box(labels.voxels == number)
    if box is None:
        raise ValueError(f"no voxel has the label {number}")
    return box


def _sides(
    x_mm: NDArray[np.float64], piece: NDArray[np.integer], count: int, middle_mm: float
) -> NDArray[np.bool_]:
    beyond = x_mm > middle_mm
    share = np.bincount(piece, beyond, count + 1) / np.maximum(
        np.bincount(piece, None, count + 1), 1
    )
    both = (share > 0.1) & (share < 0.9)
    mean = np.bincount(piece, x_mm, count + 1) / np.maximum(np.bincount(piece, None, count + 1), 1)
    return np.where(both[piece], beyond, (mean > middle_mm)[piece])


def _pieces(labels: LabelMap, wanted: tuple[int, ...]) -> list[tuple[float, int]]:
    """(centroid x in mm, voxels) of each connected piece, largest first."""
    mask = labels.mask(wanted)
    box = bounding_box(mask)
    if box is None:
        return []
    labels, mask = labels.crop(box), np.ascontiguousarray(mask[box])
    pieces = cc3d.connected_components(mask, connectivity=26)
    stats = cc3d.statistics(pieces)
    sizes = np.asarray(stats["voxel_counts"][1:])
    x_mm = _world_x(labels, np.asarray(stats["centroids"][1:]))
    order = np.argsort(-sizes)
    return [(float(x_mm[i]), int(sizes[i])) for i in order]


def _world_x(labels: LabelMap, indices: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(indices @ labels.affine[0, :3] + labels.affine[0, 3], dtype=np.float64)
