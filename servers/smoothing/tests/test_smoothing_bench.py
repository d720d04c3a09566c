"""What the benchmark of surfaces says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh

from nephra_contract import labels as names
from nephra_contract.nifti import write_labels
from nephra_contract.scene import Mesh
from nephra_contract.volume import LabelMap
from nephra_serving.figures import Cases
from nephra_smoothing.bench.cost import body, tree
from nephra_smoothing.bench.inspection import sound
from nephra_smoothing.bench.peer import chosen, needed
from nephra_smoothing.bench.truth import phantoms

LIVER, AORTA = names.numbers()["liver"], names.AORTA
SPACING_MM, RADIUS_MM = 0.8, 12.0


def ball() -> LabelMap:
    """A liver that is a ball about the origin, and a straight aorta beside it."""
    affine = np.diag([SPACING_MM] * 3 + [1.0])
    affine[:3, 3] = -20 * SPACING_MM
    i, j, k = (np.indices((41, 41, 41)) - 20) * SPACING_MM
    voxels = np.where(np.sqrt(i**2 + j**2 + k**2) < RADIUS_MM, LIVER, 0)
    voxels[(np.hypot(i - 13, j - 13) < 2) & (abs(k) < 12)] = AORTA
    return LabelMap(voxels.astype(np.uint8), affine)


def write_case(folder: Path, shift_mm: float) -> Cases:
    """A phantom's folder whose true liver lies `shift_mm` beside its mask."""
    home = folder / "phantoms" / "1"
    (home / "surfaces").mkdir(parents=True)
    write_labels(home / "mask.nii.gz", ball())
    true = trimesh.creation.icosphere(5, RADIUS_MM)
    vertices = true.vertices + np.array([shift_mm, 0, 0])
    np.savez(home / "surfaces" / "liver.npz", vertices=vertices, faces=true.faces)
    return Cases(folder, None, quick=True)


@pytest.mark.parametrize(("shift_mm", "near"), [(0.0, True), (1.0, False)])
def test_distance_to_the_truth_is_seen(tmp_path: Path, shift_mm: float, near: bool) -> None:
    """Half of a shift is seen in the mean, as a ball turns by a half to all sides."""
    found = {f.name: f for f in phantoms(write_case(tmp_path, shift_mm))}
    distance = found["mean distance to the truth, organs"]
    assert distance.met is near
    assert distance.value == pytest.approx(shift_mm / 2, abs=0.1)
    assert found["mean angle between normals, organs"].met
    assert found["closed, manifold, outward"].value == 100
    assert found["largest error of volume, tubes"].met


def test_cost_is_measured_beside_the_usual_way(tmp_path: Path) -> None:
    """The operation, its files and the peer come from one run; the peer is scaled to all labels."""
    (tmp_path / "large").mkdir()
    write_labels(tmp_path / "large" / "body.nii.gz", ball())
    found = {f.name: f for f in body(Cases(tmp_path, None, quick=True))}
    ours, peer = found["operation: mask to meshes"], found["marching cubes + Taubin, whole volume"]
    assert ours.value is not None
    assert peer.value is not None
    assert found["times less CPU than that"].value == pytest.approx(peer.value / ours.value)
    assert found["closed, manifold, outward"].count == 2
    assert found["writing OBJ, MTL and GLB, read back"].value is not None


def test_a_tree_is_measured_where_it_was_drawn(tmp_path: Path) -> None:
    """Its cost and its soundness, each with a figure; nothing where there is no such file."""
    cases = Cases(tmp_path, None, quick=True)
    assert not list(tree(cases))
    (tmp_path / "large").mkdir()
    write_labels(tmp_path / "large" / "tree.nii.gz", ball())
    found = {f.name: f for f in tree(cases)}
    assert found["operation: mask to meshes"].value is not None
    assert found["closed, manifold, outward"].value == 100


def test_labels_that_stand_for_all_are_of_all_sizes() -> None:
    """Small, middling and large ones, each once."""
    voxels = np.repeat(np.arange(1, 31, dtype=np.uint8), np.arange(1, 31) * 4)
    labels = LabelMap(voxels.reshape(-1, 1, 1), np.eye(4))
    assert chosen(labels, 3) == [6, 16, 26]
    assert chosen(labels, 99) == sorted(labels.present)


def test_an_open_mesh_is_not_sound() -> None:
    """A face less, or all turned inside out, is seen."""
    whole = trimesh.creation.icosphere(2)
    assert sound(Mesh(LIVER, whole.vertices, whole.faces))
    assert not sound(Mesh(LIVER, whole.vertices, whole.faces[1:]))
    assert not sound(Mesh(LIVER, whole.vertices, whole.faces[:, ::-1]))


def test_what_only_the_benchmark_needs_is_named_where_it_is_absent() -> None:
    """A sentence with the extra to install, not a stack trace."""
    with pytest.raises(
        SystemExit, match=r"needs no_such_module: install nephra-smoothing\[bench\]"
    ):
        needed("no_such_module.part")
