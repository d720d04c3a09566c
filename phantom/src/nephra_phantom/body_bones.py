"""Bones of a whole body: limbs, pelvis, spine, ribs and skull."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nephra_phantom.body_parts import Part, blob, number, pipe
from nephra_phantom.shapes import Capsule, Ellipsoid, Point, Shape, rotation, tube


def bones(rng: np.random.Generator) -> Iterator[Part]:
    """Pelvis, limbs and the girdle of the shoulders."""
    for side, sign in (("right", 1), ("left", -1)):
        wing = Ellipsoid(
            np.array([sign * 88.0, -34, -262]), np.array([8.0, 54, 60]),
            rotation(0, sign * 24, sign * -30),
        )  # fmt: skip
        socket = Ellipsoid(np.array([sign * 88.0, -8, -332]), np.array([26.0, 30, 30]))
        ring = [(sign * 80.0, -14.0, -340.0), (sign * 40, 38, -362), (sign * 8, 44, -372)]
        seat = [(sign * 84.0, -20.0, -345.0), (sign * 60, -34, -396), (sign * 14, 38, -384)]
        rods = [*tube(ring, [14, 8, 8], 6).capsules(), *tube(seat, [16, 13, 7], 6).capsules()]
        yield Part(number(f"hip_{side}"), (wing, socket, *rods))
        head = Ellipsoid(np.array([sign * 94.0, -6, -336]), np.array([23.0, 23, 23]))
        neck = Capsule(head.centre, np.array([sign * 132.0, -14, -364]), 15, 17)
        shaft = Capsule(neck.end, np.array([sign * 122.0, -4, -460]), 19, 14)
        yield Part(number(f"femur_{side}"), (head, neck, shaft))
        ball = Ellipsoid(np.array([sign * 158.0, -50, 176]), np.array([24.0, 23, 24]))
        arm = Capsule(ball.centre, np.array([sign * 178.0, -44, -60]), 13, 11)
        yield Part(number(f"humerus_{side}"), (ball, arm))
        points = [(sign * 16.0, 84.0, 188.0), (sign * 60, 70, 202), (sign * 140, -28, 208)]
        yield pipe(rng, f"clavicula_{side}", points, [10, 6, 9])
    yield blob(rng, "sacrum", (0, -86, -262), (48, 18, 46), (28, 0, 0))


def spine(rng: np.random.Generator) -> Iterator[Part]:
    """Sacral, lumbar, thoracic and cervical vertebrae from below."""
    z, y = -232.0, -66.0
    order = ["S1", *(f"L{n}" for n in range(5, 0, -1)), *(f"T{n}" for n in range(12, 0, -1))]
    order += [f"C{n}" for n in range(7, 0, -1)]
    for name in order:
        kind, place = name[0], int(name[1:])
        height = {"S": 26.0, "L": 31.0, "T": 16.0 + 0.75 * place, "C": 14.5}[kind]
        width = {"S": 25.0, "L": 24.0, "T": 13.5 + 0.6 * place, "C": 11.0}[kind]
        y += {"S": 0.0, "L": 4.0, "T": -4.0 if place > 6 else 4.0, "C": 1.5}[kind]
        yield _vertebra(rng, f"vertebrae_{name}", np.array([0.0, y, z]), width, height)
        z += height


def _vertebra(
    rng: np.random.Generator, name: str, centre: Point, width: float, height: float
) -> Part:
    width *= float(rng.uniform(0.95, 1.05))
    centre = centre + rng.uniform(-1, 1, 3) * (1, 1, 0)
    depth = 0.72 * width
    shapes: list[Shape] = [
        # Two ellipsoids and a waist: near enough to a body with flat ends.
        Ellipsoid(
            centre + s * np.array([0, 0, 0.14 * height]), np.array([width, depth, 0.34 * height])
        )
        for s in (1, -1)
    ]
    back = centre[1] - depth
    tip = np.array([0, back - 1.5 * width, centre[2] - 0.55 * height])
    start = np.array([0, back - 0.75 * width, centre[2] - 0.1 * height])
    shapes.append(Capsule(start, tip, 0.16 * width, 0.13 * width))
    for sign in (1, -1):
        root = np.array([sign * 0.6 * width, back + 0.2 * width, centre[2] + 0.15 * height])
        lamina = np.array([sign * 0.55 * width, back - 0.45 * width, centre[2]])
        wing = np.array([sign * 1.6 * width, back - 0.6 * width, centre[2] + 0.1 * height])
        shapes += [
            Capsule(root, lamina, 0.2 * width, 0.23 * width),
            Capsule(lamina, start, 0.2 * width, 0.16 * width),
            Capsule(lamina, wing, 0.18 * width, 0.11 * width),
        ]
    return Part(number(name), tuple(shapes))


def ribs(rng: np.random.Generator) -> Iterator[Part]:
    """Twelve of each side."""
    for place in range(1, 13):
        ends = {11: 1.5, 12: 1.0}.get(place, 2.45)
        top = 196.0 - 20.5 * (place - 1)
        wide = 72 + 78 * np.sin(min(place, 9) / 9 * np.pi / 2)
        deep = 52 + 50 * np.sin(min(place, 8) / 8 * np.pi / 2)
        for side, sign in (("right", 1), ("left", -1)):
            points = [
                (
                    float(sign * wide * np.sin(a)),
                    float(-10 - deep * np.cos(a)),
                    float(top - (16 + 3.2 * place) * (a - 0.25)),
                )
                for a in np.linspace(0.25, ends, 9)
            ]
            yield pipe(rng, f"rib_{side}_{place}", points, [5.2] * 9, 6)


def head(rng: np.random.Generator) -> Iterator[Part]:
    """The skull and the brain within."""
    size = np.array([66.0, 82, 62]) * rng.uniform(0.96, 1.04)
    middle = np.array([0.0, 8, 376])
    inner = Ellipsoid(middle, size + 2)
    vault = Ellipsoid(middle, size + 9, lump_mm=2.0, lump_length_mm=40.0)
    face = Ellipsoid(np.array([0.0, 62, 316]), np.array([44.0, 30, 34]), rotation(-20, 0, 0))
    jaw = [(56.0, 20.0, 318.0), (46, 62, 286), (0, 92, 280), (-46, 62, 286), (-56, 20, 318)]
    rods = tube(jaw, [7, 9, 9, 9, 7], 6).capsules()
    yield Part(number("skull"), (vault, face, *rods), without=inner)
    yield Part(number("brain"), (Ellipsoid(middle, size, lump_mm=2.5, lump_length_mm=18.0),))
