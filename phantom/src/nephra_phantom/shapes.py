"""Implicit shapes: distance-like functions of space in mm, negative inside.

Distances are true near the surface, which is all that soft edges and marching cubes need. The
ellipsoid's first-order bound is Inigo Quilez's (``k0 * (k0 - 1) / k1``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from nephra_phantom.grid import Array

Point = NDArray[np.float64]
Bounds = tuple[Point, Point]


class Shape(Protocol):
    """Anything with a distance function and a box around it."""

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        """Signed distance in mm at broadcastable world coordinates."""
        ...

    def bounds(self) -> Bounds:
        """Lowest and highest corner in mm of a box around the inside."""
        ...


def rotation(x_deg: float = 0.0, y_deg: float = 0.0, z_deg: float = 0.0) -> NDArray[np.float64]:
    """(3, 3) matrix whose columns are the rotated axes: about x first, then y, then z."""
    a, b, c = np.deg2rad([x_deg, y_deg, z_deg])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    turned: NDArray[np.float64] = about_z @ about_y @ about_x
    return turned


def _straight() -> NDArray[np.float64]:
    return np.eye(3)


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid, optionally bent like a bean and lumpy.

    ``axes`` has the local axes u, v, w as columns; ``bend_mm`` shifts both w poles towards -u;
    ``lump_mm`` is the height of surface waves of ``lump_length_mm``.
    """

    centre: Point
    radii: Point
    axes: NDArray[np.float64] = field(default_factory=_straight)
    bend_mm: float = 0.0
    lump_mm: float = 0.0
    lump_length_mm: float = 20.0
    lump_phase: float = 0.0
    grow_mm: float = 0.0

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        """Signed distance in mm at broadcastable coordinates."""
        offset = (
            x - np.float32(self.centre[0]),
            y - np.float32(self.centre[1]),
            z - np.float32(self.centre[2]),
        )
        u, v, w = (_project(offset, self.axes[:, i]) for i in range(3))
        a, b, c = (np.float32(r) for r in self.radii)
        if self.bend_mm:
            u = u + np.float32(self.bend_mm) * (w / c) ** 2
        p, q, r = u / a, v / b, w / c
        k0 = np.sqrt(p * p + q * q + r * r)
        k1 = np.sqrt((p / a) ** 2 + (q / b) ** 2 + (r / c) ** 2)
        d = k0 * (k0 - np.float32(1)) / np.maximum(k1, np.float32(1e-6))
        if self.lump_mm:
            d = d + self._lumps(offset)
        return np.asarray(d - np.float32(self.grow_mm), dtype=np.float32)

    def _lumps(self, offset: tuple[Array, Array, Array]) -> Array:
        turn = np.float32(2 * np.pi / self.lump_length_mm)
        shift = np.float32(self.lump_phase)
        waves = [np.sin(turn * part + shift * (n + 1)) for n, part in enumerate(offset)]
        return np.asarray(np.float32(self.lump_mm) * waves[0] * waves[1] * waves[2], np.float32)

    def bounds(self) -> Bounds:
        """Lowest and highest corner in mm."""
        radii = self.radii + self.grow_mm + self.lump_mm + np.array([self.bend_mm, 0.0, 0.0])
        reach = np.sqrt(((self.axes * radii) ** 2).sum(axis=1))
        return self.centre - reach, self.centre + reach


def _project(offset: tuple[Array, Array, Array], axis: NDArray[np.float64]) -> Array:
    total: Array = np.zeros((1, 1, 1), np.float32)
    for part, weight in zip(offset, axis, strict=True):
        if abs(weight) > 1e-9:
            total = total + np.float32(weight) * part
    return total


@dataclass(frozen=True)
class Column:
    """A vertical superellipse cylinder ``(x/a)^n + (y/b)^n < 1`` from ``low`` to ``high`` mm."""

    centre: Point
    radii: Point
    low_mm: float
    high_mm: float
    power: float = 2.0
    waist_mm: float = 0.0
    waist_at_mm: float = 0.0

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        """Signed distance in mm at broadcastable coordinates."""
        shrink = np.float32(self.waist_mm) * np.exp(-(((z - self.waist_at_mm) / 80) ** 2))
        a, b = np.float32(self.radii[0]), np.float32(self.radii[1])
        p = np.abs(x - np.float32(self.centre[0])) / a
        q = np.abs(y - np.float32(self.centre[1])) / b
        if self.power == 2.0:
            k0 = np.sqrt(p * p + q * q)
        else:
            k0 = (p**self.power + q**self.power) ** np.float32(1 / self.power)
        k1 = np.sqrt((p / a) ** 2 + (q / b) ** 2) / np.maximum(np.sqrt(p * p + q * q), 1e-6)
        side = (k0 - np.float32(1)) / np.maximum(k1, np.float32(1e-6))
        ends = np.maximum(self.low_mm - z, z - self.high_mm)
        return np.asarray(np.maximum(side + shrink, ends), dtype=np.float32)

    def bounds(self) -> Bounds:
        """Lowest and highest corner in mm."""
        low = np.array([*(self.centre[:2] - self.radii[:2]), self.low_mm])
        high = np.array([*(self.centre[:2] + self.radii[:2]), self.high_mm])
        return low, high


@dataclass(frozen=True)
class Capsule:
    """A piece of a tube: the points within a linearly changing radius of a segment."""

    start: Point
    end: Point
    start_radius: float
    end_radius: float

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        """Signed distance in mm at broadcastable coordinates."""
        along = self.end - self.start
        length_2 = float(along @ along) or 1.0
        offset = (
            x - np.float32(self.start[0]),
            y - np.float32(self.start[1]),
            z - np.float32(self.start[2]),
        )
        t = np.clip(_project(offset, along / length_2), 0, 1)
        gaps = [part - t * np.float32(step) for part, step in zip(offset, along, strict=True)]
        radius = np.float32(self.start_radius) + t * np.float32(self.end_radius - self.start_radius)
        d = np.sqrt(gaps[0] ** 2 + gaps[1] ** 2 + gaps[2] ** 2) - radius
        return np.asarray(d, dtype=np.float32)

    def bounds(self) -> Bounds:
        """Lowest and highest corner in mm."""
        reach = max(self.start_radius, self.end_radius)
        low = np.minimum(self.start, self.end) - reach
        return low, np.maximum(self.start, self.end) + reach


@dataclass(frozen=True)
class Tube:
    """A centre line: ``points`` (n, 3) in mm and the ``radii`` (n,) in mm around it."""

    points: NDArray[np.float64]
    radii: NDArray[np.float64]

    def capsules(self) -> list[Shape]:
        """The tube as overlapping pieces, each with a small box of its own."""
        return [
            Capsule(
                self.points[n], self.points[n + 1], float(self.radii[n]), float(self.radii[n + 1])
            )
            for n in range(len(self.points) - 1)
        ]

    def at(self, fraction: float) -> tuple[Point, float]:
        """Point and radius at a fraction of the way."""
        n = round(fraction * (len(self.points) - 1))
        return self.points[n], float(self.radii[n])


def tube(
    waypoints: list[tuple[float, float, float]], radii: list[float], step_mm: float = 5.0
) -> Tube:
    """A smooth tube through waypoints (cubic spline over chord length), a point every step."""
    knots = np.array(waypoints, dtype=np.float64)
    chord = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))])
    count = max(3, int(np.ceil(chord[-1] / step_mm)) + 1)
    where = np.linspace(0, chord[-1], count)
    points = CubicSpline(chord, knots, axis=0, bc_type="natural")(where)
    return Tube(np.asarray(points), np.interp(where, chord, radii))
