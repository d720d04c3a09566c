"""Blobs that lie in a gap: two ends on both sides of one may cross it as if by a stepping stone.

A blob has no direction, and is joined to nothing by itself. Where it lies on the way between two
real ends, it shortens the gap between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from nephra_postprocess.tubes.fragments import Fragments, Small

#: A piece is a blob if it reaches no farther than this many radii of a ball of its volume.
_COMPACT = 1.3
#: How far from a way a blob's middle may lie, in radii of the tube.
_ASIDE = 0.75


@dataclass(frozen=True)
class Stones:
    """Blobs.

    Args:
        tree: of their middles.
        radii_mm: of balls of their volumes.
        pieces: those of them that are large enough to be fragments.
    """

    tree: cKDTree | None
    radii_mm: NDArray[np.float64]
    pieces: frozenset[int]

    @classmethod
    def of(cls, fragments: Fragments, small: list[Small]) -> Self:
        """The blobs among fragments, and all that was set aside."""
        middles = fragments.middles_mm()
        away = np.linalg.norm(fragments.points_mm - middles[fragments.piece], axis=1)
        reach = np.zeros(fragments.count)
        np.maximum.at(reach, fragments.piece, away)
        radii = np.cbrt(fragments.volumes_mm3() * 3 / (4 * np.pi))
        compact = np.flatnonzero(np.round(reach, 6) <= _COMPACT * radii)
        points = np.concatenate([middles[compact], *(s.centre_mm[None] for s in small)])
        specks = np.cbrt(np.array([s.volume_mm3 for s in small], np.float64) * 3 / (4 * np.pi))
        return cls(
            cKDTree(points) if len(points) else None,
            np.concatenate([radii[compact], specks]),
            frozenset(compact.tolist()),
        )

    def covered_mm(
        self, start_mm: NDArray[np.float64], stop_mm: NDArray[np.float64], radius_mm: float
    ) -> float:
        """How much of the straight way between two points lies in blobs."""
        way = stop_mm - start_mm
        length_mm = float(np.linalg.norm(way))
        if self.tree is None or length_mm == 0:
            return 0.0
        near = self.tree.query_ball_point(0.5 * (start_mm + stop_mm), 0.5 * length_mm)
        total = 0.0
        for number in sorted(near):
            offset = self.tree.data[number] - start_mm
            along = float(offset @ way) / length_mm
            aside = float(np.linalg.norm(offset - along * way / length_mm))
            if aside <= max(_ASIDE * radius_mm, 1.0) and 0 < along < length_mm:
                total += 2 * float(self.radii_mm[number])
        return total
