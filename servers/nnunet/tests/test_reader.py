from __future__ import annotations

import gzip
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nephra_contract.errors import (
    FileMissing,
    FileUnreadable,
    GeometryRefused,
    NephraError,
    TooLarge,
    VoxelsRefused,
)
from nephra_contract.nifti import read_image
from nephra_nnunet.reader import Reader


def _affines() -> list[Any]:
    """All 48 orders and directions of axes, anisotropic; and oblique ones."""
    found = []
    for order in permutations(range(3)):
        for signs in product((1, -1), repeat=3):
            affine = np.eye(4)
            affine[:3, :3] = np.eye(3)[:, order] * signs * np.array([0.7, 1.3, 4.9])
            affine[:3, 3] = [-31.5, 12.25, 88.0]
            found.append(affine)
    for angle in (3.0, 27.0, 61.0):
        oblique = found[len(found) % 48].copy()
        oblique[:3, :3] = Rotation.from_euler("xyz", [angle, -angle, 10], True).as_matrix() * [
            0.8, 0.8, 5,
        ]  # fmt: skip
        found.append(oblique)
    return found


def _draw(dtype: str = "int16") -> Any:
    return np.random.default_rng(0).integers(-1000, 2000, (5, 6, 7)).astype(dtype)


@pytest.mark.parametrize("affine", _affines())
def test_both_readers_see_the_same_image(affine: Any, tmp_path: Path) -> None:
    """SimpleITK here and nibabel elsewhere agree on voxels, and on where they lie."""
    path = tmp_path / "ct.nii.gz"
    nib.save(nib.Nifti1Image(_draw(), affine), path)
    ours, theirs = Reader().read(path), read_image(path)
    assert np.array_equal(ours.voxels, theirs.voxels)
    assert ours.same_grid(theirs)
    assert np.allclose(ours.affine, affine, atol=1e-5)


def test_simpleitk_itself_places_the_voxels_there(tmp_path: Path) -> None:
    """ITK's own point of a voxel, turned from LPS to RAS, is ours."""
    import SimpleITK as sitk  # noqa: N813

    for number, affine in enumerate(_affines()):
        path = tmp_path / f"{number}.nii"
        nib.save(nib.Nifti1Image(_draw(), affine), path)
        point = sitk.ReadImage(str(path)).TransformIndexToPhysicalPoint((4, 2, 5))
        expected = Reader().read(path).to_world(np.array([[4, 2, 5]]))[0]
        assert np.allclose(np.array(point) * [-1, -1, 1], expected, atol=1e-3)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "float32", ">i2"])
def test_stored_types_stay_as_they_are(dtype: str, tmp_path: Path) -> None:
    """Integers are not turned into floats; byte order does not matter."""
    path = tmp_path / "ct.nii.gz"
    stored = (_draw() % 100).astype(dtype)
    nib.save(nib.Nifti1Image(stored, np.eye(4)), path)
    voxels = Reader().read(path).voxels
    assert voxels.dtype == np.dtype(dtype).newbyteorder("=")
    assert np.array_equal(voxels, stored)


def test_scaled_values_are_unscaled(tmp_path: Path) -> None:
    """Slope and intercept are applied, as every reader of the project does."""
    path = tmp_path / "ct.nii.gz"
    image = nib.Nifti1Image(_draw(), np.eye(4))
    image.header.set_slope_inter(2, -1024)
    path.write_bytes(gzip.compress(image.to_bytes()))
    assert np.allclose(Reader().read(path).voxels, _draw() * 2.0 - 1024)


def test_each_decoding_is_counted(tmp_path: Path) -> None:
    """A test elsewhere holds requests to one read."""
    path = tmp_path / "ct.nii.gz"
    nib.save(nib.Nifti1Image(_draw(), np.eye(4)), path)
    reader = Reader()
    reader.read(path)
    reader.read(path)
    assert reader.reads[path] == 2


