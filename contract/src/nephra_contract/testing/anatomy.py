"""A small made-up anatomy for the tests of operations: quick to make, with known truth."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nephra_contract import labels as names
from nephra_contract.volume import LabelMap

#: Voxel → RAS+ mm: anisotropic, off-centre, slightly oblique.
_TILT = np.deg2rad(4.0)
AFFINE = np.array(
    [
        [3.0 * np.cos(_TILT), -3.2 * np.sin(_TILT), 0.0, -101.0],
        [3.0 * np.sin(_TILT), 3.2 * np.cos(_TILT), 0.0, -58.0],
        [0.0, 0.0, 3.5, -620.0],
        [0.0, 0.0, 0.0, 1.0],
    ]
)
SHAPE = (68, 38, 52)
#: World z in mm of the middle of the gap in the right ureter, and half its length.
URETER_GAP_MM = (-565.0, 5.0)
#: World x in mm of the middle of the gap in the left renal artery, and half its length.
ARTERY_GAP_MM = (-22.0, 4.0)


def anatomy() -> LabelMap:
    """Two kidneys with a tumour and a cyst, vessels and ureters with one gap each, organs.

    Returns:
        (68, 38, 52) uint8 on an oblique, anisotropic grid, in our numbers.
    """
    return LabelMap(_painted().copy(), AFFINE)


@cache
def _painted() -> NDArray[np.uint8]:
    volume = LabelMap(np.zeros(SHAPE, np.uint8), AFFINE)
    world = volume.to_world(np.argwhere(np.ones(SHAPE, bool))).reshape(*SHAPE, 3)
    voxels = volume.voxels
    for number, inside in _shapes(world):
        voxels[inside] = number
    return np.asarray(voxels)


def _shapes(world: NDArray[np.float64]) -> list[tuple[int, NDArray[np.bool_]]]:
    """In painting order: (label, where)."""
    x, z = world[..., 0], world[..., 2]
    ureter_right = _tube(world, [(38, 0, -530), (34, 2, -560), (24, 6, -612)], 3.4)
    ureter_right &= np.abs(z - URETER_GAP_MM[0]) > URETER_GAP_MM[1]
    ureter_left = _tube(world, [(-38, 0, -530), (-34, 2, -560), (-24, 6, -612)], 3.4)
    aorta = _tube(world, [(-6, -12, -630), (-6, -12, -440)], 8.0)
    renal_left = _tube(world, [(-6, -12, -525), (-40, -8, -530)], 4.0)
    renal_left &= np.abs(x - ARTERY_GAP_MM[0]) > ARTERY_GAP_MM[1]
    renal_right = _tube(world, [(-6, -12, -523), (40, -6, -530)], 4.0)
    cava = _tube(world, [(14, 4, -630), (14, 4, -440)], 9.0)
    return [
        (names.SPINE, _ball(world, (0, -42, -530), (17, 16, 300))),
        (names.numbers()["liver"], _ball(world, (62, 14, -462), (34, 34, 26))),
        (names.numbers()["spleen"], _ball(world, (-72, -14, -468), (18, 24, 20))),
        (names.KIDNEY_RIGHT, _ball(world, (55, -10, -530), (19, 17, 34))),
        (names.KIDNEY_LEFT, _ball(world, (-55, -10, -526), (19, 17, 34))),
        (names.TUMOR, _ball(world, (-68, -14, -548), (13, 12, 13))),
        (names.CYST, _ball(world, (66, -4, -508), (8, 8, 8))),
        (names.INFERIOR_VENA_CAVA, cava),
        (names.ARTERY, renal_left | renal_right),
        (names.AORTA, aorta),
        (names.URETER_RIGHT, ureter_right),
        (names.URETER_LEFT, ureter_left),
    ]


def _ball(
    world: NDArray[np.float64], centre_mm: tuple[float, ...], radii_mm: tuple[float, ...]
) -> NDArray[np.bool_]:
    return np.asarray((((world - centre_mm) / np.asarray(radii_mm)) ** 2).sum(axis=-1) <= 1)


def _tube(
    world: NDArray[np.float64], line_mm: list[tuple[float, float, float]], radius_mm: float
) -> NDArray[np.bool_]:
    """Points within `radius_mm` of a polyline."""
    points = np.asarray(line_mm, dtype=np.float64)
    inside = np.zeros(world.shape[:3], dtype=bool)
    for start, stop in pairwise(points):
        along = stop - start
        t = np.clip(((world - start) @ along) / (along @ along), 0, 1)
        inside |= ((world - start - t[..., None] * along) ** 2).sum(axis=-1) <= radius_mm**2
    return inside
