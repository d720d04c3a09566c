"""Only what is what its key says, and can be verified, is kept."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

import makers
from nephra_contract.fences import open_ticket
from nephra_contract.paths import DataRoot
from nephra_contract.results import new_ticket
from nephra_gateway.content import Contents
from nephra_gateway.registration import Registration, agrees
from nephra_gateway.store.entries import Result

EXPECTED = {"image_A_path": ["a"], "mask_path": ["b", "c"], "version": ["1"], "bundle": ["d"]}


def manifest(**members: Any) -> dict[str, Any]:
    """A manifest of a result made of what is expected."""
    said: dict[str, Any] = {
        "operation": "toy",
        "versions": {"nephra": "9", "toy": "1"},
        "inputs": {
            "image_A_path": [{"path": "x", "sha256": "a"}],
            "mask_path": [{"path": "y", "sha256": "b"}, {"path": "z", "sha256": "c"}],
        },
        "bundle": {"name": "toy", "digest": "d"},
    }
    return {**said, **members}


def inputs(**members: list[str]) -> dict[str, Any]:
    """Inputs as a manifest says them."""
    return {m: [{"path": "p", "sha256": s} for s in said] for m, said in members.items()}


@pytest.mark.parametrize(
    "said",
    [
        manifest(),
        manifest(bundle=None),
        manifest(inputs=inputs(image_A_path=["a"])),
        manifest(inputs=inputs(image_path=["a"], template_path=["c"])),
        manifest(versions={"nephra": "8"}),
    ],
)
def test_a_result_of_what_its_key_says_is_kept(said: dict[str, Any]) -> None:
    """Whatever names its predictor gives to members, and how little it says."""
    assert agrees(said, EXPECTED)


@pytest.mark.parametrize(
    "said",
    [
        manifest(inputs=None),
        manifest(inputs=inputs(image_A_path=["replaced"], mask_path=["b", "c"])),
        manifest(inputs=inputs(image_A_path=["b"], mask_path=["b", "c"])),
        manifest(inputs=inputs(image_A_path=["a"], mask_path=["c", "b"])),
        manifest(inputs=inputs(image_path=["replaced"])),
        manifest(bundle={"digest": "another"}),
        manifest(versions={"toy": "2"}),
        manifest(inputs={"image_A_path": "a"}),
        manifest(inputs={"other_path": ["a"]}),
    ],
)
def test_a_result_of_anything_else_is_not_kept(said: dict[str, Any]) -> None:
    """A file replaced or exchanged, another order, another model, another version."""
    assert not agrees(said, EXPECTED)


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    """A data root with the input."""
    data = DataRoot(tmp_path)
    makers.prepare(data)
    return data


@pytest.fixture
def made(root: DataRoot) -> tuple[str, dict[str, Any]]:
    """A ticket and the answer to it."""
    ticket = new_ticket()
    open_ticket(root, ticket)
    return ticket, makers.result(root, ticket)


def register(root: DataRoot, ticket: str, answer: dict[str, Any]) -> Result | None:
    """What is kept of an answer."""

    async def main() -> Result | None:
        contents = Contents(root)
        try:
            content = await contents.of(makers.INPUT)
            assert content is not None
            expected = {"mask_path": [content.file], "version": ["1"], "bundle": []}
            found = Registration(root, contents)
            return await found.result("key", ticket, answer, 1.5, expected)
        finally:
            await contents.close()

    return asyncio.run(main())


def test_what_is_kept_names_every_file(root: DataRoot, made: tuple[str, dict[str, Any]]) -> None:
    """With digests and bytes; the answer as it was given."""
    ticket, answer = made
    result = register(root, ticket, answer)
    assert result is not None
    names = ("mask.nii.gz", "mask.labels.json", "manifest.json")
    assert set(result.files) == {f"results/{ticket}/postprocess-toy/{n}" for n in names}
    assert result.bytes == sum((root.root / path).stat().st_size for path in result.files)
    assert (result.operation, result.ticket, result.seconds) == ("postprocess/toy", ticket, 1.5)
    assert result.folder == f"results/{ticket}/postprocess-toy"
    assert result.answer == answer


def test_copies_that_were_placed_are_not_what_is_kept(root: DataRoot) -> None:
    """They are the caller's; he may change them."""
    ticket = new_ticket()
    open_ticket(root, ticket)
    answer = makers.result(root, ticket, output_path="mine/fat.nii.gz")
    assert answer["mask_path"] == "mine/fat.nii.gz"
    result = register(root, ticket, answer)
    assert result is not None
    assert result.answer["mask_path"] == f"results/{ticket}/postprocess-toy/fat.nii.gz"
    assert not any(path.startswith("mine/") for path in result.files)


@pytest.mark.parametrize(
    "change",
    [
        {"manifest_path": None},
        {"manifest_path": "manifest.json"},
        {"manifest_path": "../manifest.json"},
        {"more_path": "results/somewhere/else.obj"},
    ],
)
def test_answers_that_cannot_be_verified_are_not_kept(
    root: DataRoot, made: tuple[str, dict[str, Any]], change: dict[str, Any]
) -> None:
    """No manifest in the ticket's folder, or files that it does not name."""
    ticket, answer = made
    assert register(root, ticket, {**answer, **change}) is None
    assert register(root, new_ticket(), answer) is None


@pytest.mark.parametrize(
    "outputs",
    [
        None,
        {},
        {"mask_path": {}},
        {"mask_path": "x"},
        {"mask_path": {"path": "mask.nii.gz", "sha256": "0" * 64}},
    ],
)
def test_manifests_that_do_not_say_what_was_made_are_of_no_use(
    root: DataRoot, made: tuple[str, dict[str, Any]], outputs: Any
) -> None:
    """No outputs, without digests, or elsewhere."""
    ticket, answer = made
    path = root.root / answer["manifest_path"]
    path.write_text(json.dumps({**json.loads(path.read_text()), "outputs": outputs}))
    assert register(root, ticket, answer) is None
    path.write_text("no JSON")
    assert register(root, ticket, answer) is None


def test_a_file_that_is_not_what_its_manifest_says_is_not_kept(
    root: DataRoot, made: tuple[str, dict[str, Any]]
) -> None:
    """It was damaged before it could be registered."""
    ticket, answer = made
    (root.root / answer["labels_path"]).write_text("{}")
    assert register(root, ticket, answer) is None
