"""Attempts at the surface of a structure, from the smoothest to the safest, each judged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nephra_smoothing.blocks import in_blocks, pieces_of
from nephra_smoothing.calibre import wide_share
from nephra_smoothing.contacts import corners_filled
from nephra_smoothing.field import (
    anti_aliased,
    occupancy,
    padding,
    plain,
    refined,
)
from nephra_smoothing.landscape import Landscape, Whole
from nephra_smoothing.shape import BROKEN, LOST, OPEN, Made, Structure, Wish
from nephra_smoothing.slices import THICK_SLICES
from nephra_smoothing.soundness import part, piece_of_faces
from nephra_smoothing.surface import Surface, windowed_sinc

#: Cells are made larger by averaging voxels: up to a fifth of the radius, or to this, or, where
#: what is large is round at large, to a sixteenth of the radius.
_COARSE_MM, _COARSEST_MM = 1.8, 2.6
_CELLS_PER_RADIUS, _MOST_CELLS_PER_RADIUS = 5, 16
#: Standard deviation of the blur, in cells, where the request leaves it open.
_SIGMA_ORGAN, _SIGMA_TUBE = 0.9, 0.8
_SINC_ITERATIONS = 10
#: Where a tube is wide.
_WIDE_PASS_BAND, _WIDE_ITERATIONS = 0.012, 30
#: Above this error the iso level is moved before the surface is.
_LEVEL_TOLERANCE = 0.05
#: Pieces of a surface below this many voxels are an artefact of the blur.
_CRUMB_VOXELS = 0.3
#: A surface bulges over the outer faces of its voxels by less than so many of them.
_BEYOND_VOXELS = 0.8
#: A piece of voxels above so many is not to be lost, nor one of the surface to be left out.
_PIECE_VOXELS = 3.01
#: Islands of fewer voxels are meshed apart from larger ones that allow for coarser cells.
ISLAND_VOXELS = 500


@dataclass(frozen=True)
class Attempt:
    """A way to a surface."""

    name: str
    reduce: tuple[int, int, int] = (1, 1, 1)
    refine: int = 1  # thinner slices per slice
    sigma: float = _SIGMA_TUBE  # cells; 0: no blur
    pass_band: float = 0.0  # 0: no smoothing of the mesh
    fill: bool = False  # corners where voxels touch, see `corners_filled`
    last_for_light: bool = False  # what follows does not mend light faults

    @property
    def is_coarse(self) -> bool:
        """Whether cells are larger than voxels."""
        return max(self.reduce) > 1


def attempts(structure: Structure, wish: Wish) -> Iterator[Attempt]:
    """All ways to try, the smoothest first."""
    spacing = structure.spacing_mm
    if not wish.thin:
        radius_mm = structure.radius_mm
        large_mm = min(_COARSEST_MM, radius_mm / _MOST_CELLS_PER_RADIUS)
        cell_mm = min(max(_COARSE_MM, large_mm), radius_mm / _CELLS_PER_RADIUS)
        if wish.smoothing_mm is not None:
            # Larger cells would blur more than is wished.
            cell_mm = min(cell_mm, wish.smoothing_mm / _SIGMA_ORGAN)
        cell_mm = max(cell_mm, spacing.min())
        i, j, k = (int(np.clip(cell_mm / s + 0.25, 1, 4)) for s in spacing)
        cells = spacing * (i, j, k)
        refine = int(np.clip(round(cells.max() / cells.min()), 1, 6))
        if spacing.max() <= THICK_SLICES * np.median(spacing):
            refine = 1
        yield Attempt("coarse", (i, j, k), refine, _SIGMA_ORGAN, 0.05)
        yield Attempt("coarse, corners filled", (i, j, k), refine, _SIGMA_ORGAN, 0.05, fill=True)
        if (i, j, k, refine) != (1, 1, 1, 1):
            yield Attempt("fine", sigma=_SIGMA_ORGAN, pass_band=0.05)
            yield Attempt(
                "fine, corners filled", sigma=_SIGMA_ORGAN, pass_band=0.05, fill=True,
                last_for_light=True,
            )  # fmt: skip
    yield Attempt("thin", pass_band=0.3)
    yield Attempt("thin, corners filled", pass_band=0.3, fill=True, last_for_light=True)
    yield Attempt("thin, mesh as contoured")
    yield Attempt("voxels", sigma=0.0)


def attempt_at(structure: Structure, wish: Wish, attempt: Attempt) -> Made:
    """Contoured and smooth, with what can be said of it before it is finished."""
    landscape = _landscape(structure, wish, attempt)
    surface, lost_mm3 = _levelled(landscape, structure.volume_mm3), landscape.lost_mm3()
    del landscape  # it is large, and done with
    if not len(surface.faces):
        return Made(surface, attempt.name, faults=(OPEN,))
    piece = piece_of_faces(surface)
    voxels = np.bincount(piece, surface.face_volumes_mm3) / structure.voxel_mm3
    islands = bool(len(voxels) > 1 and voxels[voxels > 0].min(initial=np.inf) < ISLAND_VOXELS)
    keep, extra = _no_crumbs(voxels, structure)
    if not keep.all():
        surface = part(surface, keep[piece])
    if attempt.pass_band:
        smooth = windowed_sinc(surface, attempt.pass_band, _SINC_ITERATIONS)
        surface = smooth if attempt.is_coarse or not wish.thin else _evened(smooth, structure)
    surface = _within(surface, structure)
    faults: list[str] = []
    if lost_mm3 > _PIECE_VOXELS * structure.voxel_mm3:
        faults.append(LOST)
    elif extra:
        faults.append(BROKEN)
    return Made(surface, attempt.name, faults=tuple(faults), lost_mm3=lost_mm3, islands=islands)


def _evened(surface: Surface, structure: Structure) -> Surface:
    """Smooth as an organ where a tube is wide."""
    share = wide_share(structure, surface.points)
    if share is None:
        return surface
    wide = (share > 0)[surface.faces].any(axis=1)
    used = np.zeros(len(share), bool)
    used[surface.faces[wide]] = True
    even = windowed_sinc(part(surface, np.asarray(wide)), _WIDE_PASS_BAND, _WIDE_ITERATIONS)
    points = surface.points.copy()
    points[used] += share[used, None] * (even.points - points[used])
    return surface.moved(points)


def _landscape(structure: Structure, wish: Wish, attempt: Attempt) -> Landscape:
    cells = structure.spacing_mm * attempt.reduce
    thick = int(np.argmax(cells))
    thinner = cells.copy()
    thinner[thick] /= attempt.refine
    sigma_mm = thinner * attempt.sigma
    if wish.smoothing_mm is not None and attempt.sigma:
        # Beyond a few cells the kernel costs much and the mesh says nothing any more.
        sigma_mm = np.minimum(np.full(3, wish.smoothing_mm), 6 * thinner)
    mask = corners_filled(structure.mask) if attempt.fill else structure.mask
    if attempt.reduce == (1, 1, 1) and attempt.refine == 1 and structure.is_sparse:
        sigma = sigma_mm / structure.spacing_mm
        return in_blocks(mask, structure.affine, sigma, padding(sigma_mm, cells))
    occupied = occupancy(mask, structure.affine, attempt.reduce, padding(sigma_mm, cells))
    if attempt.refine > 1:
        occupied = refined(occupied, thick, attempt.refine)
    if not sigma_mm.any():
        return Whole(plain(occupied), occupied)
    return Whole(anti_aliased(occupied, sigma_mm), occupied)


def _levelled(landscape: Landscape, volume_mm3: float) -> Surface:
    """Contour; where the volume is far off, at the level that encloses it, by bisection."""
    surface = landscape.surface()
    if abs(surface.volume_mm3 / volume_mm3 - 1) <= _LEVEL_TOLERANCE:
        return surface
    low, high = landscape.low, landscape.high
    found: list[tuple[float, float]] = [(0.0, surface.volume_mm3 / volume_mm3 - 1)]
    for _ in range(16):
        level = _next_level(found, low, high)
        surface = landscape.surface(_between(landscape, level))
        excess = surface.volume_mm3 / volume_mm3 - 1
        if abs(excess) <= _LEVEL_TOLERANCE / 2:
            break
        low, high = (level, high) if excess > 0 else (low, level)
        found.append((level, excess))
    return surface


def _next_level(found: list[tuple[float, float]], low: float, high: float) -> float:
    """By the last two, as if the volume fell evenly; else half-way."""
    if len(found) > 1:
        (level, excess), (before, excess_before) = found[-1], found[-2]
        if excess != excess_before:
            level -= excess * (level - before) / (excess - excess_before)
            if low < level < high:
                return level
        return (low + high) / 2
    level, excess = found[0]
    # Two thirds of the values of a blurred edge lie within a third of the levels.
    guess = level + float(np.clip(excess, -0.3, 0.3)) / 2
    return guess if low < guess < high else (low + high) / 2


def _between(landscape: Landscape, level: float) -> float:
    """A level close by that no grid point has: vertices would fall together there."""
    for _ in range(20):
        if not landscape.holds(level, 1e-5):
            break
        level += 3.1e-5
    return level


def _within(surface: Surface, structure: Structure) -> Surface:
    """Press what bulges over the box of the voxels' outer faces, so that it stays near."""
    affine = structure.affine
    inverse = np.linalg.inv(affine[:3, :3])
    half = np.array(structure.mask.shape) / 2
    middle = affine[:3, 3] + affine[:3, :3] @ (half - 0.5)
    beyond = np.zeros(len(surface.points), bool)
    for row, most in zip(inverse, half, strict=True):
        beyond |= np.abs((surface.points @ row) - middle @ row) > most
    if not beyond.any():
        return surface
    offset = (surface.points[beyond] - middle) @ inverse.T
    over = np.maximum(np.abs(offset) - half, 0)
    pressed = half + _BEYOND_VOXELS * over / (_BEYOND_VOXELS + over)
    offset = np.where(over > 0, np.copysign(pressed, offset), offset)
    points = surface.points.copy()
    points[beyond] = offset @ affine[:3, :3].T + middle
    return surface.moved(points)


def _no_crumbs(voxels: NDArray[np.float64], structure: Structure) -> tuple[NDArray[np.bool_], bool]:
    """Leave out what the blur cut off.

    Args:
        voxels: (P,) signed volume of each piece of the surface, in voxels.

    Returns:
        (P,) which pieces stay, and whether they are more than the mask's; there, voxels that
        touch in a corner are one piece.
    """
    keep = np.abs(voxels) >= _CRUMB_VOXELS
    if not keep.any():
        return ~keep, False
    solid = np.flatnonzero(keep & (voxels > 0))
    if len(solid) <= 1:
        return keep, False
    extra = max(len(solid) - _pieces(structure), 0)
    smallest = solid[np.argsort(voxels[solid])[:extra]]
    crumbs = smallest[voxels[smallest] < _PIECE_VOXELS]
    keep[crumbs] = False
    return keep, extra > len(crumbs)


def _pieces(structure: Structure) -> int:
    from cc3d import connected_components

    if structure.is_sparse:
        return pieces_of(structure.mask)
    return int(connected_components(structure.mask, connectivity=26, return_N=True)[1])
