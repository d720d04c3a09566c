"""Voxels and their affine."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from nephra_contract.errors import GeometryRefused
from nephra_contract.testing import ORIENTATIONS, reorient
from nephra_contract.volume import (
    LabelMap,
    Volume,
    bounding_box,
    check_affine,
    corners,
    orthonormal,
)


def _sheared(amount: float) -> NDArray[np.float64]:
    affine = np.diag([0.8, 0.8, 2.0, 1.0])
    affine[0, 1] = amount * 0.8
    return affine


def test_spacing_and_voxel_volume_come_from_the_affine(image: Volume) -> None:
    """In millimetres, for turned grids too."""
    assert image.spacing_mm == pytest.approx((2.0, 1.5, 5.0))
    for orientation in ORIENTATIONS:
        turned = reorient(image, orientation)
        assert sorted(turned.spacing_mm) == pytest.approx([1.5, 2.0, 5.0])
        assert turned.voxel_volume_mm3 == pytest.approx(15.0)


def test_a_sheared_voxel_has_the_volume_of_its_determinant() -> None:
    """Not of the product of its edges."""
    volume = Volume(np.zeros((2, 2, 2)), _sheared(0.5))
    assert volume.voxel_volume_mm3 == pytest.approx(0.8 * 0.8 * 2.0)


def test_counts_masks_and_volumes_agree(labels: LabelMap) -> None:
    """Each label's voxels, however they are asked for."""
    for number, count in labels.counts.items():
        assert labels.mask([number]).sum() == count == (labels.voxels == number).sum()
        expected_ml = count * labels.voxel_volume_mm3 / 1000
        assert labels.volumes_ml()[number] == pytest.approx(expected_ml)
    assert 0 not in labels.counts
    assert not labels.mask([]).any()
    assert not labels.mask([9999]).any()


def test_a_crop_stays_where_it_was(labels: LabelMap) -> None:
    """World positions do not move."""
    box = bounding_box(labels.mask([201]), margin=1)
    assert box is not None
    part = labels.crop(box)
    whole_mm = labels.to_world(np.argwhere(labels.voxels == 201))
    part_mm = part.to_world(np.argwhere(part.voxels == 201))
    np.testing.assert_allclose(part_mm, whole_mm)


def test_the_box_of_nothing_is_none() -> None:
    """An empty mask has no box; a full one has the whole grid, margin or not."""
    assert bounding_box(np.zeros((3, 3, 3), bool)) is None
    full = bounding_box(np.ones((3, 4, 5), bool), margin=2)
    assert full == (slice(0, 3), slice(0, 4), slice(0, 5))


def test_grids_are_compared_by_their_corners(image: Volume) -> None:
    """Shape and place, with a tolerance in mm."""
    shifted = image.affine.copy()
    shifted[0, 3] += 0.01
    assert image.same_grid(image.like(image.voxels + 1))
    assert not image.same_grid(Volume(image.voxels, shifted))
    assert image.same_grid(Volume(image.voxels, shifted), tolerance_mm=0.1)
    assert not image.same_grid(Volume(image.voxels[:-1], image.affine))
    assert corners(image).shape == (8, 3)


@pytest.mark.parametrize(
    ("affine", "code"),
    [
        (np.diag([0.0, 1, 1, 1]), "spacing_zero"),
        (np.diag([np.nan, 1, 1, 1]), "affine_not_finite"),
        (np.diag([np.inf, 1, 1, 1]), "affine_not_finite"),
        (np.array([[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "affine_singular"),
    ],
)
def test_affines_that_map_no_grid_are_refused(affine: NDArray[np.float64], code: str) -> None:
    """With the finding as code."""
    with pytest.raises(GeometryRefused) as error:
        check_affine(affine)
    assert error.value.code == code


def test_a_hair_of_shear_is_repaired_and_more_is_refused() -> None:
    """Rounded headers pass; a tilted gantry does not."""
    repaired = orthonormal(_sheared(5e-4))
    directions = repaired[:3, :3] / np.linalg.norm(repaired[:3, :3], axis=0)
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-12)
    with pytest.raises(GeometryRefused) as error:
        orthonormal(_sheared(0.1))
    assert error.value.code == "affine_sheared"


def test_mirrored_and_turned_grids_are_orthonormal_as_they_are(image: Volume) -> None:
    """Left-handed grids are no shear."""
    for orientation in ORIENTATIONS:
        affine = reorient(image, orientation).affine
        np.testing.assert_allclose(orthonormal(affine), affine, atol=1e-9)


def test_only_three_axes_and_only_integers_in_label_maps() -> None:
    """Misuse in code is a ValueError."""
    with pytest.raises(ValueError, match="three axes"):
        Volume(np.zeros((2, 2)), np.eye(4))
    with pytest.raises(ValueError, match="integers"):
        LabelMap(np.zeros((2, 2, 2)), np.eye(4))
