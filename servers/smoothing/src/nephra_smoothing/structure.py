"""The surface of one structure: attempts from the smoothest to the safest, each judged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nephra_smoothing.field import (
    Field,
    Occupancy,
    anti_aliased,
    occupancy,
    padding,
    plain,
    refined,
)
from nephra_smoothing.simplification import simplify
from nephra_smoothing.soundness import is_sound, shells, without_crumbs
from nephra_smoothing.surface import Surface, flying_edges, hold_volume, windowed_sinc

#: Cells are never made larger than this by averaging voxels, and an eighth of the radius.
_COARSEST_MM = 1.8
_CELLS_PER_RADIUS = 8
#: Slices thicker than this many times the pixels are interpolated.
_THICK_SLICES = 2.0
#: Standard deviation of the blur, in cells, where the request leaves it open.
_SIGMA_ORGAN, _SIGMA_TUBE = 0.9, 0.8
#: Above this error the iso level is moved before the surface is.
_LEVEL_TOLERANCE = 0.03
_VOLUME_TOLERANCE = 0.001
#: Pieces of a surface below this many voxels are an artefact of the blur.
_CRUMB_VOXELS = 0.3
#: A surface may bulge over the outer faces of its voxels by so many of them.
_BEYOND_VOXELS = 0.8
#: A piece above this many voxels counts as one.
_PIECE_VOXELS = 3.0

_OPEN, _OFF = "not a closed 2-manifold", "off the volume of its voxels"
_LOST, _BROKEN = "without some small part", "in more pieces than the mask"
_BEYOND = "beyond its voxels"
_SEVERITY = {_BROKEN: 1, _LOST: 2, _BEYOND: 2, _OFF: 3, _OPEN: 4}


@dataclass(frozen=True)
class Wish:
    """What a surface is to be like.

    Args:
        thin: a tube: no cells larger than voxels, little smoothing of the mesh.
        smoothing_mm: standard deviation of the blur; None: by the cells' size.
        decimation_error_mm: 0 keeps all triangles.
        most_triangles: per structure.
    """

    thin: bool
    smoothing_mm: float | None
    decimation_error_mm: float
    most_triangles: int


@dataclass(frozen=True, eq=False)
class Structure:
    """One label within its bounding box.

    Args:
        mask: (I, J, K) bool.
        affine: (4, 4) voxel → RAS+ mm, of the box.
    """

    mask: NDArray[np.bool_]
    affine: NDArray[np.float64]

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        """(3,) distances between neighbouring voxels."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))

    @property
    def voxel_mm3(self) -> float:
        """Volume of one voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def volume_mm3(self) -> float:
        """Voxels times the volume of one."""
        return float(np.count_nonzero(self.mask) * self.voxel_mm3)

    @property
    def radius_mm(self) -> float:
        """Three times volume over area: the radius, if it were a ball; of a tube half of that.

        Of the voxels' outer faces two thirds are taken: so much more than a ball they have.
        """
        area_mm2 = 0.0
        for axis in range(3):
            sides = np.delete(self.spacing_mm, axis)
            steps = np.count_nonzero(np.diff(self.mask, axis=axis))
            ends = np.take(self.mask, (0, -1), axis=axis)
            area_mm2 += (steps + np.count_nonzero(ends)) * float(np.prod(sides))
        return 3 * self.volume_mm3 / (area_mm2 * 2 / 3)


@dataclass(frozen=True, eq=False)
class Made:
    """A surface and how it came about.

    Args:
        surface: in RAS+ mm.
        method: the attempt that it comes from.
        decimation_error_mm: measured.
        faults: what the best attempt still lacks; empty as a rule.
    """

    surface: Surface
    method: str
    decimation_error_mm: float = 0.0
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Attempt:
    name: str
    reduce: tuple[int, int, int] = (1, 1, 1)
    refine: int = 1  # thinner slices per slice
    sigma: float = _SIGMA_TUBE  # cells; 0: no blur
    pass_band: float = 0.0  # 0: no smoothing of the mesh
    last_for_light: bool = False  # what follows does not mend light faults


def surface_of(structure: Structure, wish: Wish) -> Made:
    """The surface of a structure, closed and of the structure's volume.

    Args:
        structure: at least one voxel.

    Returns:
        The first attempt without a fault, else the one with the lightest.
    """
    best: tuple[int, Made] | None = None
    for attempt in _attempts(structure, wish):
        made = _try(structure, wish, attempt)
        severity = max((_SEVERITY[fault] for fault in made.faults), default=0)
        if best is None or severity < best[0]:
            best = severity, made
        if best[0] == 0 or (best[0] == 1 and attempt.last_for_light):
            break
    assert best is not None
    return _simplified(best[1], structure, wish)


def _attempts(structure: Structure, wish: Wish) -> Iterator[_Attempt]:
    spacing = structure.spacing_mm
    if not wish.thin:
        cell_mm = max(min(_COARSEST_MM, structure.radius_mm / _CELLS_PER_RADIUS), spacing.min())
        i, j, k = (int(np.clip(cell_mm / s + 1e-6, 1, 4)) for s in spacing)
        cells = spacing * (i, j, k)
        refine = int(np.clip(round(cells.max() / cells.min()), 1, 6))
        if cells.max() <= _THICK_SLICES * np.median(cells):
            refine = 1
        yield _Attempt("coarse", (i, j, k), refine, _SIGMA_ORGAN, 0.05)
        if (i, j, k, refine) != (1, 1, 1, 1):
            yield _Attempt("fine", sigma=_SIGMA_ORGAN, pass_band=0.05)
    yield _Attempt("thin", pass_band=0.3, last_for_light=True)
    yield _Attempt("thin, mesh as contoured")
    yield _Attempt("voxels", sigma=0.0)


def _try(structure: Structure, wish: Wish, attempt: _Attempt) -> Made:
    field, occupied = _field(structure, wish, attempt)
    surface = _levelled(field, structure.volume_mm3)
    if not len(surface.faces):
        return Made(surface, attempt.name, faults=(_OPEN,))
    surface = without_crumbs(surface, _CRUMB_VOXELS * structure.voxel_mm3)
    if attempt.pass_band:
        surface = windowed_sinc(surface, attempt.pass_band, 20)
    surface = hold_volume(surface, structure.volume_mm3)
    return Made(surface, attempt.name, faults=_faults(surface, field, occupied, structure))


def _simplified(made: Made, structure: Structure, wish: Wish) -> Made:
    """With fewer triangles, if that leaves it as sound as it was."""
    if wish.decimation_error_mm <= 0 or _OPEN in made.faults:
        return made
    # A tenth of the radius, so that a narrow tube is not flattened.
    radius_mm = structure.radius_mm
    error_mm = min(wish.decimation_error_mm, radius_mm / 10)
    fewer, found_mm = simplify(made.surface, error_mm, radius_mm, wish.most_triangles)
    fewer = hold_volume(fewer, structure.volume_mm3)
    if not is_sound(fewer) or not _has_volume(fewer, structure):
        return made
    return Made(fewer, made.method, found_mm, made.faults)


def _field(structure: Structure, wish: Wish, attempt: _Attempt) -> tuple[Field, Occupancy]:
    cells = structure.spacing_mm * attempt.reduce
    thick = int(np.argmax(cells))
    thinner = cells.copy()
    thinner[thick] /= attempt.refine
    sigma_mm = thinner * attempt.sigma
    if wish.smoothing_mm is not None and attempt.sigma:
        # Beyond a few cells the kernel costs much and the mesh says nothing any more.
        sigma_mm = np.minimum(np.full(3, wish.smoothing_mm), 6 * thinner)
    occupied = occupancy(structure.mask, structure.affine, attempt.reduce, padding(sigma_mm, cells))
    if attempt.refine > 1:
        occupied = refined(occupied, thick, attempt.refine)
    if not sigma_mm.any():
        return plain(occupied), occupied
    return anti_aliased(occupied, sigma_mm), occupied


def _levelled(field: Field, volume_mm3: float) -> Surface:
    """Contour; where the volume is far off, at the level that encloses it, by bisection."""
    surface = flying_edges(field)
    if abs(surface.volume_mm3 / volume_mm3 - 1) <= _LEVEL_TOLERANCE:
        return surface
    values = field.values
    # Below the border's value the surface would be open; the highest value encloses nothing.
    low, high = float(max(_border(values), values.min())), float(values.max())
    for _ in range(16):
        level = (low + high) / 2
        surface = flying_edges(field, _between(values, level))
        excess = surface.volume_mm3 / volume_mm3 - 1
        if abs(excess) <= _LEVEL_TOLERANCE / 3:
            break
        low, high = (level, high) if excess > 0 else (low, level)
    return surface


def _border(values: NDArray[np.float32]) -> float:
    return max(float(np.take(values, (0, -1), axis=a).max()) for a in range(3))


def _between(values: NDArray[np.float32], level: float) -> float:
    """A level close by that no grid point has: vertices would fall together there."""
    for _ in range(20):
        if not (np.abs(values - level) < 1e-5).any():
            break
        level += 3.1e-5
    return level


def _faults(
    surface: Surface, field: Field, occupied: Occupancy, structure: Structure
) -> tuple[str, ...]:
    faults = []
    if not is_sound(surface):
        faults.append(_OPEN)
    if not _has_volume(surface, structure):
        faults.append(_OFF)
    if _is_beyond(surface, structure):
        faults.append(_BEYOND)
    if _lost(field, occupied, structure):
        faults.append(_LOST)
    elif _broken(surface, structure):
        faults.append(_BROKEN)
    return tuple(faults)


def _is_beyond(surface: Surface, structure: Structure) -> bool:
    """Whether it reaches further than `_BEYOND_VOXELS` over the box of its voxels' outer faces."""
    index = (surface.points - structure.affine[:3, 3]) @ np.linalg.inv(structure.affine[:3, :3]).T
    used = [np.flatnonzero(structure.mask.any(axis=(a - 2, a - 1))) for a in range(3)]
    low = np.array([u[0] for u in used]) - 0.5 - _BEYOND_VOXELS
    high = np.array([u[-1] for u in used]) + 0.5 + _BEYOND_VOXELS
    return bool((index < low).any() or (index > high).any())


