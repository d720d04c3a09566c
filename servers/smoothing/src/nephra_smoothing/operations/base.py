"""`smoothing/base`: one closed, smooth, named surface per structure."""

from __future__ import annotations

from itertools import product
from typing import Any, Literal

import numpy as np
from pydantic import Field

from nephra_contract import labels as names
from nephra_contract.draco import require_draco
from nephra_contract.errors import RequestInvalid, StructureMissing
from nephra_contract.operation import Input, Operation, Outcome, Parameters
from nephra_contract.orientation import canonical
from nephra_contract.progress import Progress
from nephra_contract.scene import Compression, Extent, Mesh, Scene, WorldSpace
from nephra_contract.volume import LabelMap
from nephra_smoothing.boxes import Box, boxes_of
from nephra_smoothing.methods import METHODS, Solid, Wish
from nephra_smoothing.soundness import is_sound


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
    method: Literal["base", "joint", "open3d"] = Field(
        default="base",
        description="base: each structure for itself. joint: all at once, so that neighbours share "
        "their walls, with no gap and no overlap. open3d: each by Open3D, if that is installed.",
    )
    space: WorldSpace = Field(
        default="LPS", description="Axes of the OBJ, in mm. GLB is always in metres with Y up."
    )
    normals: bool = Field(
        default=False, description="Write normals to the OBJ, too; the GLB always has them."
    )
    lod: int = Field(
        default=0,
        ge=0,
        le=4,
        description="Coarser levels of detail in the GLB, each of about a quarter of the "
        "triangles of the one before.",
    )
    compression: Compression = Field(
        default="none",
        description="draco: vertices and faces of the GLB are stored with Draco, smaller, and "
        "rounded to a few thousandths of a millimetre; viewers need to know it.",
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
    if parameters.compression == "draco":
        require_draco()
    turned = canonical(labels)
    boxes = boxes_of(turned.voxels)
    wanted, absent = _wanted(tuple(boxes), parameters.structures)
    meshes: list[Mesh] = []
    report: dict[str, Any] = {}
    warnings = [f"The mask has no {name}." for name in absent]
    bulge_mm = 2 * (parameters.smoothing_mm or 0.0)
    solids = METHODS[parameters.method](
        turned, {n: boxes[n] for n in wanted}, _wish(parameters), progress
    )
    for number, made in solids:
        name = names.name_of(number)
        if made is None:
            warnings.append(f"All islands of {name} are smaller than min_volume_mm3.")
            continue
        extent = _extent(turned, boxes[number], bulge_mm)
        surface = made.surface
        meshes.append(
            Mesh(number, surface.points, surface.faces, made.levels, extent, made.contact)
        )
        report[name] = _report(made)
        warnings += [f"The surface of {name} is {fault}." for fault in made.faults]
    if not meshes:
        raise _nothing("Every island of the mask is smaller than min_volume_mm3.")
    progress.advance(1.0, "surfaces")
    scene = Scene(tuple(meshes), parameters.space, parameters.normals, parameters.compression)
    return Outcome(scene, {"structures": report}, tuple(warnings))


def _wanted(present: tuple[int, ...], structures: list[str] | None) -> tuple[list[int], list[str]]:
    """The numbers to take that are there, and the names asked for in vain."""
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


def _wish(parameters: Base) -> Wish:
    return Wish(
        parameters.smoothing_mm,
        parameters.decimation_error_mm,
        parameters.max_triangles_per_label,
        parameters.min_volume_mm3,
        parameters.lod,
    )


def _extent(labels: LabelMap, box: Box, bulge_mm: float) -> Extent:
    """The box of a label's voxels; surfaces bulge over it by less than three voxels and blur."""
    ends = np.array([[s.start - 0.5, s.stop - 0.5] for s in box])
    outer = labels.to_world(np.array(list(product(*ends))))
    voxel = np.abs(labels.affine[:3, :3]).sum(axis=1)
    return Extent(outer.min(axis=0), outer.max(axis=0), 3 * voxel + bulge_mm)


def _report(made: Solid) -> dict[str, Any]:
    volume_mm3, mask_mm3 = made.surface.volume_mm3, made.voxels_mm3
    report = {
        "triangles": len(made.surface.faces),
        "volume_ml": round(volume_mm3 / 1000, 4),
        "mask_volume_ml": round(mask_mm3 / 1000, 4),
        "volume_error_percent": round(100 * (volume_mm3 / mask_mm3 - 1), 3),
        "watertight": is_sound(made.surface),
        "decimation_error_mm": round(made.decimation_error_mm, 4),
        "method": made.method,
    }
    if made.levels:
        report["levels"] = [
            {"triangles": len(level.faces), "error_mm": round(level.error_mm, 4)}
            for level in made.levels
        ]
    return report


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
