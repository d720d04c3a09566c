"""Where the tubes of a fragment end, in which direction, and how wide they are there.

An end is looked at through the voxels a few diameters behind its tip. In a thin tube the centres
of its cross-sections show the direction, a parabola through them how it bends; in a wide one the
wall does: its normals lie in a plane, and the axis is at right angles to it, however the end is
cut. The end's middle is where a flat cut would be that leaves the same volume.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from nephra_postprocess.tubes.branches import Tip, find_tips
from nephra_postprocess.tubes.fragments import Fragments
from nephra_postprocess.tubes.profiles import Profile, unit
from nephra_postprocess.tubes.views import View, Window

Vector = NDArray[np.float64]
#: A tube wider than this many voxels shows its axis by its wall.
_WIDE_VOXELS = 2.5
_WIDE_MM = 3.0
#: The middles of a stub's cross-sections say little; from this many radii on they do.
_LONG_RADII = 1.5
_SMOOTH_MM = 1.0


@dataclass(frozen=True)
class End:
    """One end of a tube.

    Args:
        number: among all ends.
        piece: the fragment that it belongs to.
        tip_mm: (3,) middle of the cut, in the volume's local frame.
        anchor_mm: (3,) middle of the last whole cross-section behind it.
        outward: (3,) unit direction in which the tube would go on.
        bend_per_mm: (3,) by how much that direction turns per mm.
        radius_mm: of the circle with the area of its cross-section.
        taper: by how many mm per mm the radius grows outwards.
        support_mm: length of tube behind the tip up to its branching or other end.
        index: (3,) a voxel of the tube at the tip.
    """

    number: int
    piece: int
    tip_mm: Vector
    anchor_mm: Vector
    outward: Vector
    bend_per_mm: Vector
    radius_mm: float
    taper: float
    support_mm: float
    index: NDArray[np.int32]


def find_ends(fragments: Fragments, min_support_mm: float = 0.0) -> list[End]:
    """All ends of all pieces, but those with less tube behind them than speaks for a direction."""
    tips = [t for t in find_tips(fragments) if t.support_mm >= min_support_mm]
    if not tips:
        return []
    window = Window(fragments)
    return [_look(fragments, window, number, tip) for number, tip in enumerate(tips)]


def _look(fragments: Fragments, window: Window, number: int, tip: Tip) -> End:
    """Find an end's direction, then cut it where its volume ends."""
    view = window.behind(tip)
    start = fragments.centres_mm[tip.cell]
    points = view.points - start
    spacing_mm = float(np.linalg.norm(fragments.linear, axis=0).max())
    outward = _first_guess(points, view.behind)
    if view.radius_mm > max(_WIDE_MM, _WIDE_VOXELS * spacing_mm):
        outward = _by_wall(fragments, view, outward)
    bend = np.zeros(3)
    profile = Profile.of(points, outward, fragments)
    if profile.reach_mm > _LONG_RADII * view.radius_mm:
        outward, bend = profile.curve(outward)
        profile = Profile.of(points, outward, fragments)
    anchor, tip_mm, radius_mm, taper = profile.end(outward)
    nearest = int(np.argmin(((points - anchor) ** 2).sum(axis=1)))
    return End(
        number, tip.piece, start + tip_mm, start + anchor, outward, bend, radius_mm, taper,
        tip.support_mm, fragments.indices[view.voxels[nearest]],
    )  # fmt: skip


def _first_guess(points: NDArray[np.float64], behind: NDArray[np.float64]) -> Vector:
    """From the middle of the farther half to that of the nearer."""
    half = 0.5 * float(behind.max())
    deep = behind > half
    if not deep.any() or deep.all():
        return np.array([0.0, 0.0, 1.0])
    return unit(points[~deep].mean(axis=0) - points[deep].mean(axis=0))


def _by_wall(fragments: Fragments, view: View, guess: Vector) -> Vector:
    """The direction at right angles to the normals of the wall, on the guess's side."""
    index = fragments.indices[view.voxels]
    low = index.min(axis=0) - 3
    shape = index.max(axis=0) + 4 - low
    mask = np.zeros(shape, dtype=np.float32)
    mask[tuple((index - low).T)] = 1
    spacing = np.linalg.norm(fragments.linear, axis=0)
    smooth = gaussian_filter(mask, _SMOOTH_MM / spacing, truncate=2.5)
    inverse = np.linalg.inv(fragments.linear)
    normals = np.stack(np.gradient(smooth), axis=-1)[tuple((index - low).T)] @ inverse
    # Where the window ends, the tube does not.
    own = view.behind < 0.85 * view.reach_mm
    normals = normals[own]
    sizes = np.linalg.norm(normals, axis=1)
    found = guess
    weights = sizes.copy()
    for _ in range(3):
        tensor = (normals * weights[:, None]).T @ normals
        values, vectors = np.linalg.eigh(np.round(tensor, 9))
        if values[0] > 0.6 * values[1]:
            return guess
        found = vectors[:, 0] * (1.0 if vectors[:, 0] @ guess >= 0 else -1.0)
        along = np.abs(normals @ found) / np.maximum(sizes, 1e-9)
        weights = sizes * np.clip(1.2 - 1.5 * along, 0, 1)
    return found if found @ guess > 0.5 else guess
