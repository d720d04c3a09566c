"""The files of a scene: OBJ with MTL, and GLB, written, read back and held to the mask.

OBJ is in millimetres, in LPS (DICOM's axes) unless the scene says RAS; GLB is in metres, Y up.
The same scene gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from nephra_contract import labels as names
from nephra_contract.draco import QUANTISATION_MM
from nephra_contract.errors import InternalError
from nephra_contract.glb import glb
from nephra_contract.obj import ROUNDING_MM, mtl, obj
from nephra_contract.scene import Extent, Mesh, Scene
from nephra_contract.scene_reading import Damaged, Found, found_in_glb, found_in_obj

#: float32 metres: 24 binary digits of at most some metres.
_FLOAT32_MM = 1e-3
#: Share of its volume by which rounded coordinates may change a body.
_VOLUME = 1e-3


def write_scene(folder: Path, scene: Scene, stem: str) -> dict[str, str]:
    """Write `stem`.obj, `stem`.mtl and `stem`.glb, and read them back.

    Args:
        folder: where; it exists.
        scene: surfaces in RAS+ mm.
        stem: the files' name without suffix.

    Returns:
        The answer's members: `obj_path`, `mtl_path`, `glb_path` → names of files.

    Raises:
        EngineMissing: Draco is asked for, and is not installed.
        InternalError: what lies on disk is not what was to be written, or not where the voxels
            are.
    """
    made = {"obj_path": f"{stem}.obj", "mtl_path": f"{stem}.mtl", "glb_path": f"{stem}.glb"}
    _write(folder / made["mtl_path"], mtl(scene))
    _write(folder / made["obj_path"], obj(scene, made["mtl_path"]))
    _write(folder / made["glb_path"], glb(scene))
    try:
        found = found_in_obj(folder / made["obj_path"])
        _check(found, scene.meshes, ROUNDING_MM)
        found = found_in_glb(folder / made["glb_path"])
        _check(found, scene.meshes, _rounding_mm(scene))
        for read, mesh in zip(found, scene.meshes, strict=True):
            _check(read.levels, _levels(mesh), _rounding_mm(scene))
    except Damaged as error:
        raise InternalError(
            "The files of the scene, read back, are not what was computed.",
            "Send the request again; report it if it happens twice.",
        ) from error
    return made


def _write(path: Path, parts: Iterable[bytes]) -> None:
    with path.open("wb") as stream:
        stream.writelines(parts)


def _rounding_mm(scene: Scene) -> float:
    return _FLOAT32_MM + (QUANTISATION_MM if scene.compression == "draco" else 0.0)


def _levels(mesh: Mesh) -> list[Mesh]:
    """The coarser forms as meshes of their own, which need not lie within the voxels."""
    return [Mesh(mesh.label, level.vertices, level.faces) for level in mesh.levels]


def _check(found: Sequence[Found], meshes: Sequence[Mesh], rounding_mm: float) -> None:
    """Hold what a file has to what it is to have, in patient space.

    Raises:
        Damaged: a name, a count, a bound or a volume is another, or a surface is not where its
            voxels are.
    """
    if len(found) != len(meshes):
        raise Damaged
    for read, mesh in zip(found, meshes, strict=True):
        name = names.name_of(mesh.label)
        if read.name != name and not read.name.startswith(f"{name}_lod"):
            raise Damaged
        if (read.vertices, read.faces) != (len(mesh.vertices), len(mesh.faces)):
            raise Damaged
        low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
        if max(np.abs(read.low_mm - low).max(), np.abs(read.high_mm - high).max()) > rounding_mm:
            raise Damaged
        skin_mm3 = mesh.area_mm2 * rounding_mm
        if abs(read.volume_mm3 - mesh.volume_mm3) > _VOLUME * abs(mesh.volume_mm3) + skin_mm3:
            raise Damaged
        if mesh.voxels is not None and not _is_within(read, mesh.voxels):
            raise Damaged


def _is_within(read: Found, voxels: Extent) -> bool:
    low_mm, high_mm = voxels.low_mm - voxels.tolerance_mm, voxels.high_mm + voxels.tolerance_mm
    return bool((read.low_mm >= low_mm).all() and (read.high_mm <= high_mm).all())
