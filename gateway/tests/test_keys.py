"""A key holds all that a result depends on, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nephra_contract.messages import BundleDescription, OperationDescription
from nephra_contract.nifti import write_image
from nephra_contract.paths import DataRoot
from nephra_contract.volume import Volume
from nephra_gateway.content import Contents
from nephra_gateway.fingerprint import Content
from nephra_gateway.keys import Keyed, Keys, digest_of, files_of, keyed

CONTENTS = {n: Content(f"voxels-{n}", f"file-{n}") for n in ("a", "p", "d", "mask", "other")}
#: The same image in another file.
CONTENTS["again"] = Content("voxels-mask", "file-again")


def description(name: str, **members: Any) -> OperationDescription:
    """An operation with two parameters."""
    said: dict[str, Any] = {
        "name": name,
        "model": name.rsplit("/", 1)[-1],
        "predictor": "toy",
        "summary": "",
        "description": "",
        "inputs": [],
        "output": "mask",
        "version": "1",
        "code": "c0de",
        "request_schema": {
            "properties": {
                "mask_path": {},
                "output_path": {"default": None},
                "ticket": {"default": None},
                "attempt": {"default": 0},
                "gap_mm": {"default": 20.0},
                "labels": {"default": "nephra"},
            }
        },
    }
    return OperationDescription(**{**said, **members})


def bundle(
    task: str, name: str, digest: str, default: bool = True, channels: Any = ("APD",)
) -> BundleDescription:
    """A model."""
    return BundleDescription(
        name=name,
        task=task,
        default=default,
        version="1",
        digest=digest,
        channels=[list(c) for c in channels],
        labels={},
        spacing_mm=[1, 1, 1],
        licence="",
    )


BUNDLES = [
    bundle("totalseg", "totalseg", "t1"),
    bundle("vessel", "vessel", "v1", channels=("A", "P")),
    bundle("vessel", "vessel-old", "v0", default=False, channels=("A", "P")),
    bundle("ureter", "ureter", "u1", channels=("D",)),
]
FAT = description("postprocess/fat")
VESSEL = description("postprocess/vessel")
SEVERAL = description("inference")


def key(
    request: Mapping[str, Any],
    operation: OperationDescription = FAT,
    bundles: list[BundleDescription] = BUNDLES,
) -> str | None:
    """The key of a plain operation's result."""
    return keyed(operation, request, bundles, CONTENTS).keys[""]


def parts(
    request: Mapping[str, Any], *gives: str, bundles: list[BundleDescription] = BUNDLES
) -> Keyed:
    """The keys of several models' results."""
    return keyed(SEVERAL, request, bundles, CONTENTS, gives)


BASE = key({"mask_path": "mask"})


@pytest.mark.parametrize(
    "request_",
    [
        {"mask_path": ["mask"]},
        {"mask_path": "again"},
        {"mask_path": "mask", "gap_mm": 20},
        {"mask_path": "mask", "gap_mm": 20.0, "labels": "nephra"},
        {"mask_path": "mask", "ticket": "0" * 32, "step": "fat", "attempt": 3},
        {"labels": "nephra", "mask_path": "mask", "image_path": None, "output_path": None},
    ],
)
def test_what_changes_nothing_is_not_in_the_key(request_: dict[str, Any]) -> None:
    """Names of files, spellings of numbers, defaults, order, and whom it is for."""
    assert BASE is not None
    assert key(request_) == BASE


@pytest.mark.parametrize(
    "request_",
    [
        {"mask_path": "other"},
        {"mask_path": ["mask", "other"]},
        {"mask_path": "mask", "gap_mm": 20.5},
        {"mask_path": "mask", "labels": "kits"},
        {"mask_path": "mask", "labels": {"kidney": 1}},
        {"mask_path": "mask", "image_path": "a"},
        {"template_path": "mask"},
        {"mask_path": "mask", "output_path": "out/mine.nii.gz"},
        {"mask_path": "mask", "whatever": False},
        {"mask_path": "mask", "whatever": 0},
    ],
)
def test_what_changes_the_result_is_in_the_key(request_: dict[str, Any]) -> None:
    """Contents, which member they came in, parameters, and what files are called."""
    found = key(request_)
    assert found is not None
    assert found != BASE


def test_order_of_masks_counts() -> None:
    """They are merged one onto the other."""
    assert key({"mask_path": ["mask", "other"]}) != key({"mask_path": ["other", "mask"]})


def test_only_the_name_of_the_output_counts() -> None:
    """Wherever a copy goes, files are called like it."""
    one = key({"mask_path": "mask", "output_path": "here/mine.nii.gz"})
    assert one == key({"mask_path": "mask", "output_path": "there/of/it/mine.nii.gz"})
    assert one != key({"mask_path": "mask", "output_path": "here/yours.nii.gz"})


@pytest.mark.parametrize(
    "other",
    [
        description("postprocess/ureter"),
        description("postprocess/fat", version="2"),
        description("postprocess/fat", code="0dd"),
    ],
)
def test_who_makes_it_is_in_the_key(other: OperationDescription) -> None:
    """Operation, version, and code."""
    assert key({"mask_path": "mask"}, other) not in (None, BASE)