def test_nearly_right_angles_are_repaired_and_shear_is_refused(tmp_path: Path) -> None:
    """Rounding in a header is no shear."""
    for skew, refused in ((2e-4, False), (0.05, True)):
        affine = np.diag([1.0, 1, 2, 1])
        affine[0, 1] = skew
        path = tmp_path / f"{skew}.nii.gz"
        nib.save(nib.Nifti1Image(_draw(), affine), path)
        if refused:
            with pytest.raises(GeometryRefused, match="sheared"):
                Reader().read(path)
        else:
            linear = Reader().read(path).affine[:3, :3]
            assert np.allclose(linear.T @ linear, np.diag([1, 1, 4]), atol=1e-9)


def _damage(whole: bytes, kind: str) -> bytes:
    content = gzip.decompress(whole)
    return {
        "empty": b"",
        "text": b"this is no image" * 40,
        "cut_tail": whole[:-20],
        "cut_middle": whole[: len(whole) // 2],
        "cut_voxels": gzip.compress(content[:-40]),
        "flipped_bits": gzip.compress(content)[:-8] + bytes(8),
        "plain_cut": content[:-40],
    }[kind]


@pytest.mark.parametrize(
    "kind",
    ["empty", "text", "cut_tail", "cut_middle", "cut_voxels", "flipped_bits", "plain_cut"],
)
def test_damaged_files_are_refused(kind: str, tmp_path: Path) -> None:
    """ITK alone would fill up with zeros and say nothing."""
    path = tmp_path / "ct.nii.gz"
    nib.save(nib.Nifti1Image(_draw(), np.eye(4)), path)
    path.write_bytes(_damage(path.read_bytes(), kind))
    with pytest.raises(FileUnreadable) as caught:
        Reader().read(path)
    assert str(tmp_path) not in caught.value.detail


def _bad_image(kind: str) -> Any:
    if kind == "nan":
        values = _draw("float32")
        values[1, 2, 3] = np.nan
        return nib.Nifti1Image(values, np.eye(4))
    if kind == "four_axes":
        return nib.Nifti1Image(np.zeros((4, 4, 4, 2), np.int16), np.eye(4))
    if kind == "flat":
        return nib.Nifti1Image(np.zeros((4, 4, 1), np.int16), np.eye(4))
    colour = np.zeros((4, 4, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    return nib.Nifti1Image(colour, np.eye(4))


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("nan", VoxelsRefused),
        ("four_axes", GeometryRefused),
        ("flat", GeometryRefused),
        ("colour", VoxelsRefused),
    ],
)
def test_what_is_no_ct_is_refused(kind: str, error: type[NephraError], tmp_path: Path) -> None:
    """Each has its own kind of error."""
    path = tmp_path / "ct.nii.gz"
    nib.save(_bad_image(kind), path)
    with pytest.raises(error):
        Reader().read(path)


def test_a_large_header_is_refused_before_the_file_is_unpacked(tmp_path: Path) -> None:
    """The limit holds for what the header announces."""
    path = tmp_path / "ct.nii.gz"
    nib.save(nib.Nifti1Image(_draw(), np.eye(4)), path)
    reader = Reader(max_voxels=100)
    with pytest.raises(TooLarge):
        reader.read(path)
    assert not reader.reads


def test_a_file_that_has_gone_is_said_to_have_gone(tmp_path: Path) -> None:
    """Not found, never a defect."""
    with pytest.raises(FileMissing):
        Reader().read(tmp_path / "none.nii.gz")


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["ts_example_ct", "cptac_C3L-00189"])
def test_real_cts_are_read_alike(name: str, real_data: Path) -> None:
    """int32, and descending slices padded with -3024."""
    path = real_data / "ct" / f"{name}.nii.gz"
    ours, theirs = Reader().read(path), read_image(path)
    assert np.array_equal(ours.voxels, theirs.voxels)
    assert ours.same_grid(theirs)
