"""NIfTI at the border."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from nephra_contract.errors import NephraError
from nephra_contract.nifti import read_image, read_labels, write_image, write_labels
from nephra_contract.nifti_header import read_header
from nephra_contract.testing import ORIENTATIONS, reorient
from nephra_contract.volume import LabelMap, Volume

AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])


def _save(path: Path, voxels: np.ndarray[Any, Any], affine: Any = AFFINE) -> Path:
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return path


def _patched(path: Path, offset: int, content: bytes) -> Path:
    """Overwrite bytes of the header of a small uncompressed file."""
    _save(path, np.zeros((4, 4, 4), np.int16))
    raw = bytearray(path.read_bytes())
    raw[offset : offset + len(content)] = content
    path.write_bytes(bytes(raw))
    return path


def _bomb(path: Path) -> Path:
    """A few kB that announce 4 x 4 x 4 voxels and unpack to 64 MB."""
    plain = _save(path.with_name("plain.nii"), np.zeros((4, 4, 4), np.int16)).read_bytes()
    path.write_bytes(gzip.compress(plain + bytes(64 * 2**20)))
    return path


def _huge(path: Path) -> Path:
    """A header that announces 32000 x 32000 x 100 voxels, in a small file."""
    _patched(path, 40, struct.pack("<8h", 3, 32000, 32000, 100, 1, 1, 1, 1))
    packed = path.with_suffix(".nii.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    return packed


def _truncated(path: Path) -> Path:
    noise = np.random.default_rng(0).integers(-1000, 1000, (16, 16, 16)).astype(np.int16)
    whole = _save(path, noise).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return path


def _colour(path: Path) -> Path:
    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    return _save(path, np.zeros((4, 4, 4), kind))


def _with(value: float) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        voxels = np.zeros((4, 4, 4), np.float32)
        voxels[1, 2, 3] = value
        return _save(path, voxels)

    return make


def _bytes(content: bytes) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        path.write_bytes(content)
        return path

    return make


def _of_shape(*shape: int) -> Callable[[Path], Path]:
    return lambda path: _save(path, np.zeros(shape, np.int16))


BAD: list[tuple[str, str, Callable[[Path], Path], int]] = [
    ("file_empty", "a.nii.gz", _bytes(b""), 422),
    ("file_not_nifti", "a.nii.gz", _bytes(b"this is text, not an image\n" * 100), 422),
    ("file_not_nifti", "a.nii.gz", _bytes(gzip.compress(b"text in gzip " * 100)), 422),
    ("file_not_nifti", "a.nii.gz", _bytes(b"\x1f\x8bbroken"), 422),
    ("file_not_nifti", "a.nii", _bytes(b"\x00" * 400), 422),
    ("file_truncated", "a.nii.gz", _truncated, 422),
    ("file_truncated", "a.nii", _truncated, 422),
    ("file_longer_than_header", "a.nii.gz", _bomb, 422),
    ("volume_too_large", "a.nii", _huge, 413),
    ("not_three_dimensional", "a.nii.gz", _of_shape(8, 8), 422),
    ("not_three_dimensional", "a.nii.gz", _of_shape(8, 8, 1), 422),
    ("not_three_dimensional", "a.nii.gz", _of_shape(4, 4, 4, 3), 422),
    ("voxels_not_scalar", "a.nii.gz", _colour, 422),
    ("voxels_not_finite", "a.nii.gz", _with(np.nan), 422),
    ("voxels_not_finite", "a.nii.gz", _with(np.inf), 422),
    ("affine_singular", "a.nii", lambda p: _patched(p, 280, struct.pack("<8f", *[1.0] * 8)), 422),
    ("spacing_zero", "a.nii", lambda p: _patched(p, 280, bytes(48)), 422),
    ("file_not_nifti", "a.nii", lambda p: _patched(p, 40, struct.pack("<4h", 3, -4, 4, 4)), 422),
    ("file_not_nifti", "a.nii", lambda p: _patched(p, 70, struct.pack("<h", 999)), 422),
]


@pytest.mark.parametrize(("code", "name", "make", "status"), BAD)
def test_what_is_no_ct_is_refused_with_a_reason(
    tmp_path: Path, code: str, name: str, make: Callable[[Path], Path], status: int
) -> None:
    """A stable code, what to do, and no host path."""
    path = make(tmp_path / name)
    with pytest.raises(NephraError) as error:
        read_image(path)
    assert (error.value.code, error.value.status) == (code, status)
    assert error.value.action
    assert str(tmp_path) not in error.value.detail + error.value.action


def test_the_limit_is_judged_by_the_header_alone(tmp_path: Path) -> None:
    """Nothing of a volume over the limit is unpacked."""
    path = _save(tmp_path / "a.nii.gz", np.zeros((10, 10, 10), np.int16))
    assert read_header(path, max_voxels=1000).shape == (10, 10, 10)
    with pytest.raises(NephraError) as error:
        read_header(path, max_voxels=999)
    assert error.value.extra == {"voxels": 1000, "max_voxels": 999}


def test_images_come_back_as_they_were_written(tmp_path: Path, image: Volume) -> None:
    """Values, dtype and affine, in all 48 axis orders, packed or not."""
    for n, orientation in enumerate(ORIENTATIONS):
        turned = reorient(image, orientation)
        path = tmp_path / (f"{n}.nii.gz" if n % 2 else f"{n}.nii")
        write_image(path, turned)
        found = read_image(path)
        np.testing.assert_array_equal(found.voxels, turned.voxels)
        assert found.voxels.dtype == np.int16
        np.testing.assert_allclose(found.affine, turned.affine, atol=1e-5)


def test_written_masks_carry_qform_sform_and_no_scaling(tmp_path: Path, labels: LabelMap) -> None:
    """What other programs read is the same place, integers, slope 1."""
    write_labels(tmp_path / "m.nii.gz", labels)
    image = nib.load(tmp_path / "m.nii.gz")
    assert image.get_data_dtype() == np.uint8
    assert int(image.header["sform_code"]) > 0
    assert int(image.header["qform_code"]) > 0
    np.testing.assert_allclose(image.header.get_qform(), labels.affine, atol=1e-3)
    np.testing.assert_allclose(image.header.get_sform(), labels.affine, atol=1e-3)
    assert np.asarray(image.dataobj).dtype == np.uint8
    assert image.header.get_xyzt_units()[0] == "mm"


def test_sheared_masks_are_carried(tmp_path: Path, labels: LabelMap) -> None:
    """The sform is exact where a qform cannot be."""
    affine = labels.affine.copy()
    affine[0, 2] += 0.8
    write_labels(tmp_path / "m.nii.gz", LabelMap(labels.voxels, affine))
    np.testing.assert_allclose(read_labels(tmp_path / "m.nii.gz").affine, affine, atol=1e-4)


def test_whole_numbers_in_floats_are_labels_and_others_are_not(tmp_path: Path) -> None:
    """Masks saved as float by other tools are taken; probabilities are not."""
    voxels = np.zeros((4, 4, 4), np.float64)
    voxels[0] = 201
    whole = read_labels(_save(tmp_path / "a.nii.gz", voxels))
    assert whole.counts == {201: 16}
    voxels[1] = 0.5
    with pytest.raises(NephraError) as error:
        read_labels(_save(tmp_path / "b.nii.gz", voxels))
    assert error.value.code == "voxels_not_integer"


def test_scaling_in_the_header_is_applied(tmp_path: Path) -> None:
    """Slope and intercept of stored integers give Hounsfield units."""
    picture = nib.Nifti1Image(np.full((3, 3, 3), 10, np.int16), AFFINE)
    picture.header.set_slope_inter(2.0, -1000.0)
    raw = tmp_path / "a.nii"
    nib.save(picture, raw)
    content = bytearray(raw.read_bytes())
    content[112:120] = struct.pack("<2f", 2.0, -1000.0)
    content[352:] = struct.pack("<27h", *[10] * 27)
    raw.write_bytes(bytes(content))
    np.testing.assert_allclose(read_image(raw).voxels, -980.0)


def test_big_endian_nifti2_and_one_time_point_are_read(tmp_path: Path) -> None:
    """Legal variants that exporters make."""
    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    nib.save(nib.Nifti1Image(voxels.astype(">i2"), AFFINE), tmp_path / "big.nii.gz")
    nib.save(nib.Nifti2Image(voxels, AFFINE), tmp_path / "two.nii.gz")
    nib.save(nib.Nifti1Image(voxels[..., None], AFFINE), tmp_path / "time.nii.gz")
    for name in ("big", "two", "time"):
        found = read_image(tmp_path / f"{name}.nii.gz")
        np.testing.assert_array_equal(found.voxels, voxels)
        assert found.voxels.dtype.isnative


def test_the_affine_is_what_nibabel_says(tmp_path: Path, image: Volume) -> None:
    """Sform first, then qform, then spacing alone."""
    for sform, qform in ((1, 1), (0, 1), (0, 0)):
        picture = nib.Nifti1Image(image.voxels, None)
        picture.header.set_zooms(image.spacing_mm)
        picture.set_sform(image.affine if sform else None, code=sform)
        picture.set_qform(image.affine if qform else None, code=qform)
        path = tmp_path / f"{sform}{qform}.nii.gz"
        nib.save(picture, path)
        expected = nib.load(path).affine
        np.testing.assert_allclose(read_header(path).affine, expected, atol=1e-6)


def test_a_failed_write_leaves_nothing(tmp_path: Path, image: Volume) -> None:
    """No half file, no temporary one."""
    with pytest.raises(FileNotFoundError):
        write_image(tmp_path / "no" / "a.nii.gz", image)
    (tmp_path / "a.nii.gz").mkdir()
    with pytest.raises(IsADirectoryError):
        write_image(tmp_path / "a.nii.gz", image)
    assert [p.name for p in tmp_path.iterdir()] == ["a.nii.gz"]
