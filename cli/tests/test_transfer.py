"""Files on their way in and out."""

from __future__ import annotations

from pathlib import Path

import pytest

from nephra_cli.transfer import bring_in, bring_out, files_of
from nephra_contract.errors import NephraError, PathRefused
from nephra_contract.paths import DataRoot


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data root with one file."""
    root = tmp_path / "data"
    (root / "ct").mkdir(parents=True)
    (root / "ct" / "a.nii.gz").write_bytes(b"inside")
    return root


def test_a_file_of_the_data_root_is_named_not_copied(data: Path) -> None:
    """By absolute path, by relative path, and through a link."""
    assert bring_in(str(data / "ct" / "a.nii.gz"), data) == "ct/a.nii.gz"
    (data.parent / "link").symlink_to(data)
    assert bring_in(str(data.parent / "link" / "ct" / "a.nii.gz"), data) == "ct/a.nii.gz"
    assert not (data / "uploads").exists()


def test_a_file_from_elsewhere_is_copied_once(data: Path, tmp_path: Path) -> None:
    """Under its own name, in a folder named by its content; the same file twice is one copy."""
    outside = tmp_path / "b.nii.gz"
    outside.write_bytes(b"outside")
    name = bring_in(str(outside), data)
    assert name.startswith("uploads/")
    assert name.endswith("/b.nii.gz")
    assert DataRoot(data).file(name).read_bytes() == b"outside"
    assert bring_in(str(outside), data) == name
    assert len([p for p in (data / "uploads").rglob("*") if p.is_file()]) == 1
    outside.write_bytes(b"changed")
    assert bring_in(str(outside), data) != name


def test_odd_names_become_ones_that_a_request_can_carry(data: Path, tmp_path: Path) -> None:
    """Backslashes, spaces and a leading tilde would be refused by the data root."""
    outside = tmp_path / "~pat ient\\1 ü.nii.gz"
    outside.write_bytes(b"x")
    name = bring_in(str(outside), data)
    assert DataRoot(data).file(name).name.endswith(".nii.gz")


def test_a_name_of_the_data_root_is_left_as_it_is(data: Path) -> None:
    """What is no file here is for the gateway to judge, wrong or right."""
    assert bring_in("ct/a.nii.gz", data) == "ct/a.nii.gz"
    assert bring_in("nowhere/b.nii.gz", data) == "nowhere/b.nii.gz"


def test_without_a_data_root_here_nothing_is_copied(tmp_path: Path) -> None:
    """A gateway elsewhere is asked for its own files."""
    outside = tmp_path / "b.nii.gz"
    outside.write_bytes(b"x")
    assert bring_in(str(outside), None) == str(outside)


def test_a_directory_is_refused(data: Path, tmp_path: Path) -> None:
    """And nothing of it is copied."""
    (tmp_path / "series").mkdir()
    with pytest.raises(PathRefused, match="regular file"):
        bring_in(str(tmp_path / "series"), data)
    assert not (data / "uploads").exists()


def test_results_keep_their_names_and_steps_name_their_masks(data: Path, tmp_path: Path) -> None:
    """So that the OBJ finds its MTL, and masks of several steps lie side by side."""
    answer = {
        "ticket": "1",
        "scene_path": "r/scene.obj",
        "obj_path": "r/scene.obj",
        "mtl_path": "r/scene.mtl",
        "glb_path": None,
        "mask_path": "r/merge/mask.nii.gz",
        "mask_paths": {"tumor": "r/tumor/mask.nii.gz", "merge": "r/merge/mask.nii.gz"},
        "preview": {"obj_path": "r/preview/scene.obj"},
    }
    for name in ("r/scene.obj", "r/scene.mtl", "r/merge/mask.nii.gz", "r/tumor/mask.nii.gz"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text(name)
    brought = bring_out(files_of(answer), data, tmp_path / "out")
    written = {p.name: p.read_text() for p in brought}
    assert written == {
        "scene.obj": "r/scene.obj",
        "scene.mtl": "r/scene.mtl",
        "mask.nii.gz": "r/merge/mask.nii.gz",
        "tumor.nii.gz": "r/tumor/mask.nii.gz",
    }


def test_parts_of_an_answer_are_brought_under_their_names() -> None:
    """A request for several tasks has one mask for each."""
    part = {"mask_path": "r/t/mask.nii.gz"}
    assert files_of({"manifest_path": "r/manifest.json", "parts": {"tumor": part}}) == {
        "r/manifest.json": "manifest.json",
        "r/t/mask.nii.gz": "tumor-mask.nii.gz",
    }


def test_results_out_of_reach_are_an_error(data: Path, tmp_path: Path) -> None:
    """No data root here, a file that is gone, a path that leads out: each is said."""
    for files, root in (
        ({"ct/a.nii.gz": "a"}, None),
        ({"gone.nii.gz": "a"}, data),
        ({"../a": "a"}, data),
    ):
        with pytest.raises(NephraError):
            bring_out(files, root, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
