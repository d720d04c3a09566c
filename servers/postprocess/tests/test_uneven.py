"""Wide vessels are not round, and are rejoined all the same."""

from __future__ import annotations

import cc3d
import numpy as np

from nephra_contract import labels as names
from nephra_contract.progress import Progress
from nephra_contract.volume import LabelMap
from nephra_postprocess.operations.vessel import Vessel, join_vessels


def test_a_flat_vein_with_a_short_gap_is_one_again() -> None:
    """An ellipse of 13 x 6 mm that shifts sideways along its way, cut by one slice."""
    spacing = np.array([1.5, 1.5, 3.0])
    x, y, z = np.meshgrid(*(np.arange(n) * s for n, s in zip((50, 40, 34), spacing, strict=True)),
                          indexing="ij", sparse=True)  # fmt: skip
    middle = 36 + 5 * np.sin(z / 14)
    vein = ((x - middle) / 13) ** 2 + ((y - 30 - 0.1 * z) / 6) ** 2 <= 1
    voxels = np.where(vein & (z > 4) & (z < 96), names.INFERIOR_VENA_CAVA, 0).astype(np.uint8)
    voxels[:, :, 14:16] = 0
    labels = LabelMap(voxels, np.diag([*spacing, 1.0]))
    joined = join_vessels(labels, Vessel(structures=["inferior_vena_cava"]), Progress()).value
    assert cc3d.connected_components(voxels > 0, connectivity=26, return_N=True)[1] == 2
    assert cc3d.connected_components(joined.voxels > 0, connectivity=26, return_N=True)[1] == 1
