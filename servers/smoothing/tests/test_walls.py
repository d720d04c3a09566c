"""The walls between labels: closed and manifold around every label, whatever touches what."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nephra_smoothing.partition import Partition
from nephra_smoothing.relaxation import Sides, hold_volumes, spread, volumes_mm3
from nephra_smoothing.soundness import is_sound
from nephra_smoothing.surface import Surface
from nephra_smoothing.walls import walls


def partition(labels: NDArray[np.uint8]) -> Partition:
    """The unsmoothed mesh of a map, in voxels."""
    net = walls(np.pad(labels, 1))
    faces, sides = net.triangles(net.points)
    return Partition.of(net.points - 1, faces, Sides.of(sides))


@pytest.mark.parametrize("labels", [1, 2, 3, 5, 8])
def test_noise_of_labels_has_closed_manifold_surfaces(labels: int) -> None:
    """All ways in which voxels can meet at an edge or a corner, many times over."""
    rng = np.random.default_rng(labels)
    for _ in range(12):
        voxels = rng.integers(0, labels + 1, (7, 6, 8)).astype(np.uint8)
        made = partition(voxels)
        for number in range(1, labels + 1):
            surface = made.surface(number)
            assert is_sound(surface)
            count = np.count_nonzero(voxels == number)
            assert surface.volume_mm3 == pytest.approx(count, rel=0.6)


def test_all_ways_of_eight_voxels_are_sound() -> None:
    """Every set of corners of a cell, of which one vertex does for most, but not for all."""
    for bits in range(1, 256):
        cell = np.array([bits >> n & 1 for n in range(8)], np.uint8).reshape(2, 2, 2)
        assert is_sound(partition(cell).surface(1)), bits
        assert is_sound(partition(cell + np.uint8(1)).surface(2)), bits


def test_flat_walls_of_blocks_have_one_vertex_per_cell() -> None:
    """Tetrahedra are only where they are needed: a block is a surface net."""
    voxels = np.ones((4, 5, 6), np.uint8)
    net = walls(np.pad(voxels, 1))
    assert not len(net.fans)
    assert len(net.points) == 5 * 6 * 7 - 3 * 4 * 5
    assert not net.meeting.any()
    voxels[2:] = 2
    assert np.count_nonzero(walls(np.pad(voxels, 1)).meeting) == 2 * (5 + 6)


def test_the_wall_looks_from_the_larger_label_outward() -> None:
    """Volumes of all labels and of the outside add up to nothing."""
    voxels = np.random.default_rng(2).integers(0, 4, (6, 6, 6)).astype(np.uint8)
    made = partition(voxels)
    volumes = volumes_mm3(made.points, made.faces, made.sides)
    assert (volumes[1:] > 0).all()
    assert volumes.sum() == pytest.approx(0, abs=1e-9)
    assert (made.sides.pairs[:, 0] > made.sides.pairs[:, 1]).all()


def test_all_volumes_are_held_at_once() -> None:
    """Neighbours that want other volumes get them, by moving the walls that they share."""
    voxels = np.zeros((12, 10, 10), np.uint8)
    voxels[:4], voxels[4:8], voxels[8:] = 1, 2, 3
    made = partition(voxels)
    wanted = {1: 430.0, 2: 350.0, 3: 410.0}
    points = hold_volumes(made.points, made.faces, made.sides, wanted, 0.5, 1e-3)
    found = volumes_mm3(points, made.faces, made.sides)[1:]
    np.testing.assert_allclose(found, list(wanted.values()), rtol=1e-3)


@pytest.mark.parametrize("with_goal", [False, True])
def test_vertices_that_fell_together_are_taken_apart(with_goal: bool) -> None:
    """Neighbours at one place, and a face whose corners are in one line."""
    made = partition(np.ones((3, 3, 3), np.uint8))
    fallen = made.points.copy()
    first, second, _ = made.faces[7]
    fallen[first] = fallen[second]
    assert not is_sound(Surface(fallen, made.faces))
    goal: Any = made.points if with_goal else None
    assert is_sound(Surface(spread(fallen, made.faces, goal), made.faces))
