"""Requests name files below the data root, and nothing else."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nephra_contract.errors import FileMissing, PathRefused
from nephra_contract.paths import DataRoot

OUTSIDE = [
    "/etc/passwd",
    "../secret.nii.gz",
    "a/../../secret.nii.gz",
    "a/..",
    "..",
    ".",
    "./",
    "",
    " ",
    "a\x00.nii.gz",
    "a\n.nii.gz",
    "..\\secret.nii.gz",
    "C:\\secret.nii.gz",
    "~/secret.nii.gz",
    "//etc/passwd",
    "link/secret.nii.gz",
    "link",
    "x" * 2000,
]


@pytest.fixture
def guarded(data: DataRoot) -> DataRoot:
    """A root with a symbolic link that leads out, beside a secret."""
    outside = data.root.parent / "outside"
    outside.mkdir()
    (outside / "secret.nii.gz").write_bytes(b"secret")
    (data.root / "link").symlink_to(outside)
    (data.root / "a").mkdir()
    return data


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_path_outside_of_the_root_is_refused(guarded: DataRoot, name: str) -> None:
    """In every disguise."""
    with pytest.raises(PathRefused):
        guarded.resolve(name)


def test_a_link_within_the_root_is_followed(data: DataRoot) -> None:
    """Links are judged by where they lead."""
    (data.root / "b").mkdir()
    (data.root / "b" / "m.nii").write_bytes(b"x")
    (data.root / "alias").symlink_to(data.root / "b")
    assert data.file("alias/m.nii") == data.root / "b" / "m.nii"


def test_a_link_as_root_is_resolved_once(tmp_path: Path) -> None:
    """A data root that is itself a link works."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "m.nii").write_bytes(b"x")
    (tmp_path / "root").symlink_to(tmp_path / "real")
    assert DataRoot(tmp_path / "root").file("m.nii").read_bytes() == b"x"


def test_names_that_need_not_exist_resolve(data: DataRoot) -> None:
    """Outputs are named before they are there, and go back to the same name."""
    path = data.resolve("results/new/mask.nii.gz")
    assert path == data.root / "results" / "new" / "mask.nii.gz"
    assert data.name(path) == "results/new/mask.nii.gz"


def test_a_missing_file_is_a_404(data: DataRoot) -> None:
    """Also below something that is no directory."""
    (data.root / "file").write_bytes(b"x")
    for name in ("gone.nii.gz", "file/gone.nii.gz"):
        with pytest.raises(FileMissing) as error:
            data.file(name)
        assert str(data.root) not in error.value.detail


def test_directories_and_devices_are_refused(data: DataRoot) -> None:
    """Only regular files are read: a pipe would hang the reader."""
    (data.root / "folder").mkdir()
    os.mkfifo(data.root / "pipe")
    with pytest.raises(PathRefused) as error:
        data.file("folder")
    assert error.value.code == "path_is_directory"
    with pytest.raises(PathRefused):
        data.file("pipe")


@given(st.text(max_size=40))
def test_no_text_whatever_leads_out(name: str) -> None:
    """Either below the root, or one of our errors."""
    root = DataRoot(Path("/nonexistent-root/data"))
    path = None
    with suppress(PathRefused):
        path = root.resolve(name)
    assert path is None or path.is_relative_to(root.root)
