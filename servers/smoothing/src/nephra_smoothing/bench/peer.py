"""The usual way to a smooth mesh: marching cubes on the whole mask, then Taubin's filter."""

from __future__ import annotations

import numpy as np

from nephra_contract.volume import LabelMap


def march(labels: LabelMap, number: int) -> int:
    """One label by scikit-image's marching cubes and trimesh's Taubin filter, as they come.

    Returns:
        The number of triangles.
    """
    import trimesh
    from skimage.measure import marching_cubes

    mask = np.pad(labels.voxels == number, 1)
    vertices, faces, _, _ = marching_cubes(mask, 0.5, spacing=labels.spacing_mm)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    trimesh.smoothing.filter_taubin(mesh)
    return len(mesh.faces)


def chosen(labels: LabelMap, count: int) -> list[int]:
    """Labels that stand for all: evenly spread over them, by their size."""
    by_size = sorted(labels.present, key=lambda n: labels.counts[n])
    spread = np.linspace(0, len(by_size), min(count, len(by_size)), endpoint=False)
    half = len(by_size) / (2 * max(len(spread), 1))
    return [by_size[int(place + half)] for place in spread]
