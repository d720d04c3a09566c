"""Who touched which file: the lines of it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from nephra_gateway.audit import paths_of


@pytest.mark.parametrize(
    ("request_", "paths"),
    [
        ({"image_path": "a", "output_path": "b"}, ["a"]),
        ({"mask_path": ["a", "b"], "template_path": "c"}, ["a", "b", "c"]),
        ({"phases": {"A": "a", "D": "d"}}, ["a", "d"]),
        ({"image_path": 3, "mask_path": [None, {"x": "y"}], "phases": "A"}, []),
        ({"bundle": "x", "path": "y"}, []),
        ({}, []),
    ],
)
def test_what_a_request_reads_is_found(request_: dict[str, Any], paths: list[str]) -> None:
    """By the names of its members, whatever operation it is of; what it would write is not."""
    assert list(paths_of(request_)) == paths


def test_the_files_of_a_request_are_audited(
    gateway: httpx.Client, gates: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Each once, with its ticket; also where the request is refused."""
    caplog.set_level("INFO", logger="nephra")
    ticket = gateway.post("/inference/tumor", json={"image_path": "A.nii.gz"}).json()["ticket"]
    gateway.post("/cases", json={"phases": {"A": "A.nii.gz", "P": "A.nii.gz", "D": "gone.nii.gz"}})
    lines = [vars(r)["nephra_members"] for r in caplog.records if r.getMessage() == "audit"]
    who = lines[0]["who"]
    assert len(who) == 12  # a bare digest's name
    used = {"who": who, "action": "use"}
    assert lines == [
        {**used, "path": "A.nii.gz", "outcome": "accepted", "ticket": ticket},
        {**used, "path": "A.nii.gz", "outcome": "file_not_found"},
        {**used, "path": "gone.nii.gz", "outcome": "file_not_found"},
    ]
