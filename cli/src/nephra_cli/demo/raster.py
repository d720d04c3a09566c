"""An orthographic z-buffer in numpy: surfaces to depth and normals, without a display."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

#: Candidate pixels that are worked on at once; bounds the memory of a large surface.
_CHUNK_PIXELS = 1 << 20
#: Triangles up to this size are filled many at once.
_BOXES = (2, 3, 4, 6, 8, 12, 16, 32, 64)


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
        low = np.maximum(low, 0)
        high = np.minimum(high, (self.width, self.height))
        size = high - low
        seen = (area < -1e-6) & (size > 0).all(axis=1)
        # Small triangles are filled many at once, each in a square that they fit into.
        for box in _BOXES:
            fitting = np.flatnonzero(seen & (size.max(axis=1) <= box))
            seen[fitting] = False
            offset = _pixels(box, box)
            step = _CHUNK_PIXELS // len(offset)
            for start in range(0, fitting.size, step):
                part = fitting[start : start + step]
                self._fill(corners[part], normals[faces[part]], low[part], offset, owner)
        for one in np.flatnonzero(seen):
            width, height = (int(n) for n in size[one])
            strip = max(_CHUNK_PIXELS // width, 1)
            for top in range(0, height, strip):
                offset = _pixels(min(strip, height - top), width) + np.array([0, top])
                part = np.array([one])
                self._fill(corners[part], normals[faces[part]], low[part], offset, owner)

    def _fill(
        self,
        corners: Floats,
        normals: Floats,
        low: NDArray[np.int64],
        offset: NDArray[np.int64],
        owner: int,
    ) -> None:
        """Draw triangles on the pixels at `offset` (K, 2) from `low` (M, 2), column and row."""
        origin = corners[:, 0, :2]
        u, v = corners[:, 1, :2] - origin, corners[:, 2, :2] - origin
        area = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
        start = (low + 0.5 - origin).astype(np.float32)
        x = start[:, 0:1] + offset[:, 0].astype(np.float32)
        y = start[:, 1:2] + offset[:, 1].astype(np.float32)
        u, v = u / area[:, None], v / area[:, None]
        b = x * v[:, 1:2] - y * v[:, 0:1]
        c = y * u[:, 0:1] - x * u[:, 1:2]
        which, pixel = np.nonzero((b >= -1e-5) & (c >= -1e-5) & (b + c <= 1 + 1e-5))
        column, row = (low[which] + offset[pixel]).T
        within = (column < self.width) & (row < self.height)
        which, pixel = which[within], pixel[within]
        index = (column + row * self.width)[within]
        b, c = b[which, pixel], c[which, pixel]
        weights = np.stack([1 - b - c, b, c], axis=-1)
        depth = np.einsum("nc,nc->n", weights, corners[which, :, 2]).astype(np.float32)
        nearer = depth > self.depth[index]
        # Written from far to near: of several on one pixel the last one, the nearest, stays.
        order = np.flatnonzero(nearer)[np.argsort(depth[nearer], kind="stable")]
        target = index[order]
        self.depth[target] = depth[order]
        self.normal[target] = np.einsum("nc,ncx->nx", weights[order], normals[which[order]])
        self.owner[target] = owner


def _pixels(height: int, width: int) -> NDArray[np.int64]:
    """(height * width, 2) column and row of each pixel of a box."""
    rows, columns = np.divmod(np.arange(height * width), width)
    return np.stack([columns, rows], axis=-1)


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
