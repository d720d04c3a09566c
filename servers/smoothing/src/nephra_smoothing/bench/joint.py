"""Method `joint`: its cost on a whole body, and what is between neighbours: nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from nephra_contract.nifti import read_labels
from nephra_contract.progress import Progress
from nephra_contract.scene import Scene
from nephra_contract.sides import assign_sides
from nephra_contract.volume import LabelMap
from nephra_serving.figures import Cases, Figure, measured
from nephra_smoothing.bench.inspection import Smoothed, inspect, load_engines
from nephra_smoothing.operations.base import Base, base

_BODY_MIB = 2048.0


def joint(cases: Cases) -> Iterator[Figure]:
    """All structures at once: a whole body, then each KiTS patient."""
    load_engines()
    path = cases.drawn / "large" / "body.nii.gz"
    if path.is_file():
        labels = read_labels(path)
        topic = f"joint, {len(labels.present)} labels, {' x '.join(map(str, labels.shape))}"
        yield from _figures(topic, [labels], None if cases.quick else _BODY_MIB)
    if cases.real is not None:
        paths = sorted((cases.real / "masks" / "kits23").glob("*.nii.gz"))
        paths = paths[:2] if cases.quick else paths
        masks = [assign_sides(read_labels(p, "kits")) for p in paths]
        yield from _figures("joint, KiTS patients", masks, None)


def _figures(topic: str, masks: list[LabelMap], most_mib: float | None) -> Iterator[Figure]:
    made, costs = [], []
    for labels in masks:
        found, cost = measured(_smooth, labels)
        made.append((labels, found))
        costs.append(cost)
    if not costs:
        return
    count = len(costs)
    cpu_s, mib = max(c.cpu_s for c in costs), max(c.added_mib or 0.0 for c in costs)
    yield Figure(topic, "operation, slowest", cpu_s, "CPU s", None, "less", count)
    yield Figure(topic, "added memory, most", mib, "MiB", most_mib, "less", count)
    yield from inspect(topic, made)
    apart = max(_apart(found.scene) for _, found in made)
    yield Figure(
        topic, "gaps and overlaps, share of all volume", 100 * apart, "%", 1e-6, "less", count,
        "what the faces that only one structure has enclose, less the sum of all structures",
    )  # fmt: skip
    shared = [_shared(found.scene) for _, found in made]
    yield Figure(topic, "faces that two structures share", 100 * float(np.mean(shared)), "%")


def _smooth(labels: LabelMap) -> Smoothed:
    outcome = base(labels, Base(method="joint"), Progress())
    return Smoothed(outcome.value, tuple(outcome.warnings))


def _apart(scene: Scene) -> float:
    """How much the union's volume, by its own faces, differs from the sum of all structures.

    Faces that two structures have, to the last bit, are not of the union. What is left is
    closed, and encloses the sum, if and only if nothing lies between structures or in two.
    """
    corners, shared = _faces(scene)
    a, b, c = np.moveaxis(corners[~shared] - corners.mean(axis=(0, 1)), 1, 0)
    union = float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)
    every = sum(m.volume_mm3 for m in scene.meshes)
    open_ = float(np.abs(np.cross(b - a, c - a).sum(axis=0)).max())
    return max(abs(union / every - 1), open_ / every)


def _shared(scene: Scene) -> float:
    """The share of faces that another structure has, too."""
    return float(_faces(scene)[1].mean())


def _faces(scene: Scene) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(M, 3, 3) corners of all faces in mm, and (M,) whether two structures have them."""
    corners = np.concatenate([m.vertices[m.faces] for m in scene.meshes])
    order = np.lexsort(np.moveaxis(corners, 2, 0).reshape(3, -1))
    ranked = corners.reshape(-1, 3)[order]
    new = np.concatenate([[True], (ranked[1:] != ranked[:-1]).any(axis=1)])
    number = np.empty(len(order), np.int64)
    number[order] = np.cumsum(new) - 1
    faces = np.sort(number.reshape(-1, 3), axis=1)
    _, first, times = np.unique(faces, axis=0, return_inverse=True, return_counts=True)
    return corners, times[first.reshape(-1)] > 1
