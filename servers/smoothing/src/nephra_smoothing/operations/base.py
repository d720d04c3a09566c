"""`smoothing/base`: one closed, smooth, named surface per structure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from nephra_contract import labels as names
from nephra_contract.errors import RequestInvalid, StructureMissing
from nephra_contract.operation import Input, Operation, Outcome, Parameters
from nephra_contract.orientation import canonical
from nephra_contract.progress import Progress
from nephra_contract.scene import Mesh, Scene, WorldSpace
from nephra_contract.volume import LabelMap, bounding_box
from nephra_smoothing.soundness import is_sound
from nephra_smoothing.structure import Made, Structure, Wish, surface_of

#: Groups whose members are tubes of few voxels.
_TUBES = ("artery", "vein", "urinary")


class Base(Parameters):
    """Surfaces of a mask: one closed, smooth, named object per structure, as OBJ and GLB.

    Each structure is worked on within its own box: its occupancy is blurred, contoured where it
    keeps its local thickness, smoothed, held to the volume of its voxels, and simplified within
    a stated distance. Each surface is checked to be closed; where it is not, or a part would be
    lost, a safer setting is taken.
    """

    structures: list[str] | None = Field(
        default=None,
        min_length=1,
        max_length=256,
        description="Names or groups of structures to take; all that the mask has if left out.",
    )
    smoothing_mm: float | None = Field(
        default=None,
        ge=0,
        le=10,
        description="Standard deviation of the blur; left out, nine tenths of a voxel (tubes 0.8).",
    )
    decimation_error_mm: float = Field(
        default=0.1,
        ge=0,
        le=5,
        description="How far simplifying may move the surface; 0 keeps all triangles.",
    )
    max_triangles_per_label: int = Field(
        default=400_000,
        ge=100,
        le=10_000_000,
        description="More triangles than this are simplified away, whatever the error.",
    )
    min_volume_mm3: float = Field(
        default=0,
        ge=0,
        le=1e6,
        description="Islands of a structure below this volume are left out.",
    )
    space: WorldSpace = Field(
        default="LPS", description="Axes of the OBJ, in mm. GLB is always in metres with Y up."
    )


def base(labels: LabelMap, parameters: Base, progress: Progress) -> Outcome:
    """Make the surfaces of a mask.

    Args:
        labels: in our numbers, any invertible affine.

    Returns:
        A `Scene` with one mesh per structure, by ascending label; per structure a report of
        `triangles`, `volume_ml`, `mask_volume_ml`, `volume_error_percent`, `watertight`, …

    Raises:
        RequestInvalid: `structures` holds a name that is neither a structure nor a group.
        StructureMissing: nothing of what is wanted is in the mask.
    """
    progress.advance(0.0, "surfaces")
    wanted, absent = _wanted(labels, parameters.structures)
    turned = canonical(labels)
    boxes = _boxes(turned.voxels)
    meshes: list[Mesh] = []
    report: dict[str, Any] = {}
    warnings = [f"The mask has no {name}." for name in absent]
    for done, number in enumerate(wanted):
        name = names.name_of(number)
        progress.advance(done / len(wanted), name)
        structure = _structure(turned, boxes[number], number, parameters.min_volume_mm3)
        if structure is None:
            warnings.append(f"All islands of {name} are smaller than min_volume_mm3.")
            continue
        made = surface_of(structure, _wish(number, parameters))
        meshes.append(Mesh(number, made.surface.points, made.surface.faces))
        report[name] = _report(made, structure)
        warnings += [f"The surface of {name} is {fault}." for fault in made.faults]
    if not meshes:
        raise _nothing("Every island of the mask is smaller than min_volume_mm3.")
    progress.advance(1.0, "surfaces")
    return Outcome(Scene(tuple(meshes), parameters.space), {"structures": report}, tuple(warnings))


def _wanted(labels: LabelMap, structures: list[str] | None) -> tuple[list[int], list[str]]:
    """The numbers to take that are there, and the names asked for in vain."""
    present = labels.present
    if not present:
        raise _nothing("The mask is empty.")
    if structures is None:
        return list(present), []
    asked = {name: _numbers(name) for name in structures}
    strangers = sorted(name for name, found in asked.items() if not found)
    if strangers:
        raise RequestInvalid(
            f"'structures' names what nephra does not know: {', '.join(strangers[:20])}.",
            "Use the names or groups that GET /labels lists.",
            strangers=strangers,
        )
    wanted = sorted(set(present).intersection(*[set().union(*asked.values())]))
    absent = [name for name, found in asked.items() if not found.intersection(present)]
    if not wanted:
        raise _nothing(f"The mask has none of: {', '.join(structures[:20])}.")
    return wanted, absent


def _numbers(name: str) -> set[int]:
    """Those of the group of that name, and the structure of that name: `kidney` is both."""
    number = names.numbers().get(name)
    return {*names.group(name), *(() if number is None else (number,))}


def _nothing(found: str) -> StructureMissing:
    return StructureMissing(found, "Give a mask that holds the structures that are wanted.")


def _boxes(voxels: NDArray[Any]) -> dict[int, tuple[slice, slice, slice]]:
    """The bounding box of every label, in one pass."""
    from scipy.ndimage import find_objects

    found: Iterator[tuple[int, Any]] = enumerate(find_objects(voxels), start=1)
    return {number: box for number, box in found if box is not None}


def _structure(
    labels: LabelMap, box: tuple[slice, slice, slice], number: int, min_volume_mm3: float
) -> Structure | None:
    part = labels.crop(box)
    mask = np.ascontiguousarray(part.voxels == number)
    if min_volume_mm3 <= 0:
        return Structure(mask, part.affine)
    from cc3d import dust

    least = int(np.ceil(min_volume_mm3 / labels.voxel_volume_mm3 - 1e-9))
    mask = np.asarray(dust(mask, threshold=least, connectivity=26), dtype=bool)
    inner = bounding_box(mask)
    if inner is None:
        return None
    kept = part.crop(inner)
    return Structure(np.ascontiguousarray(mask[inner]), kept.affine)


def _wish(number: int, parameters: Base) -> Wish:
    label = names.table().get(number)
    return Wish(
        thin=label is not None and label.group in _TUBES and number != names.URINARY_BLADDER,
        smoothing_mm=parameters.smoothing_mm,
        decimation_error_mm=parameters.decimation_error_mm,
        most_triangles=parameters.max_triangles_per_label,
    )


def _report(made: Made, structure: Structure) -> dict[str, Any]:
    volume_mm3, mask_mm3 = made.surface.volume_mm3, structure.volume_mm3
    return {
        "triangles": len(made.surface.faces),
        "volume_ml": round(volume_mm3 / 1000, 4),
        "mask_volume_ml": round(mask_mm3 / 1000, 4),
        "volume_error_percent": round(100 * (volume_mm3 / mask_mm3 - 1), 3),
        "watertight": is_sound(made.surface),
        "decimation_error_mm": round(made.decimation_error_mm, 4),
        "method": made.method,
    }


OPERATION = Operation(
    name="smoothing/base",
    inputs=(
        Input(
            "mask_path",
            "mask",
            "The mask, or several, merged on the first one's grid.",
            many=True,
        ),
    ),
    parameters=Base,
    function=base,
    output="scene",
    example={"mask_path": "cases/17/mask.nii.gz", "structures": ["kidney", "tumor", "artery"]},
)
