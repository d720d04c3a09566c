"""What surfaces cost: a whole body, KiTS patients, segmentations of real CTs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nephra_contract.labels import LabelSpace
from nephra_contract.nifti import read_labels
from nephra_contract.scene import Scene
from nephra_contract.scene_files import write_scene
from nephra_contract.sides import assign_sides
from nephra_contract.volume import LabelMap
from nephra_serving.figures import Cases, Cost, Figure, measured
from nephra_smoothing.bench.inspection import Smoothed, inspect, load_engines, smooth
from nephra_smoothing.bench.peer import chosen, march

#: If set, the peer runs on every label, not on some that stand for all.
_WHOLE_PEER = "NEPHRA_BENCH_WHOLE_PEER"
_PEER_LABELS = 9
_BODY_CPU_S, _BODY_MIB, _BODY_FACTOR = 15.0, 572.0, 20.0  # 0.6 GB
_KITS_CPU_S = 2.5
_TREE_CPU_S, _TREE_MIB = 8.0, 400.0
#: The body's voxels are meshed once more as if they were of this size: ratios of 1 and of 3.75.
_OTHER_SPACINGS = ((0.8, 0.8, 0.8), (0.8, 0.8, 3.0))
_FINE_MM = 0.8
_SEGMENTATIONS: tuple[tuple[str, LabelSpace], ...] = (
    ("ts_example_ct_seg_v1", "totalseg_v1"),
    ("ts_example_ct_sm_seg_v2", "totalseg_v2"),
)


def body(cases: Cases) -> Iterator[Figure]:
    """117 labels: the operation, the files, and the usual way for comparison."""
    path = cases.drawn / "large" / "body.nii.gz"
    if not path.is_file():
        return
    load_engines()
    labels = read_labels(path)
    topic = _topic(labels)
    made, cost = measured(smooth, labels)
    yield from _costs(topic, cost, None if cases.quick else (_BODY_CPU_S, _BODY_MIB))
    yield from inspect(topic, [(labels, made)])
    yield from _writing(topic, made)
    yield from _peer(topic, labels, cost, cases.quick)
    for spacing_mm in () if cases.quick else _OTHER_SPACINGS:
        other = LabelMap(labels.voxels, np.diag([*spacing_mm, 1.0]))
        made, cost = measured(smooth, other)
        yield from _costs(_topic(other), cost, (_BODY_CPU_S, _BODY_MIB))
        yield from inspect(_topic(other), [(other, made)])


def tree(cases: Cases) -> Iterator[Figure]:
    """One label that is a whole arterial tree: it fills little of its box."""
    path = cases.drawn / "large" / "tree.nii.gz"
    if not path.is_file():
        return
    load_engines()
    topic = "smoothing, whole arterial tree"
    labels = read_labels(path)
    made, cost = measured(smooth, labels)
    yield from _costs(topic, cost, None if cases.quick else (_TREE_CPU_S, _TREE_MIB))
    yield from inspect(topic, [(labels, made)])


def kits(cases: Cases) -> Iterator[Figure]:
    """Each patient's kidneys, tumours and cysts."""
    if cases.real is None:
        return
    load_engines()
    topic = "smoothing, KiTS patients"
    paths = sorted((cases.real / "masks" / "kits23").glob("*.nii.gz"))
    scenes: list[tuple[LabelMap, Smoothed]] = []
    costs: list[tuple[float, float, str]] = []
    for path in paths[:2] if cases.quick else paths:
        labels = assign_sides(read_labels(path, "kits"))
        made, cost = measured(smooth, labels)
        scenes.append((labels, made))
        costs.append((cost.cpu_s, cost.added_mib or np.nan, path.name.split(".")[0]))
    if not costs:
        return
    each = ", ".join(f"{name[-5:]} {cpu_s:.2f}" for cpu_s, _, name in costs)
    worst = max(costs)[0]
    yield Figure(topic, "operation, slowest", worst, "CPU s", _KITS_CPU_S, "less", len(costs), each)
    yield Figure(topic, "added memory, most", max(c[1] for c in costs), "MiB", None, "less")
    yield from inspect(topic, scenes)


def segmentations(cases: Cases) -> Iterator[Figure]:
    """Reference masks of real CTs, as they are and on a grid of 0.8 mm."""
    if cases.real is None:
        return
    load_engines()
    for name, space in _SEGMENTATIONS[1:] if cases.quick else _SEGMENTATIONS:
        labels = read_labels(cases.real / "ct" / f"{name}.nii.gz", space)
        for one in (labels, _fine(labels)):
            topic = f"smoothing, {name}, {one.spacing_mm[0]:g} mm"
            made, cost = measured(smooth, one)
            yield from _costs(topic, cost, None)
            yield from inspect(topic, [(one, made)])


def _costs(topic: str, cost: Cost, goals: tuple[float, float] | None) -> Iterator[Figure]:
    cpu_s, mib = goals or (None, None)
    yield Figure(topic, "operation: mask to meshes", cost.cpu_s, "CPU s", cpu_s, "less")
    yield Figure(topic, "operation, added memory", cost.added_mib, "MiB", mib, "less")


def _writing(topic: str, made: Smoothed) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory(prefix="nephra-bench-") as folder:
        _, cost = measured(_write, Path(folder), made.scene)
    yield Figure(topic, "writing OBJ, MTL and GLB, read back", cost.cpu_s, "CPU s", None, "less")
    yield Figure(topic, "writing, added memory", cost.added_mib, "MiB", None, "less")


def _write(folder: Path, scene: Scene) -> None:
    write_scene(folder, scene, "scene")


def _peer(topic: str, labels: LabelMap, ours: Cost, quick: bool) -> Iterator[Figure]:
    """The usual way's cost in the same run, of all labels or of some that stand for them."""
    count = 2 if quick else len(labels.present) if os.environ.get(_WHOLE_PEER) else _PEER_LABELS
    numbers = chosen(labels, count)
    spent = [measured(march, labels, number)[1] for number in numbers]
    every_s = float(np.mean([c.cpu_s for c in spent]) * len(labels.present))
    note = "measured on every label"
    if len(numbers) < len(labels.present):
        note = f"from {len(numbers)} labels of all sizes, times {len(labels.present)} labels"
    yield Figure(
        topic, "marching cubes + Taubin, whole volume", every_s, "CPU s", None, "less",
        len(numbers), note,
    )  # fmt: skip
    mib = max(c.added_mib or 0.0 for c in spent)
    yield Figure(topic, "marching cubes + Taubin, added memory", mib, "MiB", None, "less")
    goal = None if quick else _BODY_FACTOR
    yield Figure(topic, "times less CPU than that", every_s / ours.cpu_s, "", goal, "more")


def _topic(labels: LabelMap) -> str:
    shape = " x ".join(str(n) for n in labels.shape)
    spacing = " x ".join(f"{s:.3g}" for s in labels.spacing_mm)
    return f"smoothing, {len(labels.present)} labels, {shape} of {spacing} mm"


def _fine(labels: LabelMap) -> LabelMap:
    """The same mask by nearest neighbours on a grid of 0.8 mm."""
    factor = np.array(labels.spacing_mm) / _FINE_MM
    count = np.round(np.array(labels.shape) * factor).astype(int)
    index = [
        np.minimum(((np.arange(c) + 0.5) / f).astype(int), n - 1)
        for c, f, n in zip(count, factor, labels.shape, strict=True)
    ]
    affine = labels.affine.copy()
    affine[:3, :3] /= factor
    affine[:3, 3] -= affine[:3, :3] @ (factor - 1) / 2
    return LabelMap(labels.voxels[np.ix_(*index)], affine)
