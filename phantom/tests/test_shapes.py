"""Implicit shapes give true distances near their surfaces and honest boxes."""

from __future__ import annotations

import numpy as np
import pytest

from nephra_phantom.shapes import Capsule, Column, Ellipsoid, Shape, rotation, tube

SHAPES: list[Shape] = [
    Ellipsoid(np.array([3.0, -2.0, 5.0]), np.array([9.0, 12.0, 20.0]), rotation(20, 30, 40)),
    Ellipsoid(np.zeros(3), np.array([15.0, 12.0, 25.0]), bend_mm=5.0, lump_mm=1.0),
    Capsule(np.array([-5.0, 0, 0]), np.array([8.0, 6, 4]), 4.0, 2.0),
    Column(np.array([1.0, 2.0, 0]), np.array([20.0, 14.0, 0]), -12.0, 15.0, 2.3),
]


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_inside_lies_outside_of_the_box(shape: Shape) -> None:
    """Negative distance happens within the bounds only."""
    axis = np.linspace(-40, 40, 81, dtype=np.float32)
    x, y, z = axis[:, None, None], axis[None, :, None], axis[None, None, :]
    inside = np.argwhere(np.broadcast_to(shape.distance(x, y, z), (81, 81, 81)) < 0) - 40.0
    low, high = shape.bounds()
    assert len(inside) > 100
    assert np.all(inside >= low - 1e-4)
    assert np.all(inside <= high + 1e-4)


def test_ellipsoid_distance_is_true_near_the_surface() -> None:
    """One millimetre outside along an axis is one millimetre."""
    ball = Ellipsoid(np.zeros(3), np.array([10.0, 20.0, 30.0]))
    for n, radius in enumerate((10.0, 20.0, 30.0)):
        where = [np.zeros((1, 1, 1), np.float32) for _ in range(3)]
        where[n] = where[n] + np.float32(radius + 1)
        assert ball.distance(*where).item() == pytest.approx(1.0, abs=0.06)


def test_tube_passes_through_its_waypoints() -> None:
    """The spline meets start and end, and every waypoint lies inside."""
    points = [(0.0, 0.0, 0.0), (10.0, 5.0, 20.0), (12.0, -5.0, 40.0)]
    line = tube(points, [3.0, 2.0, 2.0], 4.0)
    assert line.points[0] == pytest.approx(points[0])
    assert line.points[-1] == pytest.approx(points[-1])
    for point in points:
        where = [np.full((1, 1, 1), value, np.float32) for value in point]
        assert min(part.distance(*where).item() for part in line.capsules()) < 0
