"""True surfaces and centre lines agree with the truth in voxels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import label as components

from nephra_contract.volume import LabelMap
from nephra_phantom import Grid, Phantom


@pytest.mark.parametrize(("label", "tolerance"), [(2, 0.02), (3, 0.02), (21, 0.02), (201, 0.05)])
def test_surface_encloses_the_truth(
    phantom: Phantom, truth: LabelMap, label: int, tolerance: float
) -> None:
    """Volume within the surface is the voxels' volume."""
    surface = phantom.surface(label, 1.0)
    expected = truth.volumes_ml()[label] * 1000
    assert surface.volume_mm3 == pytest.approx(expected, rel=tolerance)


def test_surface_lies_where_the_label_is(phantom: Phantom, truth: LabelMap) -> None:
    """The surface's middle is the label's middle, in world mm."""
    vertices = phantom.surface(3, 1.5).vertices
    where = truth.to_world(np.argwhere(truth.voxels == 3))
    assert np.abs(vertices.min(axis=0) - where.min(axis=0)).max() < 3.0
    assert np.abs(vertices.max(axis=0) - where.max(axis=0)).max() < 3.0


def test_surface_is_closed(phantom: Phantom) -> None:
    """Each edge belongs to two triangles, once in each direction."""
    faces = phantom.surface(201, 1.5).faces
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    forward = {tuple(edge) for edge in edges.tolist()}
    assert len(forward) == len(edges)
    assert all((b, a) in forward for a, b in forward)


def test_surface_of_absent_label_is_refused(phantom: Phantom) -> None:
    """Asked for what is not there, it says so."""
    with pytest.raises(ValueError, match="label 117"):
        phantom.surface(117)


def test_centerlines_run_inside_their_tubes(phantom: Phantom, truth: LabelMap) -> None:
    """Points of each centre line carry the label of the tube or of what covers it."""
    inverse = np.linalg.inv(truth.affine)
    expected = {
        "aorta": (52,),
        "inferior_vena_cava": (63, 52, 203, 5),
        "ureter_right": (206, 208, 21),
    }
    for name, labels in expected.items():
        for line in phantom.centerlines()[name]:
            index = line.points @ inverse[:3, :3].T + inverse[:3, 3]
            inside = np.all((index > 0) & (index < np.array(truth.shape) - 1), axis=1)
            i, j, k = np.rint(index[inside]).astype(int).T
            assert np.isin(truth.voxels[i, j, k], labels).mean() > 0.85


def test_every_tube_has_a_centerline_with_radius(phantom: Phantom) -> None:
    """Vessels, pelves and ureters of both sides are there, radii positive."""
    lines = phantom.centerlines("D")
    for side in ("right", "left"):
        for kind in ("renal_artery", "renal_vein", "ureter", "renal_pelvis"):
            assert lines[f"{kind}_{side}"]
    for tubes in lines.values():
        for tube in tubes:
            assert len(tube.points) == len(tube.radii)
            assert tube.radii.min() > 0


@pytest.mark.parametrize("labels", [(52, 203), (206, 208, 207, 21), (63, 204)])
def test_tubes_are_connected(phantom: Phantom, labels: tuple[int, ...]) -> None:
    """Arterial, venous and urinary trees are one piece each, but for crumbs under lesions."""
    affine = np.diag([1.2, 1.2, 1.2, 1.0])
    affine[:3, 3] = (-115, -85, -148)
    fine = phantom.labels(Grid((192, 110, 246), affine))
    found, count = components(fine.mask(labels), np.ones((3, 3, 3)))
    assert count >= 1
    sizes = np.bincount(found.ravel())[1:]
    assert sizes.max() / sizes.sum() > 0.97
