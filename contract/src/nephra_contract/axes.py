"""World axes of the files that hold surfaces."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: RAS+ → axes of the file, as signs and source axes. All are rotations: faces keep their winding.
_AXES: dict[str, NDArray[np.float64]] = {
    "RAS": np.eye(3),
    "LPS": np.diag([-1.0, -1.0, 1.0]),
    "glTF": np.array([[-1.0, 0, 0], [0, 0, 1], [0, 1, 0]]),
}


def turned(points: NDArray[np.float64], space: str) -> NDArray[np.float64]:
    """(N, 3) RAS+ points or directions in the axes `RAS`, `LPS` or `glTF`; units stay."""
    return np.asarray(points @ _AXES[space].T)
