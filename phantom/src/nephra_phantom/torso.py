"""The body and what fills it: skin, fat, muscle, lungs, liver, spleen, bowel, bladder, table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nephra_phantom.enhancement import Enhancement, constant
from nephra_phantom.fills import Fill, Phase, graded
from nephra_phantom.shapes import Column, Ellipsoid, Shape, rotation, tube
from nephra_phantom.structure import Structure

ENDS_MM = 260.0
LIVER, SPLEEN, BLADDER = 5, 1, 21
MUSCLE, SUBCUTANEOUS_FAT = 212, 213


@dataclass(frozen=True)
class Build:
    """A patient's size: body half axes, thickness of fat and wall, in mm."""

    half_width_mm: float
    half_depth_mm: float
    fat_mm: float
    wall_mm: float
    power: float
    waist_mm: float

    def column(self, depth_mm: float, back_mm: float = 0.0) -> Column:
        """The body outline moved inwards by ``depth_mm`` (by ``back_mm`` more at the back)."""
        radii = np.array(
            [self.half_width_mm - depth_mm, self.half_depth_mm - depth_mm - back_mm / 2, 0.0]
        )
        centre = np.array([0.0, back_mm / 2, 0.0])
        return Column(centre, radii, -ENDS_MM, ENDS_MM, self.power, self.waist_mm, 10.0)

    @property
    def cavity(self) -> Column:
        """The inside of the abdominal wall."""
        return self.column(self.fat_mm + self.wall_mm, back_mm=8.0)


def draw_build(rng: np.random.Generator) -> Build:
    """Draw a patient's size; wide patients carry more fat."""
    stout = rng.uniform(0, 1)
    return Build(
        half_width_mm=142 + 24 * stout,
        half_depth_mm=100 + 22 * stout,
        fat_mm=float(6 + 18 * stout * rng.uniform(0.5, 1.2)),
        wall_mm=float(rng.uniform(8, 13)),
        power=float(rng.uniform(2.1, 2.5)),
        waist_mm=float(rng.uniform(0, 9)),
    )


def outline(build: Build, enhancement: Enhancement, rng: np.random.Generator) -> list[Structure]:
    """Table, skin, subcutaneous fat, abdominal wall, fat of the cavity, back and psoas muscles."""
    fat = constant(float(rng.uniform(-115, -95)), 8, int(rng.integers(2**31)))
    muscle = enhancement.fills("muscle", 10, 14)
    back = -build.half_depth_mm - 3.0
    board = Column(np.array([0, back - 12, 0.0]), np.array([205, 12, 0.0]), -900, 900, 2.0)
    foam = Column(np.array([0, back - 12, 0.0]), np.array([202, 10, 0.0]), -900, 900, 2.0)
    spine_muscle = [
        tube(
            [(s * 34, y, 240), (s * 34, y - 2, 60), (s * 36, y, -60), (s * 24, y, -150)],
            [19, 22, 20, 8],
            15,
        )
        for s in (1, -1)
        for y in (-78.0,)
    ]
    psoas = [
        tube(
            [
                (s * 24, -42, 95),
                (s * 33, -40, 40),
                (s * 41, -36, -20),
                (s * 55, -20, -90),
                (s * 66, -4, -190),
            ],
            [5, rng.uniform(9, 13), rng.uniform(15, 20), 18, 15],
            12,
        )
        for s in (1, -1)
    ]
    return [
        Structure("table", 0, (board,), constant(-60)),
        Structure("table_foam", 0, (foam,), constant(-930)),
        Structure("skin", 0, (build.column(0),), constant(20, 10, 1)),
        Structure("subcutaneous_fat", SUBCUTANEOUS_FAT, (build.column(2),), fat),
        Structure("muscle", MUSCLE, (build.column(build.fat_mm),), muscle),
        Structure("cavity_fat", 0, (build.cavity,), fat),
        Structure("lungs", 0, tuple(_lungs(build)), constant(-840, 40, 2), build.cavity),
        Structure(
            "back_muscle",
            MUSCLE,
            tuple(c for t in spine_muscle for c in t.capsules()),
            muscle,
            build.column(6),
        ),
        Structure("psoas", MUSCLE, tuple(c for t in psoas for c in t.capsules()), muscle),
    ]


def _lungs(build: Build) -> list[Shape]:
    width, depth = build.cavity.radii[:2]
    return [
        Ellipsoid(
            np.array([s * 0.5 * width, -12.0, 245.0]), np.array([0.55 * width, 0.95 * depth, 118.0])
        )
        for s in (1, -1)
    ]


