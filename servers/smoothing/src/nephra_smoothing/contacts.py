"""Where voxels touch in an edge or a corner only."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

_Shift = tuple[int, ...]
_MOST_ROUNDS = 5


def corners_filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill voxels beside such places, so that what touches there hangs together by faces.

    The box stays as it is; what lay a voxel apart may come to touch.

    Args:
        mask: (I, J, K).
    """
    filled = mask.copy()
    # Of each pair of opposite directions one; edges first, as they may mend corners.
    ways = [w for w in product((-1, 0, 1), repeat=3) if w > (0, 0, 0)]
    ways.sort(key=np.count_nonzero)
    for _ in range(_MOST_ROUNDS):
        # What is filled touches others in its turn.
        if not sum(_fill(filled, way) for way in ways[3:]):
            break
    return filled


def _fill(filled: NDArray[np.bool_], way: _Shift) -> bool:
    """Fill beside pairs of voxels that lie one way from each other, and share no neighbour."""
    between = [s for s in product(*((0, w) if w else (0,) for w in way)) if any(s) and s != way]
    bare = _shifted(filled, (0, 0, 0), way) & _shifted(filled, way, way)
    for shift in between:
        bare &= ~_shifted(filled, shift, way)
    if not bare.any():
        return False
    if len(between) > 2:
        # From corner to corner: along the first axis, then along the second, then the third.
        between = [(way[0], 0, 0), (way[0], way[1], 0)]
    for shift in between:
        _shifted(filled, shift, way)[bare] = True
    return True


def _shifted(mask: NDArray[np.bool_], shift: _Shift, way: _Shift) -> NDArray[np.bool_]:
    """The part of the mask that lies by a shift from all places with a voxel one way from them."""
    parts = [
        slice(max(0, -w) + s, n - max(0, w) + s)
        for w, s, n in zip(way, shift, mask.shape, strict=True)
    ]
    return mask[tuple(parts)]
