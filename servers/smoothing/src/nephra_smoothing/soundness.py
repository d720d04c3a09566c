"""Whether a surface is one that a solid body can have."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nephra_smoothing.surface import Surface

_FLAT_MM2 = 1e-9


def is_sound(surface: Surface) -> bool:
    """Closed, 2-manifold, consistently wound, without degenerate faces.

    Every directed edge occurs once, its reverse too; around each vertex the faces form one fan;
    every face has an area, every vertex a face.
    """
    faces, count = surface.faces, len(surface.points)
    if not len(faces) or (surface.twice_areas_mm2 <= _FLAT_MM2).any():
        return False
    opposite = _opposite(faces, count)
    if opposite is None:
        return False
    valence = np.bincount(faces.ravel(), minlength=count)
    return bool(valence.all()) and not len(_pinched(faces, valence, opposite))


def faulty_points(surface: Surface) -> NDArray[np.float64]:
    """(F, 3) the vertices at which a surface is not sound."""
    faces, count = surface.faces, len(surface.points)
    opposite = _opposite(faces, count)
    wrong = pinched = np.zeros(0, np.int64)
    if opposite is None:
        forward, back = _edges(faces, count), _edges(faces[:, ::-1], count)
        codes, times = np.unique(forward, return_counts=True)
        wrong = np.concatenate([codes[times > 1], np.setxor1d(forward, back)])
    else:
        # Only of a closed surface the fans can be told.
        pinched = _pinched(faces, np.bincount(faces.ravel(), minlength=count), opposite)
    flat = faces[surface.twice_areas_mm2 <= _FLAT_MM2].ravel()
    every = np.concatenate([wrong // count, wrong % count, pinched, flat])
    return np.asarray(surface.points[np.unique(every)])


def piece_of_faces(surface: Surface) -> NDArray[np.int64]:
    """(M,) the number of the connected piece that each face belongs to."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    faces, count = surface.faces, len(surface.points)
    links = (faces[:, [0, 1]].ravel(), faces[:, [1, 2]].ravel())
    graph = coo_matrix((np.ones(len(links[0]), np.int8), links), shape=(count, count))
    _, piece = connected_components(graph, directed=False)
    return np.asarray(piece[faces[:, 0]], dtype=np.int64)


def shells(surface: Surface) -> NDArray[np.float64]:
    """(P,) signed volumes in mm³ of the connected pieces; those of cavities are negative."""
    return np.bincount(piece_of_faces(surface), surface.face_volumes_mm3).astype(np.float64)


def without_crumbs(surface: Surface, volume_mm3: float) -> Surface:
    """Leave out pieces and cavities that enclose less than `volume_mm3`."""
    piece = piece_of_faces(surface)
    large = np.abs(np.bincount(piece, surface.face_volumes_mm3)) >= volume_mm3
    if large.all() or not large.any():
        return surface
    return part(surface, large[piece])


def part(surface: Surface, keep: NDArray[np.bool_]) -> Surface:
    """Those faces that are kept, and the vertices that they use, in their order.

    Args:
        keep: (M,).
    """
    faces = surface.faces[keep]
    used = np.zeros(len(surface.points), bool)
    used[faces.ravel()] = True
    number = np.cumsum(used) - 1
    return Surface(surface.points[used], number[faces])


def _opposite(faces: NDArray[np.int64], count: int) -> NDArray[np.int64] | None:
    """For each directed edge the number of its reverse; None unless all have exactly one.

    Edge 3 f + k leads from corner k of face f to the next.
    """
    start, stop = faces.ravel(), np.ascontiguousarray(faces[:, [1, 2, 0]]).ravel()
    if len(start) % 2:
        return None
    # Edges of one pair of vertices stand side by side in this order, the upward one first.
    code = 2 * (np.minimum(start, stop) * count + np.maximum(start, stop)) + (start > stop)
    bits = len(code).bit_length()
    if 2 * count * count < 1 << (63 - bits):
        # Sorting numbers that hold their places is twice as fast as sorting places.
        code = np.sort((code << bits) | np.arange(len(code)))
        order, code = code & ((1 << bits) - 1), code >> bits
    else:
        order = np.argsort(code)
        code = code[order]
    up, down = code[0::2], code[1::2]
    if (up % 2).any() or (down != up + 1).any() or (up[1:] == up[:-1]).any():
        return None
    opposite = np.empty_like(order)
    opposite[order[0::2]], opposite[order[1::2]] = order[1::2], order[0::2]
    return opposite


def _pinched(
    faces: NDArray[np.int64], valence: NDArray[np.int64], opposite: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The vertices around which the faces form more than one fan.

    Args:
        faces: (M, 3) of a closed surface.
        valence: faces per vertex.
        opposite: see `_opposite`.
    """
    # From an edge that leaves a vertex to the one that leaves it in the next face around it.
    turned = opposite + 1
    turned -= 3 * (opposite % 3 == 2)
    first = np.zeros(len(valence), np.int64)
    first[faces.ravel()] = np.arange(faces.size)
    vertex = np.flatnonzero(valence)
    start, place = first[vertex], turned[first[vertex]]
    steps = np.ones(len(vertex), np.int64)
    pinched: list[NDArray[np.int64]] = []
    while len(vertex):
        closed = place == start
        pinched.append(vertex[closed & (steps < valence[vertex])])
        going = ~closed
        vertex, start, steps = vertex[going], start[going], steps[going] + 1
        place = turned[place[going]]
    return np.concatenate(pinched) if pinched else np.zeros(0, np.int64)


def _edges(faces: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """(3 M,) one number per directed edge: first edges of all faces, then second, then third."""
    return np.concatenate([faces[:, k] * count + faces[:, (k + 1) % 3] for k in range(3)])