def test_what_is_not_known_has_no_key() -> None:
    """A content, the code, a model by name, a path that is none, a number that is none."""
    assert key({"mask_path": "unheard"}) is None
    assert key({"mask_path": "mask"}, description("postprocess/fat", code="")) is None
    assert key({"mask_path": 7}) is None
    assert key({"mask_path": "mask", "gap_mm": float("nan")}) is None
    total = description("inference/totalseg")
    assert key({"image_path": "a", "bundle": "unheard"}, total) is None


def test_one_model_counts_by_its_digest() -> None:
    """The named one, else the default; for operations that are models alone."""
    operation = description("inference/vessel")
    request = {"image_A_path": "a", "image_P_path": "p"}
    one = keyed(operation, request, BUNDLES, CONTENTS)
    newer = [bundle("vessel", "vessel", "v2")]
    assert one.inputs[""]["bundle"] == ["v1"]
    assert key(request, operation, newer) not in (None, one.keys[""])
    old = keyed(operation, {**request, "bundle": "vessel-old"}, BUNDLES, CONTENTS)
    assert old.inputs[""]["bundle"] == ["v0"]
    assert old.keys[""] != one.keys[""]
    assert key({"mask_path": "mask"}, VESSEL, newer) == key({"mask_path": "mask"}, VESSEL)


def test_a_part_depends_on_the_images_it_takes_alone() -> None:
    """Another delayed scan leaves the vessels as they are."""
    request = {"image_A_path": "a", "image_P_path": "p", "image_D_path": "d"}
    tasks = {"tasks": ["totalseg", "vessel", "ureter"]}
    one = parts({**request, **tasks}, "totalseg", "vessel", "ureter")
    other = parts({**request, **tasks, "image_D_path": "other"}, "totalseg", "vessel", "ureter")
    assert one.complete
    assert {p for p in one.keys if one.keys[p] != other.keys[p]} == {"ureter"}
    assert one.inputs["vessel"] == {
        "image_A_path": ["file-a"],
        "image_P_path": ["file-p"],
        "bundle": ["v1"],
    }
    assert one.inputs["totalseg"]["image_A_path"] == ["file-a"]
    assert "image_P_path" not in one.inputs["totalseg"]


def test_a_part_does_not_depend_on_the_others() -> None:
    """Which tasks go along, and with which models, changes nothing."""
    request = {"image_A_path": "a", "image_P_path": "p", "image_D_path": "d"}
    alone = parts({**request, "tasks": ["ureter"]}, "ureter")
    along = parts(
        {**request, "tasks": ["vessel", "ureter"], "bundles": {"vessel": "vessel-old"}},
        "vessel",
        "ureter",
    )
    assert alone.keys["ureter"] == along.keys["ureter"]
    assert along.inputs["vessel"]["bundle"] == ["v0"]


def test_a_part_depends_on_parameters_and_model() -> None:
    """What is said for all is said for each."""
    request = {"image_D_path": "d", "tasks": ["ureter"]}
    one = parts(request, "ureter").keys["ureter"]
    assert parts({**request, "mirroring": True}, "ureter").keys["ureter"] != one
    newer = [bundle("ureter", "ureter", "u2", channels=("D",))]
    assert parts(request, "ureter", bundles=newer).keys["ureter"] not in (None, one)


def test_a_part_without_its_phase_has_no_key() -> None:
    """The predictor will say which one it needs; other parts have theirs."""
    found = parts({"image_A_path": "a", "tasks": ["totalseg", "vessel"]}, "totalseg", "vessel")
    assert found.keys["vessel"] is None
    assert found.keys["totalseg"] is not None
    assert not found.complete


def test_parts_of_anything_else_have_no_keys() -> None:
    """How somebody else's operation makes several results is not known here."""
    found = keyed(FAT, {"mask_path": "mask"}, BUNDLES, CONTENTS, ["one"])
    assert found.keys == {"one": None}


def test_files_are_members_that_end_in_path() -> None:
    """But not where the result goes."""
    assert files_of(
        {"mask_path": "m", "image_path": ["i", "j"], "output_path": "o", "x": "y", "a_path": None}
    ) == {"mask_path": ["m"], "image_path": ["i", "j"]}
    assert files_of({"mask_path": [1]}) is None


def test_canonical_numbers_are_one_number() -> None:
    """1 is 1.0 and -0.0 is 0, but true is no number and 1 no text."""
    assert digest_of({"a": 1, "b": -0.0}) == digest_of({"b": 0, "a": 1.0})
    assert len({digest_of(v) for v in (1, True, "1", 1.5, [1], None)}) == 6


def test_keys_are_of_files_as_they_lie_there(tmp_path: Path) -> None:
    """Made by reading the files once; then known at once, until one changes."""
    root = DataRoot(tmp_path)
    for count, name in enumerate(("a.nii.gz", "b.nii.gz")):
        voxels = np.full((4, 4, 4), count, dtype=np.int16)
        write_image(tmp_path / name, Volume(voxels, np.eye(4)))

    async def main() -> None:
        contents = Contents(root)
        keys = Keys(contents)
        request = {"mask_path": ["a.nii.gz", "b.nii.gz"]}
        assert keys.known(FAT, request, BUNDLES) is None
        found = await keys.of(FAT, request, BUNDLES)
        assert found.complete
        assert keys.known(FAT, request, BUNDLES) == found
        (tmp_path / "b.nii.gz").write_text("no image")
        assert keys.known(FAT, request, BUNDLES) is None
        assert (await keys.of(FAT, request, BUNDLES)).keys == {"": None}
        await contents.close()

    asyncio.run(main())
