"""How near surfaces lie to those that were voxelised: distance, and angle between normals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nephra_contract import labels as names
from nephra_contract.nifti import read_labels
from nephra_contract.volume import LabelMap
from nephra_serving.figures import Cases, Figure
from nephra_smoothing.bench.inspection import Smoothed, inspect, is_tube, load_engines, smooth
from nephra_smoothing.surface import Surface, polydata

_SAMPLES = 10_000
_CUT_VOXELS = 2
#: Above this ratio of the largest spacing to the smallest, slices are thick.
_THICK = 2.0
#: Distance in mm and angle in degrees for organs, by whether slices are thick.
_GOALS = {False: (0.16, 10.0), True: (0.40, 17.0)}


def phantoms(cases: Cases) -> Iterator[Figure]:
    """All phantoms of a folder that have their true surfaces beside them, by spacing."""
    load_engines()
    groups: dict[tuple[float, ...], list[Path]] = {}
    for path in sorted((cases.drawn / "phantoms").glob("*/mask.nii.gz")):
        spacing = tuple(round(s, 2) for s in read_labels(path).spacing_mm)
        groups.setdefault(spacing, []).append(path)
    for spacing, paths in groups.items():
        yield from _spacing(spacing, paths)


def _spacing(spacing: tuple[float, ...], paths: list[Path]) -> Iterator[Figure]:
    topic = "smoothing, true surfaces, voxels of {:g} x {:g} x {:g} mm".format(*spacing)
    scenes: list[tuple[LabelMap, Smoothed]] = []
    found: dict[bool, list[tuple[str, NDArray[np.float64]]]] = {True: [], False: []}
    for path in paths:
        labels = read_labels(path)
        made = smooth(labels)
        scenes.append((labels, made))
        for mesh in made.scene.meshes:
            truth = path.parent / "surfaces" / f"{names.name_of(mesh.label)}.npz"
            if truth.is_file():
                surface = Surface(mesh.vertices, mesh.faces.astype(np.int64))
                errors = compare(surface, _read(truth), labels)
                found[is_tube(mesh.label)].append((names.name_of(mesh.label), errors))
    goals = _GOALS[max(spacing) > _THICK * min(spacing)]
    yield from _figures(topic, "organs", found[False], goals)
    yield from _figures(topic, "tubes", found[True], (None, None))
    yield from inspect(topic, scenes)


def _figures(
    topic: str, kind: str, found: list[tuple[str, NDArray[np.float64]]],
    goals: tuple[float | None, float | None],
) -> Iterator[Figure]:  # fmt: skip
    if not found:
        return
    whose, values = [name for name, _ in found], np.array([errors for _, errors in found])
    columns = (
        ("mean distance to the truth", "mm", goals[0]),
        ("mean distance, both ways", "mm", None),
        ("mean angle between normals", "degrees", goals[1]),
    )
    for column, (name, unit, goal) in enumerate(columns):
        worst = int(values[:, column].argmax())
        note = f"largest {values[worst, column]:.3g}, {whose[worst]}"
        yield Figure(
            topic, f"{name}, {kind}", float(values[:, column].mean()), unit, goal, "less",
            len(found), note,
        )  # fmt: skip


def compare(made: Surface, true: Surface, grid: LabelMap) -> NDArray[np.float64]:
    """Hold a surface against the true one.

    Points are spread evenly over the surface that was made; each is compared with the nearest
    point of the true one, the normal of its triangle with the normal there. Where the grid ends
    the mask was cut, and the truth goes on: points near there are left out.

    Returns:
        (3,) mean distance from the made surface to the true one, mean of both ways, mm; mean
        angle, degrees.
    """
    from scipy.spatial import cKDTree

    points, normals = _spread(made)
    seen = _within(points, grid)
    points, normals = points[seen], normals[seen]
    there = _distances(points, true).mean()
    targets = true.points[:: max(len(true.points) // _SAMPLES, 1)]
    back = _distances(targets[_within(targets, grid)], made).mean()
    _, nearest = cKDTree(true.points).query(points)
    cosine = np.einsum("ij,ij->i", normals, true.normals[nearest])
    angle = np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean()
    return np.array([there, (there + back) / 2, angle])


def _within(points: NDArray[np.float64], grid: LabelMap) -> NDArray[np.bool_]:
    """Which points lie further than `_CUT_VOXELS` from where the grid ends."""
    inverse = np.linalg.inv(grid.affine)
    index = points @ inverse[:3, :3].T + inverse[:3, 3]
    inside = (index > _CUT_VOXELS) & (index < np.array(grid.shape) - 1 - _CUT_VOXELS)
    return np.asarray(inside.all(axis=1))


def _spread(surface: Surface) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N, 3) points by area, and the normals of their triangles."""
    rng = np.random.default_rng(1)
    area = np.linalg.norm(surface.across, axis=1)
    face = rng.choice(len(area), _SAMPLES, p=area / area.sum())
    u, v = rng.random((2, _SAMPLES, 1))
    over = u + v > 1
    u, v = np.where(over, 1 - u, u), np.where(over, 1 - v, v)
    a, b, c = np.moveaxis(surface.points[surface.faces[face]], 1, 0)
    return a + u * (b - a) + v * (c - a), surface.across[face] / area[face, None]


def _distances(points: NDArray[np.float64], surface: Surface) -> NDArray[np.float64]:
    from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
    from vtkmodules.vtkCommonCore import vtkDoubleArray
    from vtkmodules.vtkFiltersCore import vtkImplicitPolyDataDistance

    distance, found = vtkImplicitPolyDataDistance(), vtkDoubleArray()
    distance.SetInput(polydata(surface))
    distance.FunctionValue(numpy_to_vtk(np.ascontiguousarray(points)), found)
    return np.asarray(np.abs(vtk_to_numpy(found)), dtype=np.float64)


def _read(path: Path) -> Surface:
    with np.load(path) as stored:
        return Surface(stored["vertices"].astype(np.float64), stored["faces"].astype(np.int64))
