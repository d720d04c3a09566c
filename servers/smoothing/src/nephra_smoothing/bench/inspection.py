"""What is looked at in every surface: whether it is sound, and whether it has its volume."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nephra_contract import labels as names
from nephra_contract.progress import Progress
from nephra_contract.scene import Mesh, Scene
from nephra_contract.volume import LabelMap
from nephra_serving.figures import Figure
from nephra_smoothing.bench.peer import needed
from nephra_smoothing.operations.base import Base, base
from nephra_smoothing.soundness import is_sound
from nephra_smoothing.surface import Surface

_TUBES = ("artery", "vein", "urinary")
_ORGAN_PERCENT, _TUBE_PERCENT = 2.0, 5.0


@dataclass(frozen=True)
class Smoothed:
    """What the operation makes of a mask.

    Args:
        scene: its surfaces.
        warnings: what it says that they lack.
    """

    scene: Scene
    warnings: tuple[str, ...]


def smooth(labels: LabelMap) -> Smoothed:
    """The operation with its defaults: a mask in memory to surfaces in memory."""
    outcome = base(labels, Base(), Progress())
    return Smoothed(outcome.value, tuple(outcome.warnings))


def load_engines() -> None:
    """Load what the operation loads at its first request; forks stay safe, as nothing is run."""
    import cc3d  # noqa: F401
    import fast_simplification  # noqa: F401
    import scipy.ndimage
    import scipy.sparse.csgraph
    import scipy.spatial  # noqa: F401
    import vtkmodules.util.numpy_support
    import vtkmodules.vtkFiltersCore  # noqa: F401


def is_tube(number: int) -> bool:
    """Whether a label is a vessel or a ureter."""
    label = names.table().get(number)
    return label is not None and label.group in _TUBES and number != names.URINARY_BLADDER


def sound(mesh: Mesh) -> bool:
    """Closed, 2-manifold, consistently wound and outward, judged by trimesh and by ourselves."""
    trimesh = needed("trimesh")
    seen = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    return bool(
        seen.is_watertight
        and seen.is_winding_consistent
        and seen.volume > 0
        and is_sound(Surface(mesh.vertices, mesh.faces))
    )


def inspect(topic: str, scenes: list[tuple[LabelMap, Smoothed]]) -> Iterator[Figure]:
    """The share of sound surfaces, and the largest errors of volume, over some masks."""
    meshes = [(labels, mesh) for labels, made in scenes for mesh in made.scene.meshes]
    broken = [names.name_of(m.label) for _, m in meshes if not sound(m)]
    share = 100 * (1 - len(broken) / max(len(meshes), 1))
    yield Figure(
        topic, "closed, manifold, outward", share, "%", 100.0, "more", len(meshes),
        ", ".join(broken[:5]),
    )  # fmt: skip
    wanted = sum(len(labels.present) for labels, _ in scenes)
    yield Figure(topic, "labels without a surface", wanted - len(meshes), "", 0, "less", wanted)
    for name, tubes, goal in [
        ("organs", False, _ORGAN_PERCENT),
        ("tubes", True, _TUBE_PERCENT),
    ]:
        errors = [
            (abs(100 * (m.volume_mm3 / _mask_mm3(labels, m) - 1)), names.name_of(m.label))
            for labels, m in meshes
            if is_tube(m.label) is tubes
        ]
        if errors:
            worst, whose = max(errors)
            yield Figure(
                topic, f"largest error of volume, {name}", worst, "%", goal, "less", len(errors),
                whose,
            )  # fmt: skip
    warnings = [w for _, made in scenes for w in made.warnings]
    yield Figure(
        topic, "warnings of the operation", len(warnings), "", None, "less", 1,
        " ".join(warnings[:3]),
    )  # fmt: skip
    faces = sum(len(m.faces) for _, m in meshes)
    yield Figure(topic, "triangles", faces, "", None, "less", len(meshes))


def _mask_mm3(labels: LabelMap, mesh: Mesh) -> float:
    return labels.counts[mesh.label] * labels.voxel_volume_mm3
