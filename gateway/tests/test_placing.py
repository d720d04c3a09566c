"""A result that was found lies where the request wants it, like one that was made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import makers
from nephra_contract.errors import FileMissing, PathRefused, RequestInvalid
from nephra_contract.fences import open_ticket
from nephra_contract.paths import DataRoot
from nephra_contract.results import new_ticket
from nephra_gateway.placing import place_all

FOUND = "mine/fat.nii.gz"


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    """A data root with the input."""
    data = DataRoot(tmp_path)
    makers.prepare(data)
    return data


def made(root: DataRoot, output_path: str | None) -> dict[str, Any]:
    """What a predictor answers."""
    ticket = new_ticket()
    open_ticket(root, ticket)
    return makers.result(root, ticket, output_path=output_path)


@pytest.fixture
def found(root: DataRoot) -> dict[str, Any]:
    """An answer as the cache has it: with the paths in its home."""
    answer = made(root, FOUND)
    home = Path(answer["manifest_path"]).parent
    names = {m: Path(answer[m]).name for m in ("mask_path", "labels_path")}
    return answer | {m: str(home / name) for m, name in names.items()}


def test_copies_lie_where_the_predictor_would_have_put_them(
    root: DataRoot, found: dict[str, Any]
) -> None:
    """Under the same names, in another folder too, and whole."""
    placed = place_all(root, found, "yours/of/it/fat.nii.gz", [makers.INPUT])
    expected = made(root, "yours/of/it/fat.nii.gz")
    assert placed == {m: expected[m] for m in placed}
    assert set(placed) == {"mask_path", "labels_path"}
    for member, path in placed.items():
        assert (root.root / path).read_bytes() == (root.root / found[member]).read_bytes()
        assert not (root.root / path).is_symlink()


@pytest.mark.parametrize(
    ("output_path", "error"),
    [
        ("fat.obj", RequestInvalid),
        ("../fat.nii.gz", PathRefused),
        ("/fat.nii.gz", PathRefused),
        (".nephra/fat.nii.gz", PathRefused),
    ],
)
def test_places_that_a_predictor_refuses_are_refused(
    root: DataRoot, found: dict[str, Any], output_path: str, error: type[Exception]
) -> None:
    """Another kind of file, or outside of the data root; nothing is written."""
    before = set(root.root.rglob("*"))
    with pytest.raises(error):
        place_all(root, found, output_path, [makers.INPUT])
    assert set(root.root.rglob("*")) == before


def test_inputs_are_not_written_over(root: DataRoot) -> None:
    """Also where the result is called like one."""
    found = made(root, None)
    input_ = root.root / "mask.nii.gz"
    before = input_.read_bytes()
    assert Path(found["mask_path"]).name == input_.name
    with pytest.raises(RequestInvalid):
        place_all(root, found, "mask.nii.gz", [makers.INPUT])
    assert input_.read_bytes() == before


def test_a_result_that_has_gone_is_missed(root: DataRoot, found: dict[str, Any]) -> None:
    """Its files are looked at before anything is copied."""
    (root.root / found["labels_path"]).unlink()
    with pytest.raises(FileMissing):
        place_all(root, found, "yours/fat.nii.gz", [])
    assert not (root.root / "yours").exists()
