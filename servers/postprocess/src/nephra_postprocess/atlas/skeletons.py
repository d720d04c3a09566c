"""Centre lines of a mask's thin structures."""

from __future__ import annotations

from collections.abc import Iterable

import edt
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial import cKDTree

from nephra_contract import labels as names
from nephra_contract.volume import LabelMap
from nephra_postprocess.atlas.lines import Lines, joined
from nephra_postprocess.region import box_of

#: How deep a line goes into its trunk.
_ROOT_MM = 4.0


def find_lines(labels: LabelMap, numbers: Iterable[int]) -> Lines:
    """Thinned to one voxel (Lee et al. 1994), smoothed, with the distance to the wall as radius.

    Args:
        labels: axes along right, front, head.
        numbers: of thin structures; each piece of one stays one piece.
    """
    numbers = sorted(numbers)
    found = [_lines(labels, number) for number in numbers]
    return _rooted(joined([Lines.empty(), *found]), labels, numbers)


def erased(labels: LabelMap, numbers: Iterable[int]) -> LabelMap:
    """A label map in which thin structures have become what lies around them."""
    table = np.zeros(256, dtype=bool)
    table[list(numbers)] = True
    left = np.argwhere(table[labels.voxels])
    if not len(left):
        return labels
    voxels = labels.voxels.copy()
    shape = np.array(voxels.shape)
    steps = np.concatenate([np.eye(3, dtype=int), -np.eye(3, dtype=int)])
    while len(left):
        beside = left[:, None] + steps
        there = ((beside >= 0) & (beside < shape)).all(axis=-1)
        values = voxels[tuple(np.moveaxis(np.clip(beside, 0, shape - 1), -1, 0))]
        usable = there & ~table[values]
        done = usable.any(axis=1)
        if not done.any():
            voxels[tuple(left.T)] = 0
            break
        chosen = values[np.arange(len(left)), usable.argmax(axis=1)]
        voxels[tuple(left[done].T)] = chosen[done]
        left = left[~done]
    return labels.like(voxels)


def _lines(labels: LabelMap, number: int) -> Lines:
    from skimage.morphology import skeletonize

    box = box_of(labels, (number,))
    if box is None:
        return Lines.empty()
    part = labels.crop(box)
    mask = np.pad(np.ascontiguousarray(part.voxels == number), 1)
    radii = edt.edt(mask, anisotropy=part.spacing_mm)
    where = np.argwhere(skeletonize(mask))
    points = part.to_world(where - 1)
    # The wall lies half a voxel beyond the last voxel's centre.
    width = radii[tuple(where.T)] - 0.25 * min(part.spacing_mm)
    # A single voxel is a line from itself to itself.
    edges = np.zeros((1, 2), dtype=np.intp) if len(where) == 1 else _tree(where, points)
    points = _smoothed(points, edges)
    return Lines(points, edges, width[edges], np.full(len(edges), number, dtype=np.uint8))


def _rooted(lines: Lines, labels: LabelMap, numbers: Iterable[int]) -> Lines:
    """Lines that go on into the trunk that they end at, so that they hang on it wherever it lies.

    Args:
        lines: of thin structures.
        labels: where they and their trunks are.
        numbers: of the thin structures; wide ones of the same kind are trunks.
    """
    degree = np.bincount(lines.edges.ravel(), minlength=len(lines.nodes_mm))
    parts = [lines]
    for kind in ("artery", "vein"):
        group = set(names.group(kind))
        own = np.isin(lines.labels, list(group))
        box = box_of(labels, group - set(numbers))
        if box is None or not own.any():
            continue
        part = labels.crop(box)
        trunk = part.to_world(np.argwhere(part.mask(group - set(numbers))))
        single = own[:, None] & (degree[lines.edges] == 1)
        ends = lines.nodes_mm[lines.edges[single]]
        gap_mm, nearest = cKDTree(trunk).query(ends)
        near = gap_mm <= 2 * max(labels.spacing_mm)
        goal = trunk[nearest[near]]
        goal += _ROOT_MM * (goal - ends[near]) / np.maximum(gap_mm[near], 1e-6)[:, None]
        count = int(near.sum())
        edge = np.nonzero(single)[0][near]
        width = lines.radii_mm[edge].max(axis=1)
        parts.append(
            Lines(
                np.concatenate([ends[near], goal]),
                np.stack([np.arange(count), count + np.arange(count)], axis=1),
                np.stack([width, width], axis=1),
                lines.labels[edge],
            )
        )
    return joined(parts)


def _tree(where: NDArray[np.intp], points: NDArray[np.float64]) -> NDArray[np.intp]:
    """(E, 2) the shortest edges between neighbouring voxels that keep each piece whole."""
    pairs = cKDTree(where).query_pairs(1.8, output_type="ndarray")
    lengths = np.linalg.norm(points[pairs[:, 1]] - points[pairs[:, 0]], axis=1)
    graph = coo_array((lengths, (pairs[:, 0], pairs[:, 1])), shape=(len(where), len(where)))
    tree = minimum_spanning_tree(graph.tocsr()).tocoo()
    found = np.stack([tree.row, tree.col], axis=1).astype(np.intp)
    return np.asarray(found[np.lexsort((found[:, 1], found[:, 0]))])


def _smoothed(points: NDArray[np.float64], edges: NDArray[np.intp]) -> NDArray[np.float64]:
    """Nodes within a line moved towards the middle of their neighbours; ends stay."""
    degree = np.bincount(edges.ravel(), minlength=len(points))
    moving = degree >= 2
    for _ in range(4):
        total = np.zeros_like(points)
        np.add.at(total, edges[:, 0], points[edges[:, 1]])
        np.add.at(total, edges[:, 1], points[edges[:, 0]])
        middle = total / np.maximum(degree, 1)[:, None]
        points = np.where(moving[:, None], 0.5 * points + 0.5 * middle, points)
    return np.asarray(points)
