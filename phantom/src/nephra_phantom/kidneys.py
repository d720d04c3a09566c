"""Kidneys with cortex, pyramids, sinus and fat, pelves and ureters, tumours and cysts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nephra_phantom.enhancement import Enhancement, constant
from nephra_phantom.fills import Fill, Phase, interrupted, textured
from nephra_phantom.shapes import Ellipsoid, Point, Shape, Tube, rotation, tube
from nephra_phantom.skeleton import L2_MM
from nephra_phantom.structure import Structure
from nephra_phantom.torso import Build

KIDNEY = {"right": 2, "left": 3}
URETER = {"right": 206, "left": 207}
TUMOR, CYST, PELVIS, PERIRENAL_FAT = 201, 202, 208, 209


@dataclass(frozen=True)
class Kidney:
    """One kidney's frame: local u lateral, v to the front, w to the head, and its half axes."""

    side: str
    centre: Point
    axes: NDArray[np.float64]
    radii: Point
    bend_mm: float

    @property
    def sign(self) -> float:
        """+1 on the patient's right (x grows to the right), -1 on the left."""
        return 1.0 if self.side == "right" else -1.0

    def shape(self, grow_mm: float = 0.0) -> Ellipsoid:
        """The bean, its surface moved outwards by ``grow_mm``."""
        return Ellipsoid(
            self.centre, self.radii, self.axes, self.bend_mm, 0.7, 26.0, self.centre[2], grow_mm
        )

    def point(self, u: float, v: float, w: float) -> Point:
        """World position of local coordinates given as shares of the half axes."""
        bent = u * self.radii[0] - self.bend_mm * w * w
        where: Point = self.centre + self.axes @ np.array(
            [bent, v * self.radii[1], w * self.radii[2]]
        )
        return where

    def waypoint(self, u: float, v: float, w: float) -> tuple[float, float, float]:
        """``point`` as a plain tuple."""
        x, y, z = self.point(u, v, w)
        return float(x), float(y), float(z)


def draw_kidney(side: str, build: Build, rng: np.random.Generator) -> Kidney:
    """Draw place, tilt and size of one kidney."""
    sign = 1.0 if side == "right" else -1.0
    low = 12.0 if side == "right" else 0.0
    size = rng.uniform(0.88, 1.14)
    radii = np.array([26.0, 21.5, 52.0]) * size * rng.uniform(0.94, 1.06, 3)
    reach = build.cavity.radii[0] - radii[0] - 18
    centre = np.array(
        [
            sign * min(rng.uniform(64, 76), reach),
            -46.0 + rng.normal(0, 3),
            L2_MM + 4 - low + rng.normal(0, 7),
        ]
    )
    turn = rotation(rng.uniform(8, 18), 0.0, 0.0)
    tilt = rotation(0, sign * rng.uniform(-16, -6), sign * rng.uniform(18, 38))
    axes = tilt @ turn
    axes = axes @ np.diag([sign, 1.0, 1.0])
    return Kidney(side, centre, axes, radii, float(rng.uniform(5, 9)))


def parenchyma(
    kidney: Kidney, enhancement: Enhancement, rng: np.random.Generator
) -> list[Structure]:
    """Cortex, pyramids, and the sinus filled with fat."""
    label = KIDNEY[kidney.side]
    cortex = Structure(
        f"kidney_{kidney.side}", label, (kidney.shape(),), enhancement.fills("cortex", 6, 10)
    )
    pyramids: list[Shape] = []
    for w in np.linspace(-0.72, 0.72, 6):
        for angle in (-70, -10, 55):
            a = np.deg2rad(angle + rng.uniform(-15, 15))
            share = 0.60 * np.sqrt(max(0.15, 1 - w * w))
            where = kidney.point(share * np.cos(a) + 0.05, share * np.sin(a), w)
            radii = rng.uniform(5.0, 7.5, 3) + np.array([1.5, 0, 0])
            pyramids.append(Ellipsoid(where, radii, kidney.axes))
    medulla = Structure(
        f"medulla_{kidney.side}",
        label,
        tuple(pyramids),
        enhancement.fills("medulla", 5, 9),
        kidney.shape(-rng.uniform(4.0, 6.0)),
    )
    sinus = Structure(f"sinus_{kidney.side}", 0, (sinus_shape(kidney),), constant(-95, 10, 3))
    return [cortex, medulla, sinus]


def sinus_shape(kidney: Kidney) -> Ellipsoid:
    """The hollow of the kidney, open to the inner side."""
    radii = kidney.radii * np.array([0.58, 0.44, 0.50])
    return Ellipsoid(kidney.point(-0.58, 0.05, 0.0), radii, kidney.axes)


def perirenal_fat(
    kidney: Kidney, build: Build, rng: np.random.Generator, fat: dict[Phase, Fill]
) -> Structure:
    """Fat around a kidney, thicker at the lower pole, inside of the abdominal wall."""
    margin = float(rng.uniform(6, 16))
    lower = Ellipsoid(
        kidney.point(0.05, 0.1, -0.75),
        kidney.radii * np.array([0.9, 0.9, 0.6]) + margin * 0.8,
        kidney.axes,
    )
    name = f"perirenal_fat_{kidney.side}"
    return Structure(name, PERIRENAL_FAT, (kidney.shape(margin), lower), fat, build.cavity)


