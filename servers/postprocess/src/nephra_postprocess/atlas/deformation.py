"""A kidney bent to another one's shape: greedy diffeomorphic registration.

picsl-greedy (Yushkevich et al. 2016) composes small smooth updates, so that its map does not
fold, here of clipped signed distances on a coarse grid.
"""

from __future__ import annotations

import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nephra_postprocess.atlas.outlines import FIT_MM, Outlines
from nephra_postprocess.atlas.registration import Affine, apply, inverse
from nephra_postprocess.atlas.warp import Warp, nodes_mm

#: Distances beyond it say nothing more.
_BAND_MM = 6.0
_ROOM_MM = 24.0
#: Over this breadth the deformation fades out towards the border of its grid.
_FADE_MM = 12.0
#: One thread: its result must not depend on how many there are.
_OPTIONS = "-V 0 -threads 1 -float -m SSD -n 40x10 -s 1.5vox 0.5vox -wp 0"


def bend(
    patient: Outlines, template: Outlines, warp: Warp, side: str
) -> tuple[Affine, NDArray[np.float32]]:
    """How far the points around a patient's kidney have to move before `warp` fits it.

    Args:
        patient: its kidneys.
        template: the template's.
        warp: patient mm → template mm, roughly.
        side: of the kidney.

    Returns:
        (4, 4) grid index → patient mm, and (X, Y, Z, 3) mm on that grid, 0 at its border.
    """
    near = _box(patient.plain[side])
    grid = patient.grid.crop(near)
    fixed = _distance(patient.plain[side][near])
    index = apply(inverse(template.grid.affine), warp.pull(nodes_mm(grid)))
    moving = ndimage.map_coordinates(
        _distance(template.plain[side]),
        np.moveaxis(index, -1, 0),
        order=1,
        cval=-1.0,
        output=np.float32,
    )
    shift = _register(fixed, np.asarray(moving))
    return grid.affine, shift * _window(shift.shape[:3])[..., None]


def _register(fixed: NDArray[np.float32], moving: NDArray[np.float32]) -> NDArray[np.float32]:
    """(X, Y, Z, 3) mm: fixed(x) is like moving(x + shift(x))."""
    import SimpleITK
    from picsl_greedy import Greedy3D

    images = {"fixed": fixed, "moving": moving}
    given = {}
    for name, values in images.items():
        given[name] = SimpleITK.GetImageFromArray(np.ascontiguousarray(values.T))
        given[name].SetSpacing((FIT_MM,) * 3)
    greedy = Greedy3D()
    greedy.execute(f"-i fixed moving {_OPTIONS} -o shift", **given, shift=None)
    found = SimpleITK.GetArrayFromImage(greedy["shift"])
    return np.asarray(found.transpose(2, 1, 0, 3), dtype=np.float32)


def _distance(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Signed distance from a mask's border, 1 inside to -1 outside of a band."""
    step_mm = (FIT_MM,) * 3
    inside = edt.edt(mask, anisotropy=step_mm)
    outside = edt.edt(~mask, anisotropy=step_mm)
    return np.asarray(np.clip((inside - outside) / _BAND_MM, -1, 1), dtype=np.float32)


def _box(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """A mask's box, with room around for what is carried too far."""
    (found,) = ndimage.find_objects(mask.astype(np.uint8))
    room = int(np.ceil(_ROOM_MM / FIT_MM))
    a, b, c = (
        slice(max(s.start - room, 0), min(s.stop + room, n))
        for s, n in zip(found, mask.shape, strict=True)
    )
    return a, b, c


def _window(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """0 at the border, 1 inside."""
    window = np.ones(shape, dtype=np.float32)
    for axis, count in enumerate(shape):
        place = np.arange(count)
        from_border_mm = FIT_MM * np.minimum(place, count - 1 - place)
        ramp = np.clip(from_border_mm / _FADE_MM, 0, 1)
        smooth = (ramp**2 * (3 - 2 * ramp)).astype(np.float32)
        window *= np.expand_dims(smooth, tuple(a for a in range(3) if a != axis))
    return window
