"""Whether a surface is one that a solid body can have."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nephra_smoothing.surface import Surface


def is_sound(surface: Surface) -> bool:
    """Closed, 2-manifold, consistently wound, without degenerate faces.

    Every directed edge occurs once, its reverse too; around each vertex the faces form one fan;
    every face has an area, every vertex a face.
    """
    faces, count = surface.faces, len(surface.points)
    if not len(faces):
        return False
    forward = np.sort(_edges(faces, count))
    if (forward[1:] == forward[:-1]).any():
        return False
    if not np.array_equal(forward, np.sort(_edges(faces[:, ::-1], count))):
        return False
    if _flat(surface).any():
        return False
    fan = _fans(faces, count)
    return int(fan.max()) + 1 == count == len(np.unique(faces))


def faulty_points(surface: Surface) -> NDArray[np.float64]:
    """(F, 3) the vertices at which a surface is not sound."""
    faces, count = surface.faces, len(surface.points)
    forward, back = _edges(faces, count), _edges(faces[:, ::-1], count)
    codes, times = np.unique(forward, return_counts=True)
    wrong = np.concatenate([codes[times > 1], np.setxor1d(forward, back)])
    if not len(wrong):
        # Only of a closed surface the fans can be told.
        corner_fan = np.unique(np.stack([faces.ravel(), _fans(faces, count)]), axis=1)[0]
        pinched = np.flatnonzero(np.bincount(corner_fan, minlength=count) > 1)
    else:
        pinched = np.zeros(0, np.int64)
    flat = faces[_flat(surface)].ravel()
    every = np.concatenate([wrong // count, wrong % count, pinched, flat])
    return np.asarray(surface.points[np.unique(every)])


def piece_of_faces(surface: Surface) -> NDArray[np.int64]:
    """(M,) the number of the connected piece that each face belongs to."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    faces, count = surface.faces, len(surface.points)
    links = (faces.ravel(), np.roll(faces, -1, axis=1).ravel())
    graph = coo_matrix((np.ones(faces.size, np.int8), links), shape=(count, count))
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
    used, faces = np.unique(surface.faces[large[piece]], return_inverse=True)
    return Surface(surface.points[used], faces.reshape(-1, 3).astype(np.int64))


def _fans(faces: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """(3 M,) for each corner of each face the number of its fan: faces around one vertex.

    Args:
        faces: (M, 3) of a closed surface whose edges have two faces each.
        count: its vertices.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    # Two corners at a vertex are linked across the edge that leaves the vertex in one face and
    # enters it in the other.
    leaving = faces * count + np.roll(faces, -1, axis=1)
    entering = faces * count + np.roll(faces, 1, axis=1)
    links = (np.argsort(leaving, axis=None), np.argsort(entering, axis=None))
    graph = coo_matrix((np.ones(faces.size, np.int8), links), shape=(faces.size,) * 2)
    _, fan = connected_components(graph, directed=False)
    return np.asarray(fan, dtype=np.int64)


def _flat(surface: Surface) -> NDArray[np.bool_]:
    return np.asarray(np.linalg.norm(surface.across, axis=1) <= 1e-9)


def _edges(faces: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """(3 M,) one number per directed edge: first edges of all faces, then second, then third."""
    return np.concatenate([faces[:, k] * count + faces[:, (k + 1) % 3] for k in range(3)])
