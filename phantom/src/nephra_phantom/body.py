"""A whole body: all 117 structures of TotalSegmentator's table, to measure how work grows.

Shapes, sizes and places are those of a grown patient, roughly; it is not for looking at.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from nephra_contract.volume import LabelMap
from nephra_phantom.body_bones import bones, head, ribs, spine
from nephra_phantom.body_parts import Part, Waypoints, blob, both, number, pipe
from nephra_phantom.grid import Array, Grid, relative
from nephra_phantom.shapes import Ellipsoid, Point, Shape, rotation, tube

#: What the body fills, in mm; a grid of any extent shows it whole, stretched to fit.
EXTENT_MM = (400.0, 400.0, 900.0)


def body(
    shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], seed: int
) -> LabelMap:
    """Draw numbers 1 to 117 of the label table, each at least one voxel on grids of 64³ and more.

    Args:
        shape: voxels along right, front and head.
        spacing_mm: of the grid. The body is stretched to fill it: sizes are those of a patient
            where the grid spans `EXTENT_MM`.
        seed: of sizes and places, which vary by some percent.

    Returns:
        (I, J, K) uint8, RAS+, about the origin.
    """
    rng = np.random.default_rng([seed, 117])
    step = np.array(EXTENT_MM) / shape
    nominal = np.diag([*step, 1.0])
    nominal[:3, 3] = -step * (np.array(shape) - 1) / 2
    grid = Grid(shape, nominal)
    voxels = np.zeros(shape, np.uint8)
    for part in _parts(rng):
        _paint(voxels, grid, part)
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = -np.array(spacing_mm) * (np.array(shape) - 1) / 2
    return LabelMap(voxels, affine)


def _paint(voxels: NDArray[np.uint8], grid: Grid, part: Part) -> None:
    for one in part.shapes:
        box = grid.box(*one.bounds())
        where = grid.coordinates(box)
        inside = one.distance(*where) < 0
        for point, direction in part.cuts:
            inside &= _height(where, point, direction) < 0
        if part.without is not None:
            inside &= part.without.distance(*where) >= 0
        voxels[relative(box, (slice(0, 0),) * 3)][inside] = part.number


def _height(where: tuple[Array, Array, Array], point: Point, direction: Point) -> Array:
    parts = [
        np.float32(d) * (w - np.float32(p)) for w, p, d in zip(where, point, direction, strict=True)
    ]
    return np.asarray(parts[0] + parts[1] + parts[2])


def _parts(rng: np.random.Generator) -> Iterator[Part]:
    """In painting order: later ones cover earlier ones."""
    yield from _muscles(rng)
    yield from _chest(rng)
    yield from _belly(rng)
    yield from bones(rng)
    yield from spine(rng)
    yield from ribs(rng)
    yield from head(rng)
    yield from _tubes(rng)


def _muscles(rng: np.random.Generator) -> Iterator[Part]:
    yield from both(rng, "gluteus_maximus", (72, -98, -330), (52, 28, 78), (0, 20, -20))
    yield from both(rng, "gluteus_medius", (108, -52, -268), (24, 44, 58), (0, 20, -25))
    yield from both(rng, "gluteus_minimus", (96, -18, -272), (14, 30, 40), (0, 20, -25))
    for side, sign in (("left", -1), ("right", 1)):
        points = [(sign * x, y, z) for x, y, z in [
            (30.0, -92.0, 180.0), (34, -88, 60), (38, -84, -60), (36, -90, -160), (30, -98, -235),
        ]]  # fmt: skip
        yield pipe(rng, f"autochthon_{side}", points, [14, 20, 26, 24, 14], 12)
        points = [(sign * x, y, z) for x, y, z in [
            (30.0, -38.0, -70.0), (44, -34, -140), (62, -14, -220), (82, 10, -310), (88, -6, -370),
        ]]  # fmt: skip
        yield pipe(rng, f"iliopsoas_{side}", points, [9, 20, 25, 19, 10], 12)


def _chest(rng: np.random.Generator) -> Iterator[Part]:
    for side, sign in (("right", 1), ("left", -1)):
        lung = Ellipsoid(
            np.array([sign * 78.0, -8, 62]), np.array([62.0, 88, 140]) * rng.uniform(0.95, 1.05),
            rotation(0, sign * 5, 0), 0.0, 3.0, 60.0, float(rng.uniform(0, 6)),
        )  # fmt: skip
        floor = (np.array([0.0, 0, -40]), np.array([0.0, -0.35, -0.94]))
        behind = np.array([0.0, -0.8, -0.6])
        fissure = np.array([0.0, -10, 60])
        yield Part(number(f"lung_lower_lobe_{side}"), (lung,), ((fissure, -behind), floor))
        upper = ((fissure + behind * -1.5, behind), floor)
        if side == "left":
            yield Part(number("lung_upper_lobe_left"), (lung,), upper)
            continue
        between = np.array([0.0, 0, 66])
        up = np.array([0.0, 0, 1])
        yield Part(number("lung_middle_lobe_right"), (lung,), (*upper, (between, up)))
        yield Part(number("lung_upper_lobe_right"), (lung,), (*upper, (between + 1.5 * up, -up)))
    yield blob(rng, "heart", (-26, 38, 18), (56, 42, 60), (0, 35, 20))
    yield blob(rng, "atrial_appendage_left", (-56, 30, 58), (14, 9, 11), (10, 20, 0))
    for side, sign in (("right", 1), ("left", -1)):
        yield blob(
            rng, f"scapula_{side}", (sign * 104, -102, 120), (46, 6, 66), (0, sign * -12, sign * 28)
        )
    yield blob(rng, "thyroid_gland", (0, 26, 262), (28, 9, 22))
    yield pipe(rng, "sternum", [(0, 98, 170), (0, 108, 100), (0, 104, 30), (0, 98, 0)],
                [13, 9, 9, 5])  # fmt: skip
    yield _cartilages()


def _cartilages() -> Part:
    shapes: list[Shape] = []
    for step in range(9):
        z = 160 - 17.0 * step
        for sign in (1, -1):
            end = (sign * (48.0 + 7 * step), 96.0 - 3 * step, z - 26 - 2 * step)
            start = (sign * 16.0, 104.0, max(z - 6, 4.0))
            middle = (sign * (32.0 + 4 * step), 103.0 - step, z - 24 - 2 * step)
            shapes += tube([start, middle, end], [5, 5.5, 5], 6).capsules()
    return Part(number("costal_cartilages"), tuple(shapes))


def _belly(rng: np.random.Generator) -> Iterator[Part]:
    yield blob(rng, "liver", (58, 12, -62), (92, 72, 66), (10, -14, 0))
    yield blob(rng, "stomach", (-62, 34, -64), (40, 34, 62), (0, 30, 0), 16)
    yield blob(rng, "spleen", (-104, -46, -58), (26, 38, 54), (18, 12, -20), 8)
    yield blob(rng, "gallbladder", (58, 56, -110), (14, 14, 30), (30, 0, 0))
    yield from both(rng, "adrenal_gland", (36, -28, -88), (12, 5, 16), (0, 20, 0))
    yield from both(rng, "kidney", (64, -46, -140), (28, 27, 56), (-10, 12, 0), 6)
    yield from both(rng, "kidney_cyst", (88, -34, -160), (10, 9, 10))
    colon = [
        (92.0, 22.0, -252.0), (96, 14, -200), (98, 10, -150), (70, 52, -132), (0, 68, -140),
        (-72, 48, -118), (-108, 0, -110), (-110, -6, -180), (-96, 8, -250), (-40, 10, -300),
        (-4, -48, -310), (0, -62, -372),
    ]  # fmt: skip
    yield pipe(rng, "colon", colon, [28, 27, 25, 22, 21, 21, 20, 17, 16, 16, 19, 17], 9)
    loops = [
        (float(52 * np.sin(2.3 * n)), float(34 + 20 * np.cos(1.7 * n)), -168.0 - 7 * n)
        for n in range(17)
    ]
    yield pipe(rng, "small_bowel", loops, [12.0] * len(loops), 6)
    duodenum = [(34.0, 38.0, -112.0), (54, 8, -126), (52, 0, -168), (10, 4, -178), (-26, 16, -158)]
    yield pipe(rng, "duodenum", duodenum, [14, 14, 13, 12, 12])
    pancreas = [(42.0, 16.0, -142.0), (12, 30, -122), (-30, 14, -112), (-76, -14, -96)]
    yield pipe(rng, "pancreas", pancreas, [17, 12, 12, 9])
    yield blob(rng, "urinary_bladder", (0, 38, -352), (44, 36, 32))
    yield blob(rng, "prostate", (0, 20, -400), (22, 16, 18))


#: Waypoints and radii in mm; those with `{side}` are drawn on the right, then mirrored.
_TUBES: tuple[tuple[str, Waypoints, list[float]], ...] = (
    ("spinal_cord", [(0, -94, 330), (0, -86, 230), (0, -98, 100), (0, -104, 0), (0, -94, -80)],
     [6, 6, 5.5, 5.5, 4]),
    ("esophagus", [(2, 8, 250), (-2, -18, 180), (-4, -30, 90), (-14, -22, 0), (-34, 6, -36)],
     [7, 8, 9, 9, 9]),
    ("trachea", [(0, 24, 250), (0, 12, 190), (2, -4, 130), (4, -8, 112)], [9, 9, 9, 8]),
    ("pulmonary_vein", [(60, 2, 66), (20, -6, 58), (-24, -6, 56), (-66, 2, 66)], [6, 8, 8, 6]),
    ("superior_vena_cava", [(24, 30, 140), (26, 30, 100), (22, 34, 62)], [9, 10, 11]),
    ("brachiocephalic_vein_right", [(42, 34, 190), (30, 32, 160), (24, 30, 142)], [7, 7, 8]),
    ("brachiocephalic_vein_left", [(-44, 38, 188), (-8, 50, 160), (22, 36, 142)], [7, 7, 7]),
    ("inferior_vena_cava", [(22, 18, -2), (24, -14, -70), (22, -30, -150), (14, -36, -206)],
     [13, 12, 11, 10]),
    ("portal_vein_and_splenic_vein",
     [(50, 20, -80), (24, 14, -112), (-20, 6, -104), (-64, -24, -84), (-88, -34, -70)],
     [7, 7, 5, 4.5, 4]),
    ("aorta", [(0, 32, 66), (8, 36, 118), (-8, 14, 142), (-20, -34, 124), (-20, -52, 20),
               (-10, -42, -80), (-6, -36, -150), (-2, -34, -200)],
     [15, 15, 14, 12.5, 12, 10, 9, 8]),
    ("brachiocephalic_trunk", [(6, 28, 138), (18, 26, 162), (26, 24, 182)], [6, 6, 6]),
    ("common_carotid_artery_{side}", [(28, 24, 186), (26, 18, 220), (28, 20, 268)], [4, 3.5, 3.5]),
    ("subclavian_artery_{side}", [(32, 18, 180), (64, 8, 200), (112, 0, 180)], [5, 4.5, 4]),
    ("iliac_artery_{side}", [(6, -34, -206), (34, -30, -262), (62, 16, -318), (72, 34, -362)],
     [6, 5, 4.5, 4.5]),
    ("iliac_vena_{side}", [(14, -42, -208), (36, -44, -264), (58, 4, -318), (62, 26, -362)],
     [7, 6, 5.5, 5.5]),
)  # fmt: skip


def _tubes(rng: np.random.Generator) -> Iterator[Part]:
    for name, points, radii in _TUBES:
        yield pipe(rng, name.format(side="right"), points, radii)
        if "{side}" in name:
            mirrored = [(-x, y, z) for x, y, z in points]
            yield pipe(rng, name.format(side="left"), mirrored, radii)