def urinary_tract(
    kidney: Kidney, bladder_entry: Point, rng: np.random.Generator
) -> tuple[list[Tube], Tube]:
    """Pelvis with calyces, and the ureter from it down into the bladder."""
    wide = float(rng.uniform(0.85, 1.25))
    middle = kidney.waypoint(-0.62, 0.05, 0.0)
    outlet = kidney.waypoint(-1.12, 0.10, -0.22)
    pelvis = [
        tube([kidney.waypoint(-0.45, 0.05, 0.05), middle, outlet], [5 * wide, 6.5 * wide, 3.2], 3)
    ]
    for w in (-0.46, -0.2, 0.08, 0.42):
        v = float(rng.uniform(-0.12, 0.12))
        tip = kidney.waypoint(float(rng.uniform(-0.12, 0.02)), v, w)
        half = kidney.waypoint(-0.38, 0.5 * v, 0.72 * w)
        pelvis.append(tube([middle, half, tip], [3.2 * wide, 2.6 * wide, 4.0 * wide], 3))
    s = kidney.sign
    j = rng.normal(0, 2.5, 6)
    base = float(rng.uniform(1.8, 2.7))
    ureter = tube(
        [
            kidney.waypoint(-0.95, 0.10, -0.14),
            outlet,
            (s * (40 + j[0]), -28 + j[1] * 0.5, 30.0),
            (s * (35 + j[2]), -12 + j[1] * 0.4, -12.0),
            (s * (34 + j[3]), -1 + j[4] * 0.4, -44.0),
            (s * (46 + j[5]), -18 + j[4] * 0.4, -80.0),
            (s * (36 + j[5] * 0.5), -34.0, -104.0),
            (float(bladder_entry[0]), float(bladder_entry[1]), float(bladder_entry[2])),
        ],
        [3.2, 3.0, *(base * rng.uniform(0.8, 1.35, 5)), 2.0],
        4,
    )
    return pelvis, ureter


def urine_fills(rng: np.random.Generator) -> tuple[dict[Phase, Fill], dict[Phase, Fill]]:
    """Fills of a pelvis and its ureter: contrast in D, with stretches that stay empty."""
    pelvis = constant(float(rng.uniform(4, 18)))
    bright = float(rng.uniform(320, 1100))
    pelvis["D"] = textured(bright, 0.08 * bright, 9, rng)
    ureter = constant(float(rng.uniform(8, 28)))
    gaps: list[tuple[float, float]] = []
    for _ in range(int(rng.integers(0, 3))):
        low = float(rng.uniform(-100, 35))
        gaps.append((low, low + float(rng.uniform(5, 22))))
    ureter["D"] = interrupted(bright * float(rng.uniform(0.6, 1.0)), 22.0, gaps)
    return pelvis, ureter


def tumour(kidney: Kidney, rng: np.random.Generator) -> Structure:
    """A mass on the outer side of a kidney: any size, partly outside, uneven, with necrosis."""
    radius = 0.5 * float(np.exp(rng.uniform(np.log(17), np.log(66))))
    angle = np.deg2rad(rng.uniform(-75, 75))
    w = float(rng.uniform(-0.85, 0.85))
    ring = np.sqrt(1 - w * w)
    depth = rng.uniform(0.75, 1.12) + 0.25 * (radius - 8) / 25
    where = kidney.point(depth * ring * np.cos(angle), depth * ring * np.sin(angle), depth * w)
    radii = radius * rng.uniform(0.88, 1.12, 3)
    shape = Ellipsoid(
        where,
        radii,
        rotation(*rng.uniform(-40, 40, 3)),
        lump_mm=0.08 * radius,
        lump_length_mm=2.2 * radius,
        lump_phase=float(rng.uniform(0, 6)),
    )
    bright = rng.uniform() < 0.6
    means: dict[Phase, float] = {
        "N": rng.uniform(25, 42),
        "A": rng.uniform(95, 165) if bright else rng.uniform(45, 75),
        "P": rng.uniform(85, 125) if bright else rng.uniform(60, 90),
        "D": rng.uniform(65, 90),
    }
    uneven = float(rng.uniform(0.1, 0.32))
    seed = int(rng.integers(2**31))
    fills = {
        phase: textured(hu, uneven * (hu - 10), max(8.0, radius * 0.9), np.random.default_rng(seed))
        for phase, hu in means.items()
    }
    return Structure(f"tumor_{kidney.side}", TUMOR, (shape,), fills)


def cyst(kidney: Kidney, rng: np.random.Generator, away_from: Point) -> Structure:
    """A round pocket of water at the surface, on the pole away from a given point."""
    radius = float(rng.uniform(6, 18))
    pole = -np.sign((away_from - kidney.centre) @ kidney.axes[:, 2]) or 1.0
    w = float(pole * rng.uniform(0.45, 0.95))
    angle = np.deg2rad(rng.uniform(-80, 80))
    ring = np.sqrt(1 - w * w)
    where = kidney.point(1.05 * ring * np.cos(angle), 1.05 * ring * np.sin(angle), 1.05 * w)
    shape = Ellipsoid(where, radius * rng.uniform(0.93, 1.07, 3))
    return Structure(f"cyst_{kidney.side}", CYST, (shape,), constant(float(rng.uniform(0, 14))))
