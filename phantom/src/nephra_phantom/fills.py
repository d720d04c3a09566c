"""What a structure is filled with: HU as a function of space, for each phase."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from nephra_phantom.grid import Array

Phase = Literal["A", "P", "D", "N"]
PHASES: tuple[Phase, ...] = ("A", "P", "D")
Fill = Callable[[Array, Array, Array], Array]


def flat(hu: float) -> Fill:
    """The same HU everywhere."""
    value = np.full((1, 1, 1), hu, np.float32)
    return lambda *_: value


def textured(hu: float, amplitude_hu: float, length_mm: float, rng: np.random.Generator) -> Fill:
    """Smooth waves of HU around a mean: two products of sines with random phases."""
    shifts = rng.uniform(0, 2 * np.pi, (2, 3)).astype(np.float32)
    turns = (2 * np.pi / (length_mm * rng.uniform(0.7, 1.5, (2, 3)))).astype(np.float32)

    def fill(x: Array, y: Array, z: Array) -> Array:
        total: Array = np.full((1, 1, 1), hu, np.float32)
        for turn, shift in zip(turns, shifts, strict=True):
            sines = [np.sin(t * v + s) for t, s, v in zip(turn, shift, (x, y, z), strict=True)]
            total = total + np.float32(amplitude_hu) * sines[0] * sines[1] * sines[2]
        return total

    return fill


def graded(axis: int, low_hu: float, high_hu: float, at_mm: float, width_mm: float) -> Fill:
    """One HU below, another above a level on a world axis, with a soft change between."""

    def fill(x: Array, y: Array, z: Array) -> Array:
        level = (x, y, z)[axis]
        share = 1 / (1 + np.exp(-(level - np.float32(at_mm)) / np.float32(width_mm)))
        return np.asarray(low_hu + (high_hu - low_hu) * share, dtype=np.float32)

    return fill


def interrupted(hu: float, empty_hu: float, gaps_mm: list[tuple[float, float]]) -> Fill:
    """One HU along z, another within each gap (from, to) in mm, with soft ends of 2 mm."""

    def fill(*where: Array) -> Array:
        z = where[2]
        share: Array = np.ones_like(z)
        for low, high in gaps_mm:
            inside = np.minimum(z - np.float32(low), np.float32(high) - z)
            share = np.minimum(share, 1 / (1 + np.exp(np.clip(inside, -30, 30))))
        return np.asarray(empty_hu + (hu - empty_hu) * share, dtype=np.float32)

    return fill
