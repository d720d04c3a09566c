"""One painted structure: parts in space, a label number, and its HU in each phase."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nephra_phantom.fills import Fill, Phase
from nephra_phantom.shapes import Bounds, Shape


@dataclass(frozen=True)
class Structure:
    """A union of parts, cut by ``inside`` where given; later structures cover earlier ones.

    ``label`` is the number in the label table, 0 for what is shown but not named.
    """

    name: str
    label: int
    parts: tuple[Shape, ...]
    hu: dict[Phase, Fill]
    inside: Shape | None = None

    def bounds(self) -> Bounds:
        """A box in mm around all parts."""
        boxes = [part.bounds() for part in self.parts]
        low = np.min([box[0] for box in boxes], axis=0)
        high = np.max([box[1] for box in boxes], axis=0)
        return low, high


def corners(bounds: Bounds) -> NDArray[np.float64]:
    """(8, 3) corners of a box."""
    low, high = bounds
    return np.array(
        [[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])]
    )
