"""An orthographic z-buffer in numpy: surfaces to depth and normals, without a display."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

#: Candidate pixels that are worked on at once; bounds the memory of a large surface.
_CHUNK_PIXELS = 1 << 21
_LARGEST_BOX = 4096


@dataclass(eq=False)
class Buffer:
    """What is seen at each pixel: the nearest point's depth, normal and owner.

    Args:
        height, width: in pixels; row 0 is the top.
        depth: (H*W,) mm toward the viewer; -inf where nothing is.
        normal: (H*W, 3) in view axes (right, up, toward the viewer), not normalised.
        owner: (H*W,) index given to `draw`; -1 where nothing is.
    """

    height: int
    width: int
    depth: Floats = field(init=False)
    normal: Floats = field(init=False)
    owner: NDArray[np.int16] = field(init=False)

    def __post_init__(self) -> None:
        count = self.height * self.width
        self.depth = np.full(count, -np.inf, dtype=np.float32)
        self.normal = np.zeros((count, 3), dtype=np.float32)
        self.owner = np.full(count, -1, dtype=np.int16)

    def draw(self, points: Floats, normals: Floats, faces: NDArray[np.int64], owner: int) -> None:
        """Draw triangles that face the viewer.

        Args:
            points: (N, 3) column and row in pixels, depth in mm toward the viewer.
            normals: (N, 3) in view axes.
            faces: (M, 3) counter-clockwise seen from outside (rows count downward).
            owner: what the pixels remember.
        """
        corners = points[faces]
        first = corners[:, 0, :2]
        u, v = corners[:, 1, :2] - first, corners[:, 2, :2] - first
        # Rows count downward, so what is counter-clockwise in space has negative area here.
        area = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
        low = np.floor(corners[:, :, :2].min(axis=1)).astype(np.int64)
        high = np.ceil(corners[:, :, :2].max(axis=1)).astype(np.int64)
        seen = (area < -1e-6) & (high > 0).all(axis=1)
        seen &= (low[:, 0] < self.width) & (low[:, 1] < self.height)
        size = (high - low).max(axis=1)
        box = 1
        while box < _LARGEST_BOX and seen.any():
            box *= 2
            fitting = np.flatnonzero(seen & (size <= box))
            seen[fitting] = False
            step = max(_CHUNK_PIXELS // (box * box), 1)
            for start in range(0, fitting.size, step):
                part = fitting[start : start + step]
                self._fill(corners[part], normals[faces[part]], low[part], box, owner)

    def _fill(
        self, corners: Floats, normals: Floats, low: NDArray[np.int64], box: int, owner: int
    ) -> None:
        """Draw triangles that each fit a square of `box` pixels from `low` on."""
        offset = np.stack(np.meshgrid(np.arange(box), np.arange(box)), axis=-1).reshape(-1, 2)
        pixel = low[:, None] + offset[None]
        away = (pixel + 0.5 - corners[:, None, 0, :2]).astype(np.float32)
        u = corners[:, None, 1, :2] - corners[:, None, 0, :2]
        v = corners[:, None, 2, :2] - corners[:, None, 0, :2]
        area = u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]
        b = (away[..., 0] * v[..., 1] - away[..., 1] * v[..., 0]) / area
        c = (u[..., 0] * away[..., 1] - u[..., 1] * away[..., 0]) / area
        inside = (b >= -1e-5) & (c >= -1e-5) & (b + c <= 1 + 1e-5)
        inside &= ((pixel >= 0) & (pixel < (self.width, self.height))).all(axis=-1)
        which, _ = np.nonzero(inside)
        weights = np.stack([1 - b - c, b, c], axis=-1)[inside]
        depth = np.einsum("nc,nc->n", weights, corners[which, :, 2]).astype(np.float32)
        index = pixel[inside] @ np.array([1, self.width])
        nearer = depth > self.depth[index]
        # Written from far to near: of several on one pixel the last one, the nearest, stays.
        order = np.flatnonzero(nearer)[np.argsort(depth[nearer], kind="stable")]
        target = index[order]
        self.depth[target] = depth[order]
        self.normal[target] = np.einsum("nc,ncx->nx", weights[order], normals[which[order]])
        self.owner[target] = owner


def vertex_normals(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> Floats:
    """(N, 3) unit normals, the faces' weighted by their area (Max 1999)."""
    a, b, c = (vertices[faces[:, n]] for n in range(3))
    face_normals = np.cross(b - a, c - a)
    total = np.zeros_like(vertices)
    for corner in range(3):
        for axis in range(3):
            total[:, axis] += np.bincount(
                faces[:, corner], face_normals[:, axis], minlength=len(vertices)
            )
    length = np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)
    return np.asarray(total / length, dtype=np.float32)
