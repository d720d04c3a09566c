from __future__ import annotations

from typing import Any

import httpx

from nephra_contract.paths import DataRoot

ALL = {"A": "A.nii.gz", "P": "P.nii.gz", "D": "D.nii.gz"}


def test_a_case_goes_the_whole_way(gateway: httpx.Client, data: DataRoot, gates: Any) -> None:
    """Three phases become masks, one merged mask, a scene, a preview and a manifest."""
    answer = gateway.post("/cases", json={"phases": ALL})
    assert answer.status_code == 200, answer.text
    got = answer.json()
    assert got["scene_path"] == got["obj_path"]
    for member in ("scene_path", "mtl_path", "glb_path", "mask_path", "manifest_path"):
        assert data.file(got[member]).stat().st_size > 0
    assert got["warnings"] == []
