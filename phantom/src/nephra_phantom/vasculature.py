"""Vascular trees drawn from a seed: a trunk, side branches and forks down to small vessels.

Radii follow Murray's law (1926): the cube of a vessel's radius is the sum of its children's; so
do the angles of a fork (Murray 1926, Zamir 1978). Courses are correlated random walks. The trees
share nothing with the phantom's own vessels but that they are tubes.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace

import numpy as np

from nephra_phantom.grid import Grid
from nephra_phantom.shapes import Point, Tube
from nephra_phantom.vasculature_grid import Occupancy

#: Distance of neighbouring points of a course.
STEP_MM = 1.0
#: Free space between the walls of two vessels that are not parent and child.
CLEARANCE_MM = 2.2
_TRIES = 6
_SEEDLINGS = 12


@dataclass(frozen=True)
class Habit:
    """How a tree grows.

    Args:
        box_mm: (3,) extent of the space that it fills, from the origin.
        trunk_radius_mm: smallest and largest radius of a trunk.
        trunk_length_mm: the same of its length.
        least_radius_mm: vessels thinner than this are not drawn.
        tortuosity: curvature of the courses, as a share of the tightest bend of a vessel.
        side_every_radii: length between side branches, in radii of the vessel.
        length_radii: length of a vessel between forks, in its radii.
        least_mm, most_mm: a tree shorter than the first is drawn anew; it stops to grow at the
            second.
    """

    box_mm: tuple[float, float, float]
    trunk_radius_mm: tuple[float, float] = (5.0, 11.0)
    trunk_length_mm: tuple[float, float] = (80.0, 150.0)
    least_radius_mm: float = 1.2
    tortuosity: float = 0.35
    side_every_radii: tuple[float, float] = (6.0, 16.0)
    length_radii: tuple[float, float] = (9.0, 22.0)
    least_mm: float = 700.0
    most_mm: float = 2500.0


@dataclass(frozen=True)
class _Bud:
    """Where a vessel begins to grow."""

    start: Point
    direction: Point
    radius_mm: float
    length_mm: float
    parent: int
    tortuosity: float


@dataclass
class _Growth:
    """A tree in the making."""

    habit: Habit
    rng: np.random.Generator
    taken: Occupancy
    tubes: list[Tube] = field(default_factory=list)
    buds: deque[_Bud] = field(default_factory=deque)
    total_mm: float = 0.0


def grow(seed: int, habit: Habit) -> list[Tube]:
    """Draw a tree: centre lines with radii in mm; a child begins inside of its parent."""
    cell_mm = 1.0 if max(habit.box_mm) < 250 else 2.0
    best: list[Tube] = []
    most_mm = 0.0
    for attempt in range(_SEEDLINGS):
        rng = np.random.default_rng([seed, 7, attempt])
        growth = _Growth(habit, rng, Occupancy.empty(habit.box_mm, cell_mm))
        growth.buds.append(_trunk(habit, rng))
        while growth.buds and growth.total_mm < habit.most_mm:
            _grow_one(growth, growth.buds.popleft())
        if growth.total_mm > most_mm:
            best, most_mm = growth.tubes, growth.total_mm
        if most_mm >= habit.least_mm:
            break
    return best


def _trunk(habit: Habit, rng: np.random.Generator) -> _Bud:
    """From near the top's middle downwards."""
    box = np.array(habit.box_mm)
    radius = float(rng.uniform(*habit.trunk_radius_mm))
    start = box * np.array([rng.uniform(0.35, 0.65), rng.uniform(0.35, 0.65), 1.0])
    start[2] -= radius + 4.0
    direction = _unit(np.array([rng.normal(0, 0.25), rng.normal(0, 0.25), -1.0]))
    length = float(rng.uniform(*habit.trunk_length_mm))
    return _Bud(start, direction, radius, length, -1, 0.5 * habit.tortuosity)


def _grow_one(growth: _Growth, bud: _Bud) -> None:
    """Let one vessel grow, if there is room for it, and set its buds."""
    habit, rng = growth.habit, growth.rng
    for _ in range(_TRIES):
        line = _course(bud, habit, rng)
        line = _until_wall(line, habit, bud.radius_mm)
        free = growth.taken.free_points(line, bud.parent, CLEARANCE_MM)
        line = Tube(line.points[:free], line.radii[:free])
        if len(line.points) * STEP_MM > 5 * bud.radius_mm + 4:
            break
        bud = replace(bud, direction=_unit(bud.direction + rng.normal(0, 0.35, 3)))
    else:
        return
    number = len(growth.tubes)
    growth.tubes.append(line)
    growth.taken.mark(line, number)
    growth.total_mm += STEP_MM * len(line.points)
    _set_sides(growth, line, number)
    _set_fork(growth, line, number)


