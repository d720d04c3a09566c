"""How a patient lies in a phase: a small turn and shift, and breathing that moves along z."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nephra_phantom.fills import Phase
from nephra_phantom.grid import Array


@dataclass(frozen=True)
class Motion:
    """Maps between a phase's world and the anatomy at rest, both RAS+ mm.

    Breathing moves everything above the pelvis down by up to ``breath_mm``, growing with z.
    """

    shift_mm: NDArray[np.float64]
    turn_deg: float
    breath_mm: float

    def to_rest(self, x: Array, y: Array, z: Array) -> tuple[Array, Array, Array]:
        """Where at rest the tissue is that this phase shows at x, y, z."""
        c, s = (
            np.float32(np.cos(np.deg2rad(self.turn_deg))),
            np.float32(np.sin(np.deg2rad(self.turn_deg))),
        )
        x0, y0 = x - np.float32(self.shift_mm[0]), y - np.float32(self.shift_mm[1])
        z0 = z - np.float32(self.shift_mm[2])
        if self.breath_mm:
            z0 = z0 + np.float32(self.breath_mm) * _rise(z0)
        if self.turn_deg:
            return x0 * c + y0 * s, y0 * c - x0 * s, z0
        return x0, y0, z0

    def from_rest(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, 3) points at rest → where this phase shows them."""
        angle = np.deg2rad(self.turn_deg)
        z = points[:, 2].copy()
        for _ in range(12):
            z = points[:, 2] - self.breath_mm * _rise(z)
        x = points[:, 0] * np.cos(angle) - points[:, 1] * np.sin(angle)
        y = points[:, 1] * np.cos(angle) + points[:, 0] * np.sin(angle)
        moved: NDArray[np.float64] = np.stack([x, y, z], axis=1) + self.shift_mm
        return moved


def _rise(z: NDArray[Any]) -> NDArray[Any]:
    risen: NDArray[Any] = 0.5 * (1 + np.tanh((z - 20) / 60))
    return risen


_STREAM: dict[Phase, int] = {"A": 1, "P": 2, "D": 3, "N": 4}


def draw_motion(seed: int, phase: Phase) -> Motion:
    """Draw the position of a patient in a phase; A is the reference, the others differ a little."""
    lying = np.random.default_rng([seed, 10])
    shift = lying.normal(0, [4, 4, 5])
    turn = float(lying.uniform(-5, 5))
    if phase == "A":
        return Motion(shift, turn, 0.0)
    rng = np.random.default_rng([seed, 10, _STREAM[phase]])
    return Motion(
        shift + rng.normal(0, 0.6, 3),
        turn + float(rng.normal(0, 0.25)),
        float(rng.uniform(-2.5, 2.5)),
    )
