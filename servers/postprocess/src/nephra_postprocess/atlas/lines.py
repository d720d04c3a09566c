"""Thin structures as centre lines with radii: carried, they stay whole on any grid."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from nephra_contract import labels as names
from nephra_contract.volume import LabelMap
from nephra_postprocess.atlas.registration import Points
from nephra_postprocess.atlas.warp import Warp
from nephra_postprocess.region import Box

#: Cut-off crumbs are smaller than this share of the largest piece of a structure.
_CRUMB = 0.04
#: A vessel becomes no thinner and no wider than this, as a share, however a kidney is scaled.
_SCALES = (0.75, 1.35)


@dataclass(frozen=True)
class Lines:
    """Tubes as a graph in millimetres.

    Args:
        nodes_mm: (N, 3).
        edges: (E, 2) nodes, in painting order: later ones cover earlier ones.
        radii_mm: (E, 2) at an edge's two ends.
        labels: (E,) what an edge is a piece of.
    """

    nodes_mm: Points
    edges: NDArray[np.intp]
    radii_mm: NDArray[np.float64]
    labels: NDArray[np.uint8]

    @classmethod
    def empty(cls) -> Self:
        """No tube."""
        return cls(
            np.zeros((0, 3)), np.zeros((0, 2), np.intp), np.zeros((0, 2)), np.zeros(0, np.uint8)
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        """From `{"tubes": [{"label", "points_mm", "radii_mm"}]}`; ends that meet are one node."""
        tubes: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["tubes"]
        points = np.concatenate([np.asarray(t["points_mm"], dtype=np.float64) for t in tubes])
        nodes, number = np.unique(points, axis=0, return_inverse=True)
        number = number.reshape(-1)
        edges, radii, labels, start = [], [], [], 0
        for tube in tubes:
            count = len(tube["radii_mm"])
            own = number[start : start + count]
            width = np.asarray(tube["radii_mm"], dtype=np.float64)
            edges.append(np.stack([own[:-1], own[1:]], axis=1))
            radii.append(np.stack([width[:-1], width[1:]], axis=1))
            labels.append(np.full(count - 1, tube["label"], dtype=np.uint8))
            start += count
        return cls(nodes, np.concatenate(edges), np.concatenate(radii), np.concatenate(labels))

    @property
    def lengths_mm(self) -> NDArray[np.float64]:
        """(E,) of the edges."""
        ends = self.nodes_mm[self.edges]
        return np.asarray(np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1))

    def only(self, kept: NDArray[np.bool_]) -> Self:
        """Some of the edges."""
        return replace(
            self, edges=self.edges[kept], radii_mm=self.radii_mm[kept], labels=self.labels[kept]
        )

    def without(self, labels: Iterable[int]) -> Self:
        """All but the edges of some labels."""
        return self.only(~np.isin(self.labels, list(labels)))

    def carried(self, warp: Warp) -> Self:
        """From the template's place into the patient's."""
        if not self.edges.size:
            return self
        nodes_mm = warp.push(self.nodes_mm)
        scale = np.clip(warp.scale(nodes_mm), *_SCALES)
        return replace(self, nodes_mm=nodes_mm, radii_mm=self.radii_mm * scale[self.edges])

    def links(self) -> NDArray[np.intp]:
        """(L, 2) ends of tubes, and the node of another tube of their kind that they open into."""
        count = len(self.nodes_mm)
        degree = np.bincount(self.edges.ravel(), minlength=count)
        width, kind = np.zeros(count), np.zeros(count, dtype=int)
        np.maximum.at(width, self.edges.ravel(), self.radii_mm.ravel())
        kind[self.edges.ravel()] = np.repeat([_KINDS.get(int(n), int(n)) for n in self.labels], 2)
        found = []
        for number in np.unique(kind[degree > 0]):
            members = np.flatnonzero((kind == number) & (degree > 0))
            tree = cKDTree(self.nodes_mm[members])
            for end in members[degree[members] == 1]:
                reach = float(width[members].max())
                near = members[tree.query_ball_point(self.nodes_mm[end], reach)]
                gaps = np.linalg.norm(self.nodes_mm[near] - self.nodes_mm[end], axis=1)
                opens = near[(near != end) & (gaps <= np.maximum(width[near], width[end]))]
                found += [(end, other) for other in opens]
        return np.array(found, dtype=np.intp).reshape(-1, 2)


def draw(lines: Lines, onto: NDArray[np.uint8], patient: LabelMap) -> None:
    """Draw tubes where the patient's mask holds nothing, thin ones over wide ones.

    Where an artery runs on the renal pelvis, the pelvis loses a groove; the other way round the
    artery would be cut through.

    Args:
        lines: in the patient's place, RAS+ mm.
        onto: (X, Y, Z) what they are drawn into.
        patient: its own structures, on the same grid.
    """
    back = np.linalg.inv(patient.affine)
    ends = lines.nodes_mm @ back[:3, :3].T + back[:3, 3]
    per_mm = np.linalg.norm(back[:3, :3], axis=1)
    spans: dict[int, Box] = {}
    for number in np.argsort(-lines.radii_mm.mean(axis=1), kind="stable"):
        edge, radii, label = lines.edges[number], lines.radii_mm[number], int(lines.labels[number])
        start, stop = ends[edge[0]], ends[edge[1]]
        box = _span(np.stack([start, stop]), radii.max() * per_mm + 1, patient.shape)
        if any(s.stop <= s.start for s in box):
            continue
        low, shape = [s.start for s in box], tuple(s.stop - s.start for s in box)
        inside, axis = _capsule(start - low, stop - low, radii, patient.affine, shape)
        own = patient.voxels[box] != 0
        if (inside & own).any():
            inside = _beside(inside & ~own, axis)
        onto[box][inside] = label
        spans[label] = _around(spans.get(label, box), box)
    for label, box in spans.items():
        _sweep(onto[box], patient.voxels[box], label)


def _sweep(onto: NDArray[np.uint8], patient: NDArray[np.uint8], label: int) -> None:
    """Give crumbs that a thinner tube has cut off a wider one to what lies around them."""
    pieces = cc3d.connected_components(onto == label, connectivity=26)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    crumbs = np.flatnonzero((sizes > 0) & (sizes < _CRUMB * sizes.max()))
    boxes = ndimage.find_objects(pieces) if crumbs.size else []
    for crumb in crumbs.tolist():
        box = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in boxes[crumb - 1])
        own = pieces[box] == crumb
        beside = ndimage.binary_dilation(own, np.ones((3, 3, 3))) & ~own & (patient[box] == 0)
        values = np.bincount(onto[box][beside], minlength=1)
        onto[box][own] = int(values.argmax())


def joined(parts: list[Lines]) -> Lines:
    """Several sets of tubes as one, drawn in their order."""
    starts = np.cumsum([0, *(len(p.nodes_mm) for p in parts[:-1])]).tolist()
    return Lines(
        np.concatenate([p.nodes_mm for p in parts]),
        np.concatenate([p.edges + start for p, start in zip(parts, starts, strict=True)]),
        np.concatenate([p.radii_mm for p in parts]),
        np.concatenate([p.labels for p in parts]),
    )


def samples(start: NDArray[np.float64], stop: NDArray[np.float64], count: int) -> Points:
    """(M, count, 3) points from starts (M, 3) to stops (M, 3)."""
    share = np.linspace(0, 1, count)[None, :, None]
    return np.asarray(start[:, None] + share * (stop - start)[:, None])


def _capsule(
    start: NDArray[np.float64],
    stop: NDArray[np.float64],
    radii_mm: NDArray[np.float64],
    affine: NDArray[np.float64],
    shape: tuple[int, ...],
) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """(X, Y, Z) voxels of a piece of tube, and (M, 3) those that its axis passes through.

    Args:
        start: (3,) voxel index.
        stop: the same.
        radii_mm: (2,) at both.
        affine: (4, 4) voxel → mm.
        shape: of the box.
    """
    linear = affine[:3, :3]
    axes = [np.arange(n, dtype=np.float64) - s for n, s in zip(shape, start, strict=True)]
    i, j, k = axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]
    along = linear @ (stop - start)
    length2 = max(float(along @ along), 1e-12)
    where = [linear[a, 0] * i + linear[a, 1] * j + linear[a, 2] * k for a in range(3)]
    t = sum(w * (a / length2) for w, a in zip(where, along, strict=True))
    t = np.clip(t, 0, 1)
    distance2 = sum((w - t * a) ** 2 for w, a in zip(where, along, strict=True))
    radius = radii_mm[0] + t * (radii_mm[1] - radii_mm[0])
    inside = np.round(distance2, 9) <= np.round(radius**2, 9)
    # A tube thinner than a voxel is not interrupted.
    count = 2 * int(np.ceil(np.abs(stop - start).max())) + 2
    index = np.floor(np.round(samples(start[None], stop[None], count)[0], 6) + 0.5).astype(int)
    index = index[((index >= 0) & (index < shape)).all(axis=1)]
    inside[tuple(index.T)] = True
    return np.asarray(inside), index


def _span(
    points: NDArray[np.float64], reach: NDArray[np.float64], shape: tuple[int, int, int]
) -> Box:
    """The voxels within reach of some points (N, 3), all in voxels."""
    low = np.maximum(np.floor(points.min(axis=0) - reach), 0).astype(int).tolist()
    high = np.minimum(np.ceil(points.max(axis=0) + reach) + 1, shape).astype(int).tolist()
    return slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2])


def _around(one: Box, other: Box) -> Box:
    """The box around two boxes."""
    a, b, c = (
        slice(min(s.start, t.start), max(s.stop, t.stop)) for s, t in zip(one, other, strict=True)
    )
    return a, b, c


def _beside(inside: NDArray[np.bool_], axis: NDArray[np.intp]) -> NDArray[np.bool_]:
    """What of a piece of tube hangs together with its axis, and not beyond a thin wall."""
    pieces, _ = ndimage.label(inside, np.ones((3, 3, 3)))
    own = np.unique(pieces[tuple(axis.T)])
    return np.asarray(np.isin(pieces, own[own > 0]))


#: Labels of one kind open into each other.
_KINDS = {n: k for k, g in enumerate(("artery", "vein", "urinary")) for n in names.group(g)}
