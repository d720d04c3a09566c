"""The usual way to a smooth mesh: marching cubes on the whole mask, then Taubin's filter."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from nephra_contract.volume import LabelMap


def march(labels: LabelMap, number: int) -> int:
    """One label by scikit-image's marching cubes and trimesh's Taubin filter, as they come.

    Returns:
        The number of triangles.
    """
    trimesh = needed("trimesh")
    marching_cubes = needed("skimage.measure").marching_cubes
    mask = np.pad(labels.voxels == number, 1)
    vertices, faces, _, _ = marching_cubes(mask, 0.5, spacing=labels.spacing_mm)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    trimesh.smoothing.filter_taubin(mesh)
    return len(mesh.faces)


def needed(name: str) -> Any:
    """A module that only the benchmark needs.

    Raises:
        SystemExit: it is not there; says how to get it.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        raise SystemExit(
            f"The benchmark of surfaces needs {package}: install nephra-smoothing[bench]."
        ) from error


def chosen(labels: LabelMap, count: int) -> list[int]:
    """Labels that stand for all: evenly spread over them, by their size."""
    by_size = sorted(labels.present, key=lambda n: labels.counts[n])
    spread = np.linspace(0, len(by_size), min(count, len(by_size)), endpoint=False)
    half = len(by_size) / (2 * max(len(spread), 1))
    return [by_size[int(place + half)] for place in spread]
