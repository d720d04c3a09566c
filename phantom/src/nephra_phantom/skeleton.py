"""Bones: lumbar and lower thoracic vertebrae, sacrum, ribs, and the pelvis (shown, not named)."""

from __future__ import annotations

import numpy as np

from nephra_phantom.enhancement import constant
from nephra_phantom.shapes import Capsule, Column, Ellipsoid, Shape, rotation, tube
from nephra_phantom.structure import Structure
from nephra_phantom.torso import Build

SPINE, RIBS = 210, 211
L2_MM = 75.0
PITCH_MM = 33.5


def vertebra_z(level: int) -> float:
    """Height in mm of a vertebral body: L1 is 0, L5 is 4, T12 is -1."""
    return L2_MM - PITCH_MM * (level - 1)


def spine_y(z: float) -> float:
    """Depth in mm of the vertebral bodies' centres at a height: the lumbar lordosis."""
    return -42.0 + 5.0 * float(np.exp(-(((z + 5) / 60) ** 2))) - 8.0 * max(0.0, (z - 90) / 80)


def spine(rng: np.random.Generator) -> list[Structure]:
    """Vertebral bodies with arches, discs and canal between, and the sacrum."""
    bodies: list[Shape] = []
    width, depth = rng.uniform(20, 24), rng.uniform(14.5, 17)
    for level in range(-3, 5):
        z = vertebra_z(level)
        y = spine_y(z)
        bodies.append(
            Column(np.array([0, y, 0]), np.array([width, depth, 0]), z - 13.0, z + 13.0, 2.4)
        )
        bodies.extend(_arch(y - depth, z, float(width)))
    sacrum = Ellipsoid(np.array([0, -62.0, -76.0]), np.array([46.0, 14, 38]), rotation(28, 0, 0))
    bodies.append(sacrum)
    discs = Column(np.array([0, -40.0, 0]), np.array([20.0, 14, 0]), -45, 220)
    canal = tube(
        [(0, spine_y(z) - depth - 8, z) for z in (220.0, 150, 90, 30, -30, -60)], [7.0] * 6, 12
    )
    bone = constant(float(rng.uniform(190, 290)), 30, int(rng.integers(2**31)), 9)
    return [
        Structure("discs", 0, (discs,), constant(80)),
        Structure("spine", SPINE, tuple(bodies), bone),
        Structure("canal", 0, tuple(canal.capsules()), constant(25)),
    ]


def _arch(back: float, z: float, width: float) -> list[Shape]:
    start, tip = np.array([0, back - 16, z - 2]), np.array([0, back - 34, z - 12])
    parts: list[Shape] = [Capsule(start, tip, 4.5, 3.5)]
    for side in (1, -1):
        root = np.array([side * 13.0, back + 2, z + 3])
        lamina = np.array([side * 12.0, back - 10, z - 1])
        wing = np.array([side * (width + 16), back - 12, z + 2])
        parts.append(Capsule(root, lamina, 5.5, 6.0))
        parts.append(Capsule(lamina, start, 5.0, 4.5))
        parts.append(Capsule(lamina, wing, 4.5, 3.0))
    return parts


def ribs(build: Build, rng: np.random.Generator) -> list[Structure]:
    """Ribs 8-12 of both sides, in the wall, descending from back to side."""
    parts: list[Shape] = []
    wide = build.half_width_mm - build.fat_mm - 5
    deep = build.half_depth_mm - build.fat_mm - 5
    radius = float(rng.uniform(3.8, 5.0))
    drop = float(rng.uniform(48, 62))
    ends = {12: rng.uniform(0.9, 1.2), 11: rng.uniform(1.4, 1.7), 10: 2.1, 9: 2.5, 8: 2.7}
    for number, end in ends.items():
        top = vertebra_z(number - 13)
        for side in (1, -1):
            angles = np.linspace(0.3, end, 8)
            points = [
                (
                    float(side * wide * np.sin(a)),
                    float(-deep * np.cos(a)),
                    float(top - drop * (a - 0.3) + 22 * max(0.0, a - 1.9)),
                )
                for a in angles
            ]
            parts.extend(tube(points, [radius] * 8, 8).capsules())
    fills = constant(float(rng.uniform(240, 380)), 40, int(rng.integers(2**31)), 8)
    return [Structure("ribs", RIBS, tuple(parts), fills)]


def pelvis_bones(rng: np.random.Generator) -> list[Structure]:
    """Iliac wings and femoral heads, so that the lowest slices look like a pelvis."""
    parts: list[Shape] = []
    for side in (1, -1):
        wing = rotation(0, side * 22, side * -38)
        parts.append(Ellipsoid(np.array([side * 82.0, -32, -72]), np.array([7.0, 44, 44]), wing))
        parts.append(Ellipsoid(np.array([side * 92.0, -18, -140]), np.array([24.0, 24, 24])))
    fills = constant(float(rng.uniform(230, 330)), 35, int(rng.integers(2**31)), 9)
    return [Structure("pelvis_bones", 0, tuple(parts), fills)]