def bowel(build: Build, enhancement: Enhancement, rng: np.random.Generator) -> list[Structure]:
    """Stomach, colon frame and small bowel, with gas above fluid; all inside of the cavity."""
    found: list[Structure] = []
    walls = enhancement.fills("bowel", 22, 16)
    small: list[Shape] = []
    for _ in range(int(rng.integers(22, 34))):
        centre = np.array([rng.uniform(-85, 85), rng.uniform(12, 75), rng.uniform(-120, 75)])
        radii = rng.uniform(9, 20, 3)
        small.append(Ellipsoid(centre, radii, rotation(*rng.uniform(-90, 90, 3))))
    found.append(Structure("small_bowel", 0, tuple(small), walls, build.cavity))
    width, depth = build.cavity.radii[:2]
    side, front = width - 28, depth - 30
    frame = tube(
        [
            (side, -20, -75),
            (side, -10, 0),
            (side * 0.85, 25, 55),
            (30, front, 45),
            (-40, front, 50),
            (-side * 0.8, 20, 80),
            (-side, -15, 10),
            (-side, -15, -60),
            (-45, 0, -105),
            (-5, -35, -120),
        ],
        list(rng.uniform(15, 25, 10)),
        10,
    )
    found.append(
        Structure(
            "colon", 0, tuple(frame.capsules()), enhancement.fills("wall", 10, 10), build.cavity
        )
    )
    inner = tuple(c for c in type(frame)(frame.points, frame.radii - 4).capsules())
    stool: dict[Phase, Fill] = constant(
        float(rng.uniform(-120, 20)), 130, int(rng.integers(2**31)), 22
    )
    found.append(Structure("colon_content", 0, inner, stool, build.cavity))
    centre = np.array([-52.0, 30.0, 100.0]) + rng.normal(0, 6, 3)
    radii = np.array([38.0, 34.0, 52.0]) * rng.uniform(0.75, 1.1, 3)
    axes = rotation(0, 25, 0)
    found.append(
        Structure(
            "stomach", 0, (Ellipsoid(centre, radii, axes),), enhancement.fills("wall"), build.cavity
        )
    )
    level = float(centre[1] + rng.uniform(-5, 35))
    content = {p: graded(1, float(rng.uniform(0, 30)), -920, level, 1.0) for p in stool}
    found.append(
        Structure(
            "stomach_content", 0, (Ellipsoid(centre, radii - 5, axes),), content, build.cavity
        )
    )
    return found


def organs(build: Build, enhancement: Enhancement, rng: np.random.Generator) -> list[Structure]:
    """Liver with gallbladder, and spleen."""
    size = rng.uniform(0.9, 1.1)
    lift = rng.normal(0, 8)
    right = Ellipsoid(
        np.array([66.0, 8.0, 96.0 + lift]),
        np.array([66.0, 82.0, 82.0]) * size,
        rotation(0, -12, 0),
        lump_mm=2.5,
        lump_length_mm=70,
        lump_phase=float(rng.uniform(0, 6)),
    )
    left = Ellipsoid(
        np.array([10.0, 44.0, 118.0 + lift]),
        np.array([72.0, 34.0, 40.0]) * size,
        rotation(0, -18, 0),
    )
    gall = Ellipsoid(
        np.array([48.0, 62.0, 48.0 + lift]), np.array([13.0, 14, 24]) * rng.uniform(0.7, 1.2)
    )
    spleen = Ellipsoid(
        np.array([-102.0, -36.0, 112.0]) + rng.normal(0, 6, 3),
        np.array([24.0, 42.0, 44.0]) * rng.uniform(0.8, 1.25),
        rotation(15, 0, 20),
        bend_mm=-4.0,
        lump_mm=1.5,
        lump_length_mm=35,
    )
    return [
        Structure("liver", LIVER, (right, left), enhancement.fills("liver", 5, 12), build.cavity),
        Structure("gallbladder", 0, (gall,), enhancement.fills("fluid")),
        Structure("spleen", SPLEEN, (spleen,), enhancement.fills("spleen", 6, 12), build.cavity),
    ]


def bladder(enhancement: Enhancement, rng: np.random.Generator) -> list[Structure]:
    """Bladder: a thin wall around urine, where contrast sinks to the back in the delayed phase."""
    centre = np.array([0.0, -12.0, -116.0]) + rng.normal(0, 3, 3)
    radii = np.array([38.0, 29.0, 27.0]) * rng.uniform(0.75, 1.15)
    shape = Ellipsoid(centre, radii, lump_mm=1.5, lump_length_mm=45)
    urine = enhancement.fills("bladder")
    level = float(centre[1] + rng.uniform(-0.6, 1.2) * radii[1])
    urine["D"] = graded(1, float(rng.uniform(150, 650)), float(rng.uniform(8, 60)), level, 2.5)
    inner = Ellipsoid(centre, radii - rng.uniform(2, 4), lump_mm=1.5, lump_length_mm=45)
    return [
        Structure("urinary_bladder_wall", BLADDER, (shape,), enhancement.fills("wall")),
        Structure("urinary_bladder", BLADDER, (inner,), urine),
    ]
