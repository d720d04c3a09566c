"""Ways to the surfaces of a label map: each structure for itself, or all together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nephra_contract import labels as names
from nephra_contract.progress import Progress
from nephra_contract.scene import Level
from nephra_contract.volume import LabelMap, bounding_box
from nephra_smoothing import structure as structures
from nephra_smoothing.joint import JointWish, joint_surfaces
from nephra_smoothing.levels import levels_of
from nephra_smoothing.open3d_surface import open3d_surface_of, require_open3d
from nephra_smoothing.structure import Made, Structure, surface_of
from nephra_smoothing.surface import Surface

Box = tuple[slice, slice, slice]

#: Groups whose members are tubes of few voxels.
_TUBES = ("artery", "vein", "urinary")


@dataclass(frozen=True)
class Wish:
    """What the surfaces are to be like.

    Args:
        smoothing_mm: standard deviation of the blur; None: by the voxels' size.
        decimation_error_mm: 0 keeps all triangles.
        most_triangles: per structure.
        least_mm3: smaller islands are left out.
        levels: coarser forms of each.
    """

    smoothing_mm: float | None
    decimation_error_mm: float
    most_triangles: int
    least_mm3: float
    levels: int

    def least_voxels(self, labels: LabelMap) -> int:
        """The smallest island that stays."""
        return int(np.ceil(self.least_mm3 / labels.voxel_volume_mm3 - 1e-9))


@dataclass(frozen=True, eq=False)
class Solid:
    """The surface of one structure, and how it came about.

    Args:
        surface: in RAS+ mm.
        voxels_mm3: the volume of the voxels that it stands for.
        method: what it was made by.
        decimation_error_mm: measured.
        faults: what it lacks; empty as a rule.
        levels: coarser forms, ever coarser.
        contact: (M,) faces that a neighbour has, too; None for none.
    """

    surface: Surface
    voxels_mm3: float
    method: str
    decimation_error_mm: float
    faults: tuple[str, ...]
    levels: tuple[Level, ...] = field(default=())
    contact: NDArray[np.bool_] | None = None


#: By label, ascending; None where all islands are too small.
Solids = Iterator[tuple[int, Solid | None]]


def one_by_one(
    labels: LabelMap, boxes: Mapping[int, Box], wish: Wish, progress: Progress
) -> Solids:
    """Each structure within its own box."""
    return _separately(surface_of, labels, boxes, wish, progress)


def by_open3d(labels: LabelMap, boxes: Mapping[int, Box], wish: Wish, progress: Progress) -> Solids:
    """Each structure within its own box, by Open3D.

    Raises:
        EngineMissing: it is not installed.
    """
    require_open3d()
    return _separately(open3d_surface_of, labels, boxes, wish, progress)


def together(labels: LabelMap, boxes: Mapping[int, Box], wish: Wish, progress: Progress) -> Solids:
    """All at once, with walls that neighbours share."""
    asked = JointWish(
        tuple(boxes),
        frozenset(n for n in boxes if _is_tube(n)),
        wish.smoothing_mm,
        wish.decimation_error_mm,
        wish.most_triangles,
        wish.least_voxels(labels),
        wish.levels,
    )
    found = joint_surfaces(labels, asked, progress)
    for number in boxes:
        made = found.get(number)
        if made is None:
            yield number, None
            continue
        solid = Solid(
            made.surface,
            made.voxels_mm3,
            "joint",
            made.decimation_error_mm,
            made.faults,
            made.levels,
            made.contact,
        )
        yield number, solid


METHODS: Mapping[str, Callable[[LabelMap, Mapping[int, Box], Wish, Progress], Solids]] = {
    "base": one_by_one,
    "joint": together,
    "open3d": by_open3d,
}


def _separately(
    make: Callable[[Structure, structures.Wish], Made],
    labels: LabelMap,
    boxes: Mapping[int, Box],
    wish: Wish,
    progress: Progress,
) -> Solids:
    for done, (number, box) in enumerate(boxes.items()):
        progress.advance(done / len(boxes), names.name_of(number))
        structure = _structure(labels, box, number, wish.least_voxels(labels))
        if structure is None:
            yield number, None
            continue
        made = make(structure, _wish_for(number, wish))
        if _is_elsewhere(made.surface, structure, wish):
            made = _by_walls(structure, number, wish)
        yield (
            number,
            Solid(
                made.surface,
                structure.volume_mm3,
                made.method,
                made.decimation_error_mm,
                made.faults,
                levels_of(made.surface, wish.levels),
            ),
        )


def _is_elsewhere(surface: Surface, structure: Structure, wish: Wish) -> bool:
    """Whether there is none, or it bulges over the box of its voxels by more than two and blur."""
    if not len(surface.points):
        return True
    affine = structure.affine
    index = (surface.points - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    allowed = 2 + (wish.smoothing_mm or 0.0) / structure.spacing_mm
    last = np.array(structure.mask.shape) - 0.5
    low, high = index.min(axis=0) + 0.5, index.max(axis=0) - last
    return bool((low < -allowed).any() or (high > allowed).any())


def _by_walls(structure: Structure, number: int, wish: Wish) -> Made:
    """Of voxels that no blur describes, such as a chessboard of them: by method `joint`, alone."""
    labels = LabelMap(structure.mask.view(np.uint8), structure.affine)
    thin = frozenset((1,)) if _is_tube(number) else frozenset[int]()
    asked = JointWish((1,), thin, 0.0, wish.decimation_error_mm, wish.most_triangles)
    made = joint_surfaces(labels, asked, Progress())[1]
    return Made(made.surface, "walls", made.decimation_error_mm, made.faults)


def _structure(labels: LabelMap, box: Box, number: int, least_voxels: int) -> Structure | None:
    part = labels.crop(box)
    mask = np.ascontiguousarray(part.voxels == number)
    if least_voxels <= 1:
        return Structure(mask, part.affine)
    from cc3d import dust

    mask = np.asarray(dust(mask, threshold=least_voxels, connectivity=26), dtype=bool)
    inner = bounding_box(mask)
    if inner is None:
        return None
    return Structure(np.ascontiguousarray(mask[inner]), part.crop(inner).affine)


def _wish_for(number: int, wish: Wish) -> structures.Wish:
    return structures.Wish(
        thin=_is_tube(number),
        smoothing_mm=wish.smoothing_mm,
        decimation_error_mm=wish.decimation_error_mm,
        most_triangles=wish.most_triangles,
    )


def _is_tube(number: int) -> bool:
    label = names.table().get(number)
    return label is not None and label.group in _TUBES and number != names.URINARY_BLADDER
