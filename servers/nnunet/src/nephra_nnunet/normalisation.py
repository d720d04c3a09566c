"""Intensities as the network saw them in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nephra_nnunet.plans import Normalisation

_TINY = 1e-8


@dataclass(frozen=True)
class Intensity:
    """An affine map of intensities after clipping, worked out for one image.

    Args:
        low, high: clipped to, in HU; infinite where nothing is clipped.
        shift, scale: subtracted, then divided by.
        lowest, highest: bounds of the result, within which resampling stays.
    """

    low: float
    high: float
    shift: float
    scale: float
    lowest: float
    highest: float

    def apply(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Normalise values of any shape and dtype."""
        out = values.astype(np.float32)
        if np.isfinite(self.low):
            np.clip(out, np.float32(self.low), np.float32(self.high), out=out)
        out -= np.float32(self.shift)
        out /= np.float32(self.scale)
        return out


def measure(
    image: NDArray[Any], how: Normalisation, mask: NDArray[np.bool_] | None = None
) -> Intensity:
    """Work out the map for one channel.

    Args:
        image: (a, b, c) the cropped channel.
        how: the plans' scheme.
        mask: (a, b, c) where statistics are taken; needed if `how.in_mask`.
    """
    low, high = -np.inf, np.inf
    shift, scale = 0.0, 1.0
    if how.scheme == "CTNormalization":
        low, high, shift, scale = how.low, how.high, how.mean, max(how.std, _TINY)
    elif how.scheme == "ZScoreNormalization":
        inside = image[mask] if how.in_mask and mask is not None else image
        shift = float(inside.mean(dtype=np.float64))
        scale = max(float(inside.std(dtype=np.float64)), _TINY)
    elif how.scheme == "RescaleTo01Normalization":
        shift = float(image.min())
        scale = max(float(image.max()) - shift, _TINY)
    darkest = float(np.clip(image.min(), low, high))
    brightest = float(np.clip(image.max(), low, high))
    bounds = np.array([darkest, brightest], dtype=np.float32)
    lowest, highest = (bounds - np.float32(shift)) / np.float32(scale)
    return Intensity(low, high, shift, scale, float(lowest), float(highest))
