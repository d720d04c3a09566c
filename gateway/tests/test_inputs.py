from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from nephra_contract.errors import FileUnreadable, GeometryRefused, PhasesApart, TooLarge
from nephra_contract.nifti import write_image
from nephra_contract.paths import DataRoot
from nephra_contract.volume import Volume
from nephra_gateway.inputs import check_phases


def put(root: Path, name: str, affine: np.ndarray, shape: tuple[int, ...] = (8, 8, 8)) -> str:
    """A CT of zeros."""
    write_image(root / name, Volume(np.zeros(shape, dtype=np.int16), affine))
    return name


def placed(x_mm: float) -> np.ndarray:
    """An axis-aligned affine of 1 mm that begins at x."""
    affine = np.eye(4)
    affine[0, 3] = x_mm
    return affine


@pytest.mark.parametrize("x_mm", [0, 3, -7])
def test_phases_that_overlap_pass(tmp_path: Path, x_mm: float) -> None:
    """A patient breathes and moves between phases; only headers are compared."""
    phases = {
        "A": put(tmp_path, "a.nii.gz", placed(0)),
        "D": put(tmp_path, "d.nii.gz", placed(x_mm)),
    }
    assert check_phases(DataRoot(tmp_path), phases, 10**6) == []


@pytest.mark.parametrize("x_mm", [8, -8, 7.8, 1000])
def test_phases_apart_are_refused(tmp_path: Path, x_mm: float) -> None:
    """Touching is not overlapping."""
    phases = {
        "A": put(tmp_path, "a.nii.gz", placed(0)),
        "D": put(tmp_path, "d.nii.gz", placed(x_mm)),
    }
    with pytest.raises(PhasesApart) as refused:
        check_phases(DataRoot(tmp_path), phases, 10**6)
    assert refused.value.extra["phases"] == ["A", "D"]


def test_order_and_direction_of_axes_do_not_matter(tmp_path: Path) -> None:
    """The same place stored from the other end, axes swapped, overlaps wholly."""
    turned = np.array([[0, -1, 0, 7], [0, 0, 1, 0], [-1, 0, 0, 7], [0, 0, 0, 1]], dtype=float)
    phases = {
        "A": put(tmp_path, "a.nii.gz", np.eye(4)),
        "P": put(tmp_path, "p.nii.gz", turned),
    }
    assert check_phases(DataRoot(tmp_path), phases, 10**6) == []


def test_one_file_for_two_phases_is_a_warning(tmp_path: Path) -> None:
    """Allowed, and said."""
    name = put(tmp_path, "a.nii.gz", np.eye(4))
    warnings = check_phases(DataRoot(tmp_path), {"A": name, "P": name}, 10**6)
    assert warnings == ["The phases A and P are one file."]


def test_what_is_wrong_with_an_image_names_its_phase(tmp_path: Path) -> None:
    """Each refusal carries the member of the request."""
    data = DataRoot(tmp_path)
    good = put(tmp_path, "a.nii.gz", np.eye(4))
    sheared = np.eye(4)
    sheared[0, 1] = 0.4
    (tmp_path / "empty.nii.gz").write_bytes(b"")
    four = nib.Nifti1Image(np.zeros((4, 4, 4, 2), dtype=np.int16), np.eye(4))
    nib.save(four, tmp_path / "four.nii.gz")
    for name, kind in (
        (put(tmp_path, "sheared.nii.gz", sheared), GeometryRefused),
        (put(tmp_path, "flat.nii.gz", np.eye(4), (8, 8, 1)), GeometryRefused),
        ("four.nii.gz", GeometryRefused),
        ("empty.nii.gz", FileUnreadable),
        (put(tmp_path, "large.nii.gz", np.eye(4), (11, 10, 10)), TooLarge),
    ):
        with pytest.raises(kind) as refused:
            check_phases(data, {"A": good, "D": name}, 1000)
        assert refused.value.extra["phase"] == "D"
        assert refused.value.extra["member"] == "phases.D"
