"""The whole way: CT phases to one scene."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from nephra_contract.nifti import read_labels
from nephra_contract.nifti_header import read_header

pytestmark = pytest.mark.e2e

ALL = {p: f"phantom/{p}.nii.gz" for p in "APD"}


def _events(service: Any, request: dict[str, Any]) -> list[dict[str, Any]]:
    headers = {**service.headers, "Accept": "application/x-ndjson"}
    url = f"{service.url}/cases"
    with httpx.stream("POST", url, json=request, headers=headers, timeout=600) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("application/x-ndjson")
        return [json.loads(line) for line in answer.iter_lines() if line]


@pytest.fixture(scope="module")
def events(service: Any) -> list[dict[str, Any]]:
    """The stream of a case with all three phases."""
    return _events(service, {"phases": ALL})


def test_a_case_ends_in_one_scene_of_named_structures(
    service: Any, events: list[dict[str, Any]]
) -> None:
    """Masks on the reference grid, OBJ, MTL, GLB and a manifest."""
    assert events[-1]["event"] == "result", events[-1]
    result = events[-1]["result"]
    mask = read_labels(service.data / result["mask_path"])
    assert mask.shape == read_header(service.data / "phantom/A.nii.gz").shape
    objects = {
        line.split()[1]
        for line in (service.data / result["scene_path"]).read_text().splitlines()
        if line.startswith("o ")
    }
    assert {"kidney_right", "kidney_left", "artery", "vein", "perirenal_fat", "spine"} <= objects
    assert objects == set(result["volumes_ml"])
    for member in ("mtl_path", "glb_path", "manifest_path"):
        assert (service.data / result[member]).stat().st_size


def test_progress_rises_and_stages_are_named(events: list[dict[str, Any]]) -> None:
    """A caller can draw a bar."""
    fractions = [e["fraction"] for e in events if e["event"] == "progress"]
    assert len(fractions) > 5
    assert fractions == sorted(fractions)
    assert all(e["stage"] for e in events if e["event"] == "progress")


def test_the_quick_sample_is_published_before_the_slow_models_end(
    events: list[dict[str, Any]],
) -> None:
    """Something to look at while the rest is computed."""
    order = [e["stage"] for e in events if e["event"] == "artifact"]
    assert order.index("sample") < order.index("preview") < order.index("ureter"), order


@pytest.mark.parametrize("phases", ["A", "P", "D"])
def test_any_phase_alone_makes_a_scene(service: Any, phases: str) -> None:
    """What the phase allows is done, nothing is pretended."""
    request = {"phases": {p: ALL[p] for p in phases}, "structures": ["kidney", "tumor"]}
    answer = service.run("cases", **request)
    assert (service.data / answer["scene_path"]).stat().st_size
    assert {"kidney_right", "kidney_left"} <= set(answer["volumes_ml"])
    assert not {"artery", "vein", "ureter_left"} & set(answer["volumes_ml"])


def test_a_client_that_hangs_up_cancels_the_work(service: Any) -> None:
    """Nothing of the cancelled case lies in results, and the next request is served."""
    before = {p.name for p in (service.data / "results").iterdir()}
    headers = {**service.headers, "Accept": "application/x-ndjson"}
    url = f"{service.url}/cases"
    with httpx.stream("POST", url, json={"phases": ALL}, headers=headers, timeout=600) as answer:
        next(line for line in answer.iter_lines() if line)
    # The same predictor serves one request at a time: this one runs when the other is gone.
    service.run("inference/totalseg", image_path=ALL["A"])
    left = {p for p in (service.data / "results").iterdir() if p.name not in before}
    finished = [p for p in left if (p / "manifest.json").exists()]
    assert finished == []
    assert len(left) <= 2
