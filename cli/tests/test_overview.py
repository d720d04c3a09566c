"""The one picture of a case."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nephra_cli.demo.overview import write_overview
from nephra_cli.demo.surfaces import Surface
from nephra_contract import labels as names
from nephra_contract.volume import LabelMap, Volume

AFFINE = np.diag([4.0, 4.0, 5.0, 1.0])
SHAPE = (24, 20, 16)


def test_the_picture_is_written_and_shows_something(tmp_path: Path) -> None:
    """A PNG with dark slices, white paper and the tumour's yellow; no display is needed."""
    from matplotlib.image import imread

    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[14:20, 6:12, 4:12] = names.KIDNEY_RIGHT
    mask[16:19, 8:11, 6:10] = names.TUMOR
    image = Volume(np.where(mask > 0, 150, 40).astype(np.int16), AFFINE)
    corners = np.array([[0, 0, 0], [40, 0, 0], [0, 40, 0], [0, 0, 40]], dtype=np.float64)
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    path = tmp_path / "overview.png"
    scene = [Surface("tumor", corners, faces)]
    write_overview(path, {"A": image, "D": image}, LabelMap(mask, AFFINE), scene, "a title")
    pixels = imread(path)[:, :, :3]
    assert pixels.shape[0] > 500
    assert (pixels > 0.99).all(axis=2).mean() > 0.1
    yellow = (pixels[:, :, 0] > 0.6) & (pixels[:, :, 1] > 0.5) & (pixels[:, :, 2] < 0.3)
    assert yellow.sum() > 500
    assert [p.name for p in tmp_path.iterdir()] == ["overview.png"]
