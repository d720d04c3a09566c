"""Surfaces of all labels at once: neighbours share their walls, with no gap and no overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nephra_contract.progress import Progress
from nephra_contract.scene import Level
from nephra_contract.volume import LabelMap, bounding_box
from nephra_smoothing.label_slices import with_thinner_slices
from nephra_smoothing.levels import FEWER, distinct
from nephra_smoothing.partition import Partition
from nephra_smoothing.patches import coarser, simplified
from nephra_smoothing.relaxation import Points, Sides, hold_volumes, relaxed, spread, volumes_mm3
from nephra_smoothing.soundness import is_sound
from nephra_smoothing.surface import Surface
from nephra_smoothing.walls import Ints, Walls, walls

#: Bands of the low-pass filter on walls: of organs, of tubes, of what these would take away.
_BANDS = (0.05, 0.15, 0.5)
#: What is smoothed: all; not where labels touch at edges and corners, for vertices are dense
#: there and may fall together; nothing, and nothing is simplified, which is always closed.
_Care = Literal["usual", "more", "most"]
_CARES: tuple[_Care, ...] = ("usual", "more", "most")
_STAGES = ((0.3, 0.9), (0.9, 0.97), (0.97, 1.0))
#: Share of its volume that a label may lose to a filter, before it is given back.
_MOST_LOST = 0.35
#: The blur, in voxels, that the first band is about as smooth as.
_SIGMA = 0.9
#: Of volumes: of what is handed out, of what is still to be simplified, and of a fault.
_TOLERANCE, _ROUGHLY, _VOLUME_TOLERANCE = 0.002, 0.02, 0.02


@dataclass(frozen=True)
class JointWish:
    """What the surfaces are to be like.

    Args:
        labels: those that get one; the others count as nothing.
        thin: labels of tubes, which are smoothed little.
        smoothing_mm: as of a blur with this standard deviation; None: by the voxels' size.
        decimation_error_mm: 0 keeps all triangles.
        most_triangles: per label.
        least_voxels: smaller islands are left out.
        levels: coarser forms that are wanted of each.
    """

    labels: Sequence[int]
    thin: frozenset[int]
    smoothing_mm: float | None
    decimation_error_mm: float
    most_triangles: int
    least_voxels: int = 1
    levels: int = 0


@dataclass(frozen=True, eq=False)
class Shared:
    """The surface of one of the labels.

    Args:
        surface: in RAS+ mm; vertices on a wall are those of the neighbour, to the last bit.
        voxels_mm3: the volume of the voxels that it stands for.
        decimation_error_mm: measured.
        faults: what it lacks; empty as a rule.
        contact: (M,) faces that a neighbour has, too.
        levels: coarser forms, ever coarser; neighbours share their walls in these, too.
    """

    surface: Surface
    voxels_mm3: float
    decimation_error_mm: float
    faults: tuple[str, ...]
    contact: NDArray[np.bool_]
    levels: tuple[Level, ...] = ()


def joint_surfaces(labels: LabelMap, wish: JointWish, progress: Progress) -> dict[int, Shared]:
    """Make the surfaces of labels that share their walls.

    Args:
        labels: in canonical orientation.

    Returns:
        By label, ascending; labels of small islands only are left out.
    """
    progress.advance(0.0, "walls")
    part = _cropped(labels, wish)
    if part is None:
        return {}
    wanted_mm3 = {n: count * part.voxel_volume_mm3 for n, count in part.counts.items()}
    part = with_thinner_slices(part, wish.thin)
    net = walls(part.voxels)
    best: dict[int, Shared] = {}
    for number, care in enumerate(_CARES):
        found = _surfaces(net, part, wanted_mm3, wish, care, progress.part(*_STAGES[number]))
        if not best or _faults(found) < _faults(best):
            best = found
        if not _faults(best):
            break
    return best


def _faults(found: Mapping[int, Shared]) -> int:
    return sum(len(s.faults) for s in found.values())


def _surfaces(
    net: Walls,
    part: LabelMap,
    wanted_mm3: Mapping[int, float],
    wish: JointWish,
    care: _Care,
    progress: Progress,
) -> dict[int, Shared]:
    """One try: smoothed, held to volumes, simplified, held again."""
    progress.advance(0.0, "smoothing")
    points = _smooth(net, part, wanted_mm3, wish, care)
    faces, sides = net.triangles(points)
    if np.linalg.det(part.affine[:3, :3]) < 0:
        faces = faces[:, ::-1]
    whole = Partition.of(points, faces, Sides.of(sides))
    del faces, sides
    # What is simplified is held again afterwards.
    simplify = wish.decimation_error_mm > 0 and care != "most"
    roughly = _ROUGHLY if simplify else _TOLERANCE
    whole = _held(whole, wanted_mm3, part, roughly, part.to_world(net.points))
    if simplify:
        progress.advance(0.4, "simplifying")
        whole = simplified(whole, wish.decimation_error_mm, wish.most_triangles)
        progress.advance(0.9, "volumes")
        whole = _held(whole, wanted_mm3, part, _TOLERANCE)
    coarse = [whole]
    for _ in range(wish.levels):
        coarse.append(_held(coarser(coarse[-1], 1 / FEWER), wanted_mm3, part, _TOLERANCE))
    return {n: _shared(coarse, n, mm3) for n, mm3 in wanted_mm3.items()}


def _cropped(labels: LabelMap, wish: JointWish) -> LabelMap | None:
    """What is wanted of the map, within its box, with a border of nothing; None if nothing is."""
    wanted = labels.mask(wish.labels)
    box = bounding_box(wanted)
    if box is None:
        return None
    part = labels.crop(box)
    voxels = np.zeros([n + 2 for n in part.shape], _unsigned(part.voxels))
    inner = voxels[1:-1, 1:-1, 1:-1]
    np.copyto(inner, part.voxels, where=wanted[box], casting="unsafe")
    del wanted
    if wish.least_voxels > 1:
        from cc3d import dust

        voxels = dust(voxels, threshold=wish.least_voxels, connectivity=26)
        if not voxels.any():
            return None
    affine = part.affine.copy()
    affine[:3, 3] -= affine[:3, :3].sum(axis=1)
    return LabelMap(np.ascontiguousarray(voxels), affine)


def _unsigned(voxels: NDArray[np.integer]) -> type[np.unsignedinteger]:
    """A small type that holds the labels."""
    most = int(voxels.max(initial=0))
    return np.uint8 if most < 1 << 8 else np.uint16 if most < 1 << 16 else np.uint32


def _smooth(
    net: Walls, part: LabelMap, wanted_mm3: Mapping[int, float], wish: JointWish, care: _Care
) -> Points:
    """(N, 3) where the vertices go, RAS+ mm.

    Tubes are smoothed less than organs, and less again what would lose much of its volume.
    """
    raw = net.points.astype(np.float32)
    if wish.smoothing_mm == 0 or care == "most":
        return part.to_world(net.points)
    wider = 1.0
    if wish.smoothing_mm is not None:
        wider = (_SIGMA * part.voxel_volume_mm3 ** (1 / 3) / wish.smoothing_mm) ** 2
    bands = [float(np.clip(band * wider, 0.01, 1)) for band in _BANDS]
    choices = [*relaxed(net, bands), raw]
    faces, sides = net.triangles(net.points)
    between = Sides.of(sides)
    mildness = np.array([int(n) in wish.thin for n in between.labels], np.int64)
    target = np.array([wanted_mm3.get(int(n), 0.0) for n in between.labels])
    while True:
        level = mildness[between.pairs].max(axis=1)[between.wall]
        if care == "more":
            level[len(level) - len(net.fans) :] = len(bands)
        points = _chosen(choices, faces, level)
        found = volumes_mm3(points, faces, between) * part.voxel_volume_mm3
        lost = target - found > _MOST_LOST * target
        lost &= mildness < len(bands)
        if not lost[1:].any():
            return part.to_world(points)
        mildness[1:] += lost[1:]


def _chosen(choices: list[NDArray[np.float32]], faces: Ints, mildness: Ints) -> Points:
    """Of each vertex the place by the mildest smoothing that one of its faces asks for."""
    number = np.zeros(len(choices[0]), np.int64)
    for level in range(1, len(choices)):
        number[faces[mildness == level].ravel()] = level
    points = choices[0].astype(np.float64)
    for level in range(1, len(choices)):
        points[number == level] = choices[level][number == level]
    return points


def _held(
    whole: Partition,
    wanted_mm3: Mapping[int, float],
    part: LabelMap,
    tolerance: float,
    apart: Points | None = None,
) -> Partition:
    """At its volumes; faces that this, or the smoothing, made flat are given an area."""
    step_mm = 0.5 * min(part.spacing_mm)
    points = hold_volumes(whole.points, whole.faces, whole.sides, wanted_mm3, step_mm, tolerance)
    return Partition(spread(points, whole.faces, apart), whole.faces, whole.sides, whole.error_mm)


def _shared(coarse: Sequence[Partition], label: int, voxels_mm3: float) -> Shared:
    surface = coarse[0].surface(label)
    faults = [] if is_sound(surface) else ["not a closed 2-manifold"]
    if abs(surface.volume_mm3 / voxels_mm3 - 1) > _VOLUME_TOLERANCE:
        faults.append("off the volume of its voxels")
    contacts = [partition.contact(label) for partition in coarse]
    levels = distinct(surface, [partition.surface(label) for partition in coarse[1:]])
    levels = tuple(replace(f, contact=c) for f, c in zip(levels, contacts[1:], strict=False))
    error_mm = coarse[0].error_of(label)
    return Shared(surface, voxels_mm3, error_mm, tuple(faults), contacts[0], levels)
