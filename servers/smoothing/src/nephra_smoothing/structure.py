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
from nephra_smoothing.soundness import is_sound, shells
from nephra_smoothing.surface import Surface, flying_edges, hold_volume, windowed_sinc

#: Cells are never made larger than this by averaging voxels, and an eighth of the radius.
_COARSEST_MM = 1.6
_CELLS_PER_RADIUS = 8
#: Slices thicker than this many times the pixels are interpolated.
_THICK_SLICES = 2.0
#: Standard deviation of the blur, in cells, where the request leaves it open.
_SIGMA_ORGAN, _SIGMA_TUBE = 0.9, 0.8
#: Above this error the iso level is moved before the surface is.
_LEVEL_TOLERANCE = 0.03
_VOLUME_TOLERANCE = 0.001


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
    def volume_mm3(self) -> float:
        """Voxels times the volume of one."""
        return float(np.count_nonzero(self.mask) * abs(np.linalg.det(self.affine[:3, :3])))

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
    refine: int = 1  # thin slices per slice
    sigma: float = _SIGMA_TUBE  # cells; 0: no blur
    pass_band: float = 0.0  # 0: no smoothing of the mesh
    decimate: bool = False


def surface_of(structure: Structure, wish: Wish) -> Made:
    """The surface of a structure, closed and of the structure's volume.

    Args:
        structure: at least one voxel.

    Returns:
        The first attempt without a fault; the last one, with its faults, if all have some.
    """
    made = None
    for attempt in _attempts(structure, wish):
        made = _try(structure, wish, attempt)
        if not made.faults:
            break
    assert made is not None
    return made


def _attempts(structure: Structure, wish: Wish) -> Iterator[_Attempt]:
    spacing = structure.spacing_mm
    decimate = wish.decimation_error_mm > 0
    if not wish.thin:
        cell_mm = max(min(_COARSEST_MM, structure.radius_mm / _CELLS_PER_RADIUS), spacing.min())
        i, j, k = (int(np.clip(cell_mm / s + 1e-6, 1, 4)) for s in spacing)
        cells = spacing * (i, j, k)
        refine = int(np.clip(round(cells.max() / cells.min()), 1, 6))
        if cells.max() <= _THICK_SLICES * np.median(cells):
            refine = 1
        yield _Attempt("coarse", (i, j, k), refine, _SIGMA_ORGAN, 0.05, decimate)
        if (i, j, k, refine) != (1, 1, 1, 1):
            yield _Attempt("fine", sigma=_SIGMA_ORGAN, pass_band=0.05, decimate=decimate)
    yield _Attempt("thin", pass_band=0.3, decimate=decimate)
    yield _Attempt("thin, all triangles", pass_band=0.3)
    yield _Attempt("thin, mesh as contoured")
    yield _Attempt("voxels", sigma=0.0)


def _try(structure: Structure, wish: Wish, attempt: _Attempt) -> Made:
    field, occupied = _field(structure, wish, attempt)
    volume_mm3 = structure.volume_mm3
    surface = _levelled(field, volume_mm3)
    if not len(surface.faces):
        return Made(surface, attempt.name, faults=("empty",))
    if attempt.pass_band:
        surface = windowed_sinc(surface, attempt.pass_band, 20)
    surface = hold_volume(surface, volume_mm3)
    error_mm = 0.0
    if attempt.decimate and is_sound(surface):
        radius_mm = structure.radius_mm
        surface, error_mm = simplify(
            surface, min(wish.decimation_error_mm, radius_mm / 10), radius_mm, wish.most_triangles
        )
        surface = hold_volume(surface, volume_mm3)
    return Made(surface, attempt.name, error_mm, _faults(surface, field, occupied, structure))


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
        faults.append("not a closed 2-manifold")
    if abs(surface.volume_mm3 / structure.volume_mm3 - 1) > _VOLUME_TOLERANCE:
        faults.append("volume off")
    if _lost(field, occupied):
        faults.append("parts lost")
    elif _broken(surface, structure):
        faults.append("in more pieces than the mask")
    return tuple(faults)


def _lost(field: Field, occupied: Occupancy) -> bool:
    """Whether some filled cell has no inside of the surface even next to it."""
    from scipy.ndimage import maximum_filter

    inside = maximum_filter((field.values > 0).view(np.uint8), 3)
    return bool(((occupied.share > 0.05) & (inside == 0)).any())


def _broken(surface: Surface, structure: Structure) -> bool:
    """Whether the surface has more shells than the mask has pieces (corners connect)."""
    from cc3d import connected_components

    outer = int((shells(surface) > 0).sum())
    if outer <= 1:
        return False
    _, pieces = connected_components(structure.mask, connectivity=26, return_N=True)
    return outer > int(pieces)
