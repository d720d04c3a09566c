"""Cross-sections of a tube behind its tip: course, calibre, and where it was cut."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nephra_postprocess.tubes.fragments import Fragments

Vector = NDArray[np.float64]
#: A cross-section with less than this share of the usual area has been cut into.
_WHOLE = 0.75
#: Centres of cross-sections err by this share of a voxel.
_CENTRE_VOXELS = 0.25
#: Directions of vessels turn by about this over their radius + 0.8 mm, per mm.
_BEND = 0.2


@dataclass(frozen=True)
class Profile:
    """Cross-sections along a direction, from the tip inwards.

    Args:
        depth: (sections,) mm along the direction, descending.
        centres: (sections, 3) mm.
        areas: (sections,) mm2.
        thick_mm: of a section.
        noise_mm: (3,) by which centres err.
    """

    depth: NDArray[np.float64]
    centres: NDArray[np.float64]
    areas: NDArray[np.float64]
    thick_mm: float
    noise_mm: Vector

    @classmethod
    def of(cls, points: NDArray[np.float64], outward: Vector, fragments: Fragments) -> Profile:
        """Slice the points behind a tip at right angles to a direction."""
        spacing = np.linalg.norm(fragments.linear, axis=0)
        noise_mm = _CENTRE_VOXELS * np.linalg.norm(fragments.linear, axis=1)
        # Each voxel is a slab of its own extent, or sections would hold one layer or two by turns.
        extent_mm = float(np.abs(outward) @ np.abs(fragments.linear).sum(axis=1))
        thick_mm = float(np.clip(1.3 * np.abs(outward) @ spacing, 1.2, 4.0))
        extent_mm = min(extent_mm, thick_mm)
        along = points @ outward
        top = float(along.max()) + 0.5 * extent_mm
        start = (top - along - 0.5 * extent_mm) / thick_mm
        level = np.floor(np.maximum(np.round(start, 6), 0)).astype(int)
        upper = np.clip((level + 1 - start) * thick_mm / extent_mm, 0, 1)
        levels, shares = np.concatenate([level, level + 1]), np.concatenate([upper, 1 - upper])
        sizes = np.bincount(levels, shares)
        there = sizes > 1e-6
        sums = [np.bincount(levels, shares * np.tile(p, 2))[there] for p in points.T]
        centres = np.asarray(np.stack(sums, axis=1) / sizes[there][:, None], np.float64)
        depth = np.asarray(top - (np.flatnonzero(there) + 0.5) * thick_mm, np.float64)
        areas = np.asarray(sizes[there] * fragments.voxel_mm3 / thick_mm, np.float64)
        return cls(depth, centres, areas, thick_mm, np.asarray(noise_mm, np.float64))

    @property
    def reach_mm(self) -> float:
        """Length over which sections are whole."""
        whole = self.depth[self.whole()]
        return float(whole.max() - whole.min())

    def whole(self) -> NDArray[np.bool_]:
        """(sections,) which are not cut into; the innermost, where the view ends, never."""
        inner = self.areas[: max(len(self.areas) - 1, 1)]
        usual = float(np.median(inner[np.argsort(-inner)[: max(2 * len(inner) // 3, 1)]]))
        found = (self.areas >= _WHOLE * usual) & (self.areas <= 2.0 * usual)
        found[len(inner) :] = False
        if not found.any():
            found[0] = True
        return found

    def curve(self, guess: Vector) -> tuple[Vector, Vector]:
        """Direction and bend at the outermost whole section: a parabola, held to be flat."""
        whole = self.whole()
        centres = self.centres[whole]
        if len(centres) < 3:
            if len(centres) < 2:
                return guess, np.zeros(3)
            return towards(centres[0] - centres[-1], guess), np.zeros(3)
        s = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(centres, axis=0), axis=1))])
        columns = np.stack([np.ones_like(s), -s, 0.5 * s**2], axis=1)
        radius_mm = float(np.sqrt(np.median(self.areas[whole]) / np.pi))
        prior = np.diag([0.0, 0.0, ((radius_mm + 0.8) / _BEND) ** 2])
        solved = np.stack(
            [
                np.linalg.solve(columns.T @ columns + prior * n**2, columns.T @ c)
                for n, c in zip(self.noise_mm, centres.T, strict=True)
            ],
            axis=1,
        )
        outward = towards(solved[1], guess)
        bend = solved[2] - (solved[2] @ outward) * outward
        return outward, bend

    def end(self, outward: Vector) -> tuple[Vector, Vector, float, float]:
        """Anchor, tip, radius at the tip, and taper."""
        whole = np.flatnonzero(self.whole())
        first = int(whole[0])
        radii = np.sqrt(self.areas[whole] / np.pi)
        near = slice(0, 5)
        radius_mm = float(np.sqrt(np.mean(self.areas[whole][near]) / np.pi))
        taper = 0.0
        if len(whole) >= 4:
            taper = float(np.clip(np.polyfit(self.depth[whole], radii, 1)[0], -0.15, 0.15))
        area_mm2 = np.pi * radius_mm**2
        beyond_mm = float(self.areas[:first].sum()) * self.thick_mm / area_mm2
        anchor = self.centres[first]
        return anchor, anchor + outward * (beyond_mm + 0.5 * self.thick_mm), radius_mm, taper


def towards(vector: Vector, guess: Vector) -> Vector:
    """The unit vector along another, on a guess's side."""
    found = unit(vector)
    return found if found @ guess >= 0 else -found


def unit(vector: Vector) -> Vector:
    """The unit vector along another; upwards if that has no length."""
    norm = float(np.linalg.norm(vector))
    return vector / norm if norm > 1e-9 else np.array([0.0, 0.0, 1.0])