def _course(bud: _Bud, habit: Habit, rng: np.random.Generator) -> Tube:
    """A correlated random walk that keeps to the box, tapering a little."""
    count = max(int(bud.length_mm / STEP_MM), 6)
    points = np.empty((count, 3))
    direction = bud.direction
    points[0] = bud.start
    tightest = 1 / (3.0 * bud.radius_mm)
    memory = np.exp(-STEP_MM / (4.0 * bud.radius_mm))
    bend = np.zeros(3)
    box = np.array(habit.box_mm)
    margin = 2 * bud.radius_mm + 12.0
    for n in range(1, count):
        kick = rng.normal(0, bud.tortuosity * tightest, 3)
        bend = memory * bend + np.sqrt(1 - memory**2) * kick
        low = np.clip((margin - points[n - 1]) / margin, 0, 1)
        high = np.clip((points[n - 1] - (box - margin)) / margin, 0, 1)
        turn = bend + 0.6 * tightest * (low - high)
        turn = turn - (turn @ direction) * direction
        size = float(np.linalg.norm(turn))
        turn = turn * min(1.0, tightest / size) if size > 0 else turn
        direction = _unit(direction + STEP_MM * turn)
        points[n] = points[n - 1] + STEP_MM * direction
    end = bud.radius_mm * float(rng.uniform(0.75, 0.97))
    return Tube(points, np.linspace(bud.radius_mm, end, count))


def _until_wall(line: Tube, habit: Habit, radius_mm: float) -> Tube:
    inside = (line.points > radius_mm + 2) & (line.points < np.array(habit.box_mm) - radius_mm - 2)
    outside = np.flatnonzero(~inside.all(axis=1))
    stop = int(outside[0]) if outside.size else len(line.points)
    return Tube(line.points[:stop], line.radii[:stop])


def _set_sides(growth: _Growth, line: Tube, number: int) -> None:
    """Buds along a vessel, at random places and around it."""
    habit, rng = growth.habit, growth.rng
    at = float(rng.uniform(*habit.side_every_radii)) * float(line.radii[0])
    while at < STEP_MM * (len(line.points) - 1) - 3 * float(line.radii[-1]):
        n = int(at / STEP_MM)
        radius = float(line.radii[n])
        child = radius * float(rng.uniform(0.3, 0.7))
        if child >= habit.least_radius_mm:
            along = _unit(line.points[n + 1] - line.points[n])
            angle = float(np.deg2rad(rng.uniform(45, 90)))
            direction = np.cos(angle) * along + np.sin(angle) * _across(along, rng)
            _add(growth, line.points[n], direction, child, number)
        at += float(rng.uniform(*habit.side_every_radii)) * radius


def _set_fork(growth: _Growth, line: Tube, number: int) -> None:
    """Two buds at a vessel's end with radii and angles after Murray; some run side by side."""
    rng = growth.rng
    radius = float(line.radii[-1])
    share = float(rng.uniform(0.15, 0.5))
    one, other = radius * (1 - share) ** (1 / 3), radius * share ** (1 / 3)
    along = _unit(line.points[-1] - line.points[-3])
    across = _across(along, rng)
    if rng.uniform() < 0.25:
        # Nearly parallel children: what reconnection has to tell apart.
        angles = (0.12, 0.5)
    else:
        angles = (_murray(radius, one, other), _murray(radius, other, one))
    for child, angle, sign in ((one, angles[0], 1.0), (other, angles[1], -1.0)):
        if child >= growth.habit.least_radius_mm:
            direction = np.cos(angle) * along + sign * np.sin(angle) * across
            _add(growth, line.points[-1], direction, child, number)


def _add(growth: _Growth, start: Point, direction: Point, radius_mm: float, parent: int) -> None:
    length = float(growth.rng.uniform(*growth.habit.length_radii)) * radius_mm
    tortuosity = growth.habit.tortuosity * float(growth.rng.uniform(0.4, 1.6))
    growth.buds.append(_Bud(start, _unit(direction), radius_mm, length + 10.0, parent, tortuosity))


def _murray(parent: float, child: float, other: float) -> float:
    """Angle in radians by which a child leaves its parent's direction."""
    cosine = (parent**4 + child**4 - other**4) / (2 * parent**2 * child**2)
    return float(np.arccos(np.clip(cosine, -1, 1)))


def _across(along: Point, rng: np.random.Generator) -> Point:
    """A random unit vector at right angles to another."""
    vector = rng.normal(size=3)
    return _unit(vector - (vector @ along) * along)


def _unit(vector: Point) -> Point:
    found: Point = vector / max(float(np.linalg.norm(vector)), 1e-9)
    return found


def grid_of(habit: Habit, spacing_mm: tuple[float, float, float]) -> Grid:
    """A grid over a tree's box, with oblique-free axes and an origin off zero."""
    shape = [int(np.ceil(b / s)) for b, s in zip(habit.box_mm, spacing_mm, strict=True)]
    affine = np.diag([*spacing_mm, 1.0])
    return Grid((shape[0], shape[1], shape[2]), affine)
