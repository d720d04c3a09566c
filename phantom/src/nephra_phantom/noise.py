"""Noise of a scanner: partly correlated within a slice, different in every phase."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from nephra_phantom.fills import Phase
from nephra_phantom.grid import Array

_STREAM: dict[Phase, int] = {"A": 1, "P": 2, "D": 3, "N": 4}


@dataclass(frozen=True)
class Noise:
    """Standard deviation in HU, the share of it that is smooth, and where its numbers start."""

    sigma_hu: float
    smooth_share: float
    stream: tuple[int, ...]

    def block(self, shape: tuple[int, int, int], first_slice: int) -> Array:
        """Noise in HU of a block of slices; ``first_slice`` names the block."""
        rng = np.random.default_rng([*self.stream, first_slice])
        white = rng.standard_normal(shape, dtype=np.float32)
        if self.smooth_share <= 0:
            return white * np.float32(self.sigma_hu)
        smooth = gaussian_filter1d(
            gaussian_filter1d(white, 1.0, axis=0, truncate=3.0), 1.0, axis=1, truncate=3.0
        )
        smooth *= np.float32(2 * np.sqrt(np.pi) * self.smooth_share)
        smooth += np.float32(1 - self.smooth_share) * white
        # White noise and its own smoothed copy are correlated by 1 / sqrt(pi).
        share, rest = self.smooth_share, 1 - self.smooth_share
        scale = self.sigma_hu / np.sqrt(share**2 + rest**2 + 2 * share * rest / np.sqrt(np.pi))
        return np.asarray(smooth * np.float32(scale), np.float32)


def draw_noise(seed: int, phase: Phase) -> Noise:
    """Draw a scan's noise: 6 to 16 HU, a third to two thirds of it smooth."""
    rng = np.random.default_rng([seed, 20, _STREAM[phase]])
    return Noise(
        float(rng.uniform(6, 16)), float(rng.uniform(0.33, 0.67)), (seed, 30, _STREAM[phase])
    )
