"""Where the patient lies in a CT."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from nephra_contract.volume import Volume

#: Above air and lung, below fat.
_TISSUE_HU = -300
_COARSE_MM = 4.0


def body_midline_x_mm(image: Volume) -> float | None:
    """World x of the middle of the largest body of tissue, or None where there is none.

    The median of each row's middle is taken over the body's cross-sections, so that an arm or
    a table that touches the patient does not pull it aside.
    """
    steps = tuple(max(1, round(_COARSE_MM / s)) for s in image.spacing_mm)
    coarse = image.voxels[tuple(slice(None, None, s) for s in steps)] > _TISSUE_HU
    pieces, count = ndimage.label(coarse)
    if count == 0:
        return None
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    where = np.argwhere(pieces == int(sizes.argmax())) * np.array(steps)
    x_mm = where @ image.affine[0, :3] + image.affine[0, 3]
    # Cross-sections along the axis that is closest to the patient's length.
    along = int(np.abs(image.affine[2, :3] / np.array(image.spacing_mm)).argmax())
    order = np.argsort(where[:, along], kind="stable")
    cuts = np.flatnonzero(np.diff(where[order, along])) + 1
    middles = [float(np.median(part)) for part in np.split(x_mm[order], cuts)]
    return float(np.median(middles))
