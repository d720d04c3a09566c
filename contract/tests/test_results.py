"""Results lie in the data root whole, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from nephra_contract.errors import PathRefused, RequestInvalid
from nephra_contract.paths import DataRoot
from nephra_contract.results import new_ticket, place, result_folder, sha256, write_json


def test_a_finished_folder_appears_under_its_name(data: DataRoot) -> None:
    """And nobody saw it before it was finished."""
    with result_folder(data, "t1", "fat") as (partial, final):
        (partial / "a.txt").write_text("a")
        assert not final.exists()
        assert partial.name.startswith(".")
    assert (final / "a.txt").read_text() == "a"
    assert final == data.root / "results" / "t1" / "fat"


def test_the_second_result_of_a_step_does_not_replace_the_first(data: DataRoot) -> None:
    """It gets a name of its own."""
    for _ in range(2):
        with result_folder(data, "t1", "fat") as (partial, _final):
            (partial / "a.txt").write_text("a")
    assert sorted(p.name for p in (data.root / "results/t1").iterdir()) == ["fat", "fat-2"]


def test_a_failed_step_leaves_nothing(data: DataRoot) -> None:
    """Neither a half folder nor an empty ticket; other steps' results stay."""
    with pytest.raises(FileNotFoundError), result_folder(data, "t2", "fat") as (partial, _):
        (partial / "no such folder" / "a.txt").write_text("a")
    assert not (data.root / "results/t2").exists()
    with result_folder(data, "t3", "good") as (partial, _):
        (partial / "a.txt").write_text("a")
    with pytest.raises(KeyboardInterrupt), result_folder(data, "t3", "bad"):
        raise KeyboardInterrupt
    assert [p.name for p in (data.root / "results/t3").iterdir()] == ["good"]


def test_a_copy_is_placed_where_it_was_asked_for(data: DataRoot, tmp_path: Path) -> None:
    """In folders that it makes, replacing an earlier result."""
    source = tmp_path / "mask.nii.gz"
    for content in (b"one", b"two"):
        source.write_bytes(content)
        target = place(source, data, "out/deep/m.nii.gz", set())
        assert target.read_bytes() == content
    assert [p.name for p in target.parent.iterdir()] == ["m.nii.gz"]


@pytest.mark.parametrize("output", ["m.obj", "m.nii", ".nii.gz", "a/input.nii.gz", "folder.nii.gz"])
def test_outputs_that_make_no_sense_are_refused(
    data: DataRoot, tmp_path: Path, output: str
) -> None:
    """Wrong suffix, no name, an input, a directory."""
    source = tmp_path / "mask.nii.gz"
    source.write_bytes(b"x")
    (data.root / "folder.nii.gz").mkdir()
    with pytest.raises(RequestInvalid):
        place(source, data, output, {data.resolve("a/input.nii.gz")})


def test_outputs_stay_in_the_data_root(data: DataRoot, tmp_path: Path) -> None:
    """As inputs do."""
    source = tmp_path / "mask.nii.gz"
    source.write_bytes(b"x")
    with pytest.raises(PathRefused):
        place(source, data, "../m.nii.gz", set())


def test_documents_and_digests(tmp_path: Path) -> None:
    """JSON is written whole; the digest is that of the bytes."""
    write_json(tmp_path / "a.json", {"a": 1})
    assert (tmp_path / "a.json").read_text() == '{\n  "a": 1\n}\n'
    assert sha256(tmp_path / "a.json").startswith("5e36b656")
    with pytest.raises(TypeError):
        write_json(tmp_path / "b.json", {"a": object()})
    assert len(new_ticket()) == 32
    assert new_ticket() != new_ticket()
