"""What can be said of a mesh by its faces alone, wherever its vertices lie."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def pieces(faces: Ints, count: int) -> Ints:
    """(N,) the number of the connected piece that each vertex belongs to.

    Args:
        faces: (M, 3).
        count: N, the vertices.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    links = (faces[:, [0, 1]].ravel(), faces[:, [1, 2]].ravel())
    graph = coo_matrix((np.ones(len(links[0]), np.int8), links), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def faults(faces: Ints, count: int) -> Ints:
    """The vertices at which faces do not form a closed, consistently wound 2-manifold.

    Every directed edge has to occur once, its reverse too; around each vertex the faces have to
    form one fan, and each vertex has to have one.
    """
    if not len(faces):
        return np.arange(count)
    opposite = _opposite(faces, count)
    valence = np.bincount(faces.ravel(), minlength=count)
    if opposite is not None:
        return np.concatenate([np.flatnonzero(valence == 0), _pinched(faces, valence, opposite)])
    forward, back = np.sort(_edges(faces, count)), np.sort(_edges(faces[:, ::-1], count))
    again = forward[1:] == forward[:-1]
    alone = np.setxor1d(_once(forward), _once(back), assume_unique=True)
    wrong = np.concatenate([forward[1:][again], alone])
    return np.unique(np.concatenate([wrong // count, wrong % count, np.flatnonzero(valence == 0)]))


def _once(ascending: Ints) -> Ints:
    return np.asarray(ascending[np.append(True, ascending[1:] != ascending[:-1])])


def _opposite(faces: Ints, count: int) -> Ints | None:
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


def _pinched(faces: Ints, valence: Ints, opposite: Ints) -> Ints:
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
    pinched: list[Ints] = []
    while len(vertex):
        closed = place == start
        pinched.append(vertex[closed & (steps < valence[vertex])])
        going = ~closed
        vertex, start, steps = vertex[going], start[going], steps[going] + 1
        place = turned[place[going]]
    return np.concatenate(pinched) if pinched else np.zeros(0, np.int64)


def _edges(faces: Ints, count: int) -> Ints:
    """(3 M,) one number per directed edge: first edges of all faces, then second, then third."""
    return np.concatenate([faces[:, k] * count + faces[:, (k + 1) % 3] for k in range(3)])
