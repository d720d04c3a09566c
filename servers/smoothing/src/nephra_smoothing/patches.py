"""Fewer triangles on walls that labels share: wall by wall, their outlines stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nephra_smoothing.partition import Partition, compact
from nephra_smoothing.relaxation import Points, volumes_mm3
from nephra_smoothing.simplification import ONE_AT_A_TIME, deviation_mm
from nephra_smoothing.soundness import faulty_points, is_sound, piece_of_faces
from nephra_smoothing.surface import Surface
from nephra_smoothing.walls import Ints

_AGGRESSION = 7.0
#: Pieces of walls of fewer faces are left as they are.
_LEAST_FACES = 60
_FACES_PER_OUTLINE = 2
_MOST_TARGETS, _MOST_MENDINGS = 4, 5


def simplified(whole: Partition, error_mm: float, most_faces: int) -> Partition:
    """Collapse edges within each wall by quadric error (Garland & Heckbert 1997).

    Args:
        error_mm: 99 % of each wall stay within this distance, or a tenth of a label's radius.
        most_faces: per label; more are not kept, even if the error then is larger, as long as
            the outlines allow it.

    Returns:
        A mesh in which every label that was sound is sound.
    """
    asked = _patches(whole, error_mm, most_faces)
    return _settled(whole, [_fewer(patch, allowed) for patch, allowed in asked])


def coarser(whole: Partition, share: float) -> Partition:
    """About `share` of the faces, whatever the error; see `simplified`."""
    patches = []
    for patch, _ in _patches(whole, 0.0, 0):
        count = len(patch.old.faces)
        fewer = replace(patch, target=int(share * count))
        patches.append((count >= _LEAST_FACES and _collapsed(fewer)) or patch)
    return _settled(whole, patches)


def _settled(whole: Partition, patches: list[_Patch]) -> Partition:
    """All in one mesh, with those mended that make a label unsound."""
    doubtful = whole.sides.labels[1:]
    for attempt in range(_MOST_MENDINGS + 1):
        made = _joined(whole, patches)
        faulty = _faulty(made, doubtful)
        if not faulty:
            return made
        near = {wall for n in faulty for side in whole.sides.walls_of(n) for wall in side.tolist()}
        points = np.concatenate(list(faulty.values()))
        patches = [
            _mended(patch, points, attempt) if wall in near else patch
            for wall, patch in enumerate(patches)
        ]
        pairs = whole.sides.labels[whole.sides.pairs[sorted(near)]]
        doubtful = np.setdiff1d(pairs, 0)
    return whole


@dataclass(frozen=True, eq=False)
class _Patch:
    """One wall before and after.

    Args:
        ids: (n,) its vertices in the whole mesh.
        old: as it was.
        new: as it is; vertices on the outline are the same ones.
        keep: (m,) faces of `old` that were not touched.
        target: faces that were aimed at.
    """

    ids: Ints
    old: Surface
    new: Surface
    keep: NDArray[np.bool_]
    target: int
    error_mm: float = 0.0


@dataclass(frozen=True)
class _Allowed:
    """What simplifying may do to a wall.

    Args:
        error_mm: how far it may move it.
        share: of its faces that may stay, whatever the error.
        radius_mm: a typical radius of curvature; a guess of the first target.
    """

    error_mm: float
    share: float
    radius_mm: float


def _patches(
    whole: Partition, error_mm: float, most_faces: int
) -> Iterator[tuple[_Patch, _Allowed]]:
    """Each wall, and what may be done to it."""
    sides = whole.sides
    olds = []
    for number in range(len(sides.pairs)):
        ids, faces = compact(whole.wall(number))
        olds.append((ids, Surface(whole.points[ids], faces)))
    inner, outer = sides.pairs.T
    count = len(sides.labels)
    area = np.array([old.area_mm2 for _, old in olds])
    label_area = np.bincount(inner, area, count) + np.bincount(outer, area, count)
    faces_of = np.diff(sides.starts)
    label_faces = np.bincount(inner, faces_of, count) + np.bincount(outer, faces_of, count)
    radius = 3 * np.abs(volumes_mm3(whole.points, whole.faces, sides)) / label_area
    share = most_faces / np.maximum(label_faces, 1)
    radius[0] = share[0] = np.inf
    for (ids, old), pair in zip(olds, sides.pairs, strict=True):
        radius_mm = float(radius[pair].min())
        wanted = _Allowed(min(error_mm, radius_mm / 10), float(share[pair].min()), radius_mm)
        piece = piece_of_faces(old)
        keep = np.bincount(piece)[piece] < _LEAST_FACES
        yield _Patch(ids, old, old, keep, len(old.faces)), wanted


def _fewer(patch: _Patch, allowed: _Allowed) -> _Patch:
    """Collapse as far as the error allows."""
    count = len(patch.old.faces)
    most = int(min(0.9, allowed.share) * count)
    if patch.keep.all() or (allowed.error_mm <= 0 and allowed.share >= 1):
        return patch
    # A chord of length h over a circle of radius r is off by h² / 8 r. Curvature is uneven:
    # twice as many faces as an even ball would need.
    face_mm2 = 0.433 * 8 * allowed.radius_mm * max(allowed.error_mm, 1e-6)
    target = max(2 * patch.old.area_mm2 / face_mm2, count / 20)
    best = patch
    for _ in range(_MOST_TARGETS):
        found = _collapsed(replace(patch, target=int(min(target, most))))
        if found is not None and (found.error_mm <= allowed.error_mm or target >= most):
            return found
        if target >= most:
            break
        ratio = 4.0 if found is None else 1.1 * found.error_mm / max(allowed.error_mm, 1e-9)
        target *= float(np.clip(ratio, 1.4, 4))
        best = found if found is not None and allowed.share < 1 else best
    return best


def _collapsed(patch: _Patch) -> _Patch | None:
    """Collapse to about the target; None if the outline was not kept."""
    import fast_simplification

    old, keep = patch.old, patch.keep
    used, moving = compact(old.faces[~keep])
    if not len(moving):
        return replace(patch, new=old, error_mm=0.0)
    outline = _outline(moving)
    # Few faces next to a long outline would be nothing but the outline's.
    least = max(_FACES_PER_OUTLINE * len(outline), len(moving) // 50, 4)
    target = max(patch.target * len(moving) // len(old.faces), least)
    if target >= len(moving):
        return replace(patch, new=old, error_mm=0.0)
    with ONE_AT_A_TIME:
        points, faces = fast_simplification.simplify(
            old.points[used], moving.astype(np.int32), target_count=target, agg=_AGGRESSION,
            preserve_border=True,
        )  # fmt: skip
    points, faces = np.asarray(points, np.float64), np.asarray(faces, np.int64)
    number = _matched(old.points, used[outline], points, _outline(faces))
    if number is None:
        return None
    fresh = number < 0
    number[fresh] = len(old.points) + np.arange(np.count_nonzero(fresh))
    every = np.concatenate([old.points, points[fresh]])
    new = Surface(every, np.concatenate([number[faces], old.faces[keep]]))
    return replace(patch, new=new, error_mm=deviation_mm(old, _without_unused(new)))


def _matched(old: Points, old_outline: Ints, new: Points, new_outline: Ints) -> Ints | None:
    """(n,) the old vertex that each new one on the outline is, -1 inside; None if one has moved."""
    number = np.full(len(new), -1, np.int64)
    if len(old_outline) != len(new_outline):
        return None
    first = old_outline[np.lexsort(old[old_outline].T)]
    second = new_outline[np.lexsort(new[new_outline].T)]
    same = old[first]
    if not np.array_equal(same, new[second]) or (same[1:] == same[:-1]).all(axis=1).any():
        return None
    number[second] = first
    return number


def _outline(faces: Ints) -> Ints:
    """The vertices of edges that one face only has, ascending."""
    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    ends.sort(axis=1)
    count = int(faces.max(initial=0)) + 1
    codes, times = np.unique(ends[:, 0] * count + ends[:, 1], return_counts=True)
    open_ = codes[times == 1]
    return np.unique(np.concatenate([open_ // count, open_ % count]))


def _joined(whole: Partition, patches: list[_Patch]) -> Partition:
    """All walls in one mesh again."""
    points, faces, wall = [whole.points], [], []
    count = len(whole.points)
    for number, patch in enumerate(patches):
        fresh = patch.new.points[len(patch.ids) :]
        ids = np.concatenate([patch.ids, count + np.arange(len(fresh))])
        points.append(fresh)
        count += len(fresh)
        faces.append(ids[patch.new.faces])
        wall.append(np.full(len(patch.new.faces), number))
    used, number_of = compact(np.concatenate(faces))
    sides = replace(whole.sides, wall=np.concatenate(wall))
    error_mm = np.array([p.error_mm for p in patches])
    return Partition(np.concatenate(points)[used], number_of, sides, error_mm)


def _faulty(made: Partition, labels: Ints) -> dict[int, Points]:
    """(F, 3) where the surface is not sound, by label; sound ones are left out."""
    found = {}
    for label in labels.tolist():
        surface = made.surface(label)
        if not len(surface.faces):
            continue
        points = [] if is_sound(surface) else [faulty_points(surface)]
        points.append(surface.points[_back_to_back(surface.faces)])
        if len(every := np.concatenate(points)):
            found[label] = every
    return found


def _back_to_back(faces: Ints) -> Ints:
    """The corners of faces that have the same three as another one: a body without a volume."""
    corners = np.sort(faces, axis=1)
    order = np.lexsort(corners.T)
    same = np.flatnonzero((np.diff(corners[order], axis=0) == 0).all(axis=1))
    return np.unique(corners[order[same]])


def _mended(patch: _Patch, faulty: Points, attempt: int) -> _Patch:
    """Another try where the patch has a faulty vertex, with the faces around it kept."""
    from scipy.spatial import cKDTree

    if patch.new is patch.old:
        return patch
    used = np.unique(patch.new.faces)
    near, _ = cKDTree(faulty).query(patch.new.points[used], distance_upper_bound=1e-9)
    if not np.isfinite(near).any():
        return patch
    if attempt + 1 >= _MOST_MENDINGS:
        return replace(patch, new=patch.old, error_mm=0.0)
    centres = patch.old.points[patch.old.faces].mean(axis=1)
    reach_mm = 2 * np.sqrt(patch.old.area_mm2 / (0.433 * patch.target)) * 1.5**attempt
    far, _ = cKDTree(faulty).query(centres, distance_upper_bound=reach_mm)
    found = _collapsed(replace(patch, keep=patch.keep | np.isfinite(far)))
    return found or replace(patch, new=patch.old, error_mm=0.0)


def _without_unused(surface: Surface) -> Surface:
    used, faces = compact(surface.faces)
    return Surface(surface.points[used], faces)
