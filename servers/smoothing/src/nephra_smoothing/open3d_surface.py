"""The surface of one structure by Open3D (Zhou, Park & Koltun 2018), an optional engine."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np

from nephra_contract.errors import EngineMissing
from nephra_contract.volume import LabelMap
from nephra_smoothing.label_slices import with_thinner_slices
from nephra_smoothing.shape import Made, Structure, Wish
from nephra_smoothing.simplification import deviation_mm
from nephra_smoothing.soundness import is_sound
from nephra_smoothing.structure import surface_of
from nephra_smoothing.surface import Surface, hold_volume
from nephra_smoothing.walls import walls

#: Taubin's filter (1995): forward and backward steps; how often they are done.
_FORWARD, _BACKWARD = 0.5, -0.53
_ROUNDS_ORGAN, _ROUNDS_TUBE = 30, 5
#: The blur, in voxels, that these rounds are about as smooth as.
_SIGMA = 0.9
_MOST_ROUNDS = 200
_VOLUME_TOLERANCE = 0.001
_LEAST_FACES, _MOST_TARGETS = 60, 5


def require_open3d() -> None:
    """See that Open3D is there and can be loaded.

    Raises:
        EngineMissing: it is not, or cannot.
    """
    if find_spec("open3d") is None:
        raise EngineMissing(
            "This service was installed without Open3D, which method 'open3d' needs.",
            "Install nephra-smoothing[open3d], or ask for method 'base' or 'joint'.",
        )
    try:
        _engine()
    except (ImportError, OSError) as error:
        raise EngineMissing(
            "Open3D is installed, but a system library that it needs is not.",
            "Install libusb-1.0, libgomp and libX11, or ask for method 'base' or 'joint'.",
        ) from error


def open3d_surface_of(structure: Structure, wish: Wish) -> Made:
    """Taubin's smoothing and quadric decimation by Open3D, judged as every surface is.

    Args:
        structure: at least one voxel.

    Returns:
        Open3D's surface at the structure's volume; the one of method `base`, and a fault that
        says so, where Open3D's is not closed.
    """
    rough = _outer_faces(structure, wish)
    smooth = hold_volume(_smoothed(rough, structure, wish), structure.volume_mm3)
    if not _is_good(smooth, structure):
        base = surface_of(structure, wish)
        said = "made by method base, as Open3D's was not closed or not of its volume"
        return replace(base, faults=(*base.faults, said))
    fewer, error_mm = _simplified(smooth, structure, wish)
    return Made(fewer, "open3d", error_mm)


def _outer_faces(structure: Structure, wish: Wish) -> Surface:
    """The closed surface of the voxels, stairs and all."""
    padded = np.pad(structure.mask.view(np.uint8), 1)
    affine = structure.affine.copy()
    affine[:3, 3] -= affine[:3, :3].sum(axis=1)
    labels = with_thinner_slices(LabelMap(padded, affine), (1,) if wish.thin else ())
    net = walls(labels.voxels)
    points = labels.to_world(net.points)
    faces, _ = net.triangles(points)
    if np.linalg.det(affine[:3, :3]) < 0:
        faces = np.ascontiguousarray(faces[:, ::-1])
    return Surface(points, faces)


def _smoothed(rough: Surface, structure: Structure, wish: Wish) -> Surface:
    rounds = _ROUNDS_TUBE if wish.thin else _ROUNDS_ORGAN
    if wish.smoothing_mm is not None:
        voxels = wish.smoothing_mm / structure.voxel_mm3 ** (1 / 3)
        rounds = int(min(rounds * (voxels / _SIGMA) ** 2, _MOST_ROUNDS))
    if rounds == 0:
        return rough
    mesh = _mesh(rough).filter_smooth_taubin(rounds, _FORWARD, _BACKWARD)
    return Surface(np.asarray(mesh.vertices).copy(), rough.faces)


def _simplified(surface: Surface, structure: Structure, wish: Wish) -> tuple[Surface, float]:
    """With fewer triangles, as long as that keeps it sound, and the distance measured, mm."""
    error_mm = min(wish.decimation_error_mm, structure.radius_mm / 10)
    most = min(0.9 * len(surface.faces), wish.most_triangles)
    target = max(len(surface.faces) / 10, _LEAST_FACES)
    for _ in range(_MOST_TARGETS if wish.decimation_error_mm > 0 else 0):
        target = min(target, most)
        mesh = _mesh(surface).simplify_quadric_decimation(int(target))
        fewer = Surface(np.asarray(mesh.vertices).copy(), np.asarray(mesh.triangles, np.int64))
        if len(fewer.faces) and is_sound(fewer):
            fewer = hold_volume(fewer, structure.volume_mm3)
            found_mm = deviation_mm(surface, fewer)
            if found_mm <= error_mm and _is_good(fewer, structure):
                return fewer, found_mm
        if target >= most:
            break
        target *= 2
    return surface, 0.0


def _is_good(surface: Surface, structure: Structure) -> bool:
    off = abs(surface.volume_mm3 / structure.volume_mm3 - 1)
    return bool(np.isfinite(surface.points).all()) and is_sound(surface) and off < _VOLUME_TOLERANCE


def _mesh(surface: Surface) -> Any:
    utility, geometry = _engine().utility, _engine().geometry
    return geometry.TriangleMesh(
        utility.Vector3dVector(surface.points),
        utility.Vector3iVector(surface.faces.astype(np.int32)),
    )


@cache
def _engine() -> Any:
    """Open3D; the libusb that its extra installs goes first, as the system may have none."""
    if find_spec("libusb_package") is not None:
        import libusb_package

        ctypes.CDLL(str(libusb_package.get_library_path()), mode=ctypes.RTLD_GLOBAL)
    import open3d

    return open3d
