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
    if np.linalg.norm(surface.across, axis=1).min() <= 1e-12:
        return False
    return fans(faces, count) == count


def fans(faces: NDArray[np.int64], count: int) -> int:
    """How many fans of faces there are around vertices; `count` where each vertex has one.

    Args:
        faces: (M, 3) of a closed surface whose edges have two faces each.
        count: its vertices.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    # A node is a corner (a face at a vertex); two are linked across the edge that leaves the
    # vertex in one face and enters it in the other.
    corner = np.arange(faces.size).reshape(-1, 3)
    leaving = faces * count + np.roll(faces, -1, axis=1)
    entering = faces * count + np.roll(faces, 1, axis=1)
    by_leaving, by_entering = np.argsort(leaving, axis=None), np.argsort(entering, axis=None)
    links = (corner.ravel()[by_leaving], corner.ravel()[by_entering])
    graph = coo_matrix((np.ones(faces.size, np.int8), links), shape=(faces.size,) * 2)
    return int(connected_components(graph, directed=False, return_labels=False))


def shells(surface: Surface) -> NDArray[np.float64]:
    """(P,) signed volumes in mm³ of the connected pieces; those of cavities are negative."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    faces, count = surface.faces, len(surface.points)
    links = (faces.ravel(), np.roll(faces, -1, axis=1).ravel())
    graph = coo_matrix((np.ones(faces.size, np.int8), links), shape=(count, count))
    pieces, piece = connected_components(graph, directed=False)
    return np.bincount(piece[faces[:, 0]], surface.face_volumes_mm3, pieces).astype(np.float64)


def _edges(faces: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """(3 M,) one number per directed edge: first edges of all faces, then second, then third."""
    return np.concatenate([faces[:, k] * count + faces[:, (k + 1) % 3] for k in range(3)])