def _has_volume(surface: Surface, structure: Structure) -> bool:
    return abs(surface.volume_mm3 / structure.volume_mm3 - 1) <= _VOLUME_TOLERANCE


def _lost(field: Field, occupied: Occupancy, structure: Structure) -> bool:
    """Whether a piece of some voxels has no inside of the surface even next to it."""
    from cc3d import connected_components
    from scipy.ndimage import maximum_filter

    inside = maximum_filter((field.values > 0).view(np.uint8), 3)
    lost = (occupied.share > 0.05) & (inside == 0)
    if not lost.any():
        return False
    cell_mm3 = abs(np.linalg.det(occupied.affine[:3, :3]))
    piece = connected_components(lost, connectivity=26)
    sizes_mm3 = np.bincount(piece[lost], occupied.share[lost]) * cell_mm3
    return bool(sizes_mm3.max() > _PIECE_VOXELS * structure.voxel_mm3)


def _broken(surface: Surface, structure: Structure) -> bool:
    """Whether the surface has more shells than the mask has pieces (corners connect)."""
    from cc3d import connected_components

    outer = int((shells(surface) > _PIECE_VOXELS * structure.voxel_mm3).sum())
    if outer <= 1:
        return False
    _, pieces = connected_components(structure.mask, connectivity=26, return_N=True)
    return outer > int(pieces)
