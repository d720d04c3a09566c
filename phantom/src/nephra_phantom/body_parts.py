"""Named parts of a whole body, as shapes of usual size and place that vary a little."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nephra_contract import labels as names
from nephra_phantom.shapes import Ellipsoid, Point, Shape, rotation, tube

Waypoints = list[tuple[float, float, float]]


@dataclass(frozen=True)
class Part:
    """A union of shapes, cut by half-spaces and by what is left out of it; distances in mm."""

    number: int
    shapes: tuple[Shape, ...]
    #: point and outward direction of each cutting plane
    cuts: tuple[tuple[Point, Point], ...] = ()
    without: Shape | None = None


def number(name: str) -> int:
    """The label of a name."""
    return names.numbers()[name]


def blob(
    rng: np.random.Generator, name: str, centre: tuple[float, float, float],
    radii: tuple[float, float, float], turn: tuple[float, float, float] = (0, 0, 0),
    bend_mm: float = 0.0,
) -> Part:  # fmt: skip
    """An ellipsoid with a wavy surface, a little off its usual size and place."""
    size = np.array(radii) * rng.uniform(0.94, 1.06, 3)
    return Part(
        number(name),
        (
            Ellipsoid(
                np.array(centre) + rng.uniform(-2, 2, 3), size,
                rotation(*(np.array(turn) + rng.uniform(-4, 4, 3))), bend_mm,
                0.06 * float(size.min()), float(rng.uniform(0.8, 1.2) * size.mean() + 8),
                float(rng.uniform(0, 6)),
            ),
        ),
    )  # fmt: skip


def pipe(
    rng: np.random.Generator, name: str, points: Waypoints, radii: list[float], step_mm: float = 6
) -> Part:
    """A smooth tube through waypoints, a little off its usual course and calibre."""
    moved = [tuple(np.array(p) + rng.uniform(-1.5, 1.5, 3)) for p in points]
    radii = [float(r * rng.uniform(0.93, 1.07)) for r in radii]
    return Part(number(name), tuple(tube(moved, radii, step_mm).capsules()))


def both(
    rng: np.random.Generator, name: str, centre: tuple[float, float, float],
    radii: tuple[float, float, float], turn: tuple[float, float, float] = (0, 0, 0),
    bend_mm: float = 0.0,
) -> Iterator[Part]:  # fmt: skip
    """A blob on the right as given, and its mirror image on the left."""
    (x, y, z), (a, b, c) = centre, turn
    yield blob(rng, f"{name}_right", (x, y, z), radii, (a, b, c), bend_mm)
    yield blob(rng, f"{name}_left", (-x, y, z), radii, (a, -b, -c), -bend_mm)
