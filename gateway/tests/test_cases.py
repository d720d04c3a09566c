from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from nephra_contract.labels import numbers
from nephra_contract.messages import Event
from nephra_contract.nifti import read_labels
from nephra_contract.paths import DataRoot
from nephra_contract.results import sha256

ALL = {"A": "A.nii.gz", "P": "P.nii.gz", "D": "D.nii.gz"}
NDJSON = {"Accept": "application/x-ndjson"}


def results(data: DataRoot) -> set[str]:
    """The tickets that have results."""
    folder = data.root / "results"
    return {p.name for p in folder.glob("[!.]*")}


def whole(data: DataRoot) -> bool:
    """Whether all that lies among the results is whole."""
    every = [p for p in (data.root / "results").glob("*/*") if p.name != "manifest.json"]
    return all((p / "manifest.json").is_file() and p.name[0] != "." for p in every)


def events(lines: Iterator[str]) -> Iterator[Event]:
    """Lines as events."""
    return (Event.model_validate_json(line) for line in lines)


def test_a_case_goes_the_whole_way(gateway: httpx.Client, data: DataRoot, gates: Any) -> None:
    """Three phases become masks, one merged mask, a scene and a preview."""
    answer = gateway.post("/cases", json={"phases": ALL})
    assert answer.status_code == 200, answer.text
    got = answer.json()
    assert got["scene_path"] == got["obj_path"]
    for member in ("scene_path", "mtl_path", "glb_path", "mask_path", "manifest_path"):
        assert data.file(got[member]).stat().st_size > 0
    assert data.file(got["preview"]["obj_path"]).stat().st_size > 0
    assert got["warnings"] == []
    steps = {"totalseg", "tumor", "vessel", "ureter", "sample", "vessel-joined", "ureter-joined"}
    assert set(got["mask_paths"]) == steps | {"fat", "merge"}
    surfaces = {"preview", "tumor-surfaces", "vessel-surfaces", "ureter-surfaces", "scene"}
    assert set(got["timings"]) == set(got["mask_paths"]) | surfaces | {"total"}
    merged = read_labels(data.file(got["mask_path"]))
    wanted = ["kidney_right", "kidney_left", "tumor", "liver", "artery", "vein", "ureter_left"]
    assert set(merged.present) == {numbers()[n] for n in [*wanted, "perirenal_fat"]}
    assert set(got["volumes_ml"]) == {*wanted, "perirenal_fat"}


def test_the_manifest_says_where_all_comes_from(
    gateway: httpx.Client, data: DataRoot, gates: Any
) -> None:
    """Inputs with digests, the plan, each step's own manifest and seconds."""
    got = gateway.post("/cases", json={"phases": ALL}).json()
    manifest = json.loads(data.file(got["manifest_path"]).read_text())
    assert manifest["ticket"] == got["ticket"]
    assert manifest["inputs"]["P"] == {
        "path": "P.nii.gz",
        "sha256": sha256(data.file("P.nii.gz")),
    }
    by_name = {s["name"]: s for s in manifest["steps"]}
    assert by_name["fat"]["manifest"]["operation"] == "postprocess/fat"
    assert by_name["totalseg"]["manifest"]["operation"] == "inference/totalseg"
    assert all(s["seconds"] >= 0 for s in by_name.values())
    assert manifest["reference_phase"] == "A"


def test_the_preview_comes_before_the_slow_models_end(gateway: httpx.Client, gates: Any) -> None:
    """While the tumour model still runs, the quick scene is there."""
    gates.hold("tumor")
    with gateway.stream("POST", "/cases", json={"phases": ALL}, headers=NDJSON) as answer:
        assert answer.headers["content-type"] == "application/x-ndjson"
        came = []
        for event in events(answer.iter_lines()):
            if event.event == "artifact":
                came.append(event.stage)
            if event.stage == "preview" and event.event == "artifact":
                assert event.artifact is not None
                assert event.artifact["obj_path"].endswith(".obj")
                gates.go.set()
            last = event
    assert came[:3] == ["totalseg", "sample", "preview"]
    assert came.index("tumor") > came.index("preview")
    assert last.event == "result"
    assert last.result is not None
    assert last.result["operation"] == "cases"


def test_steps_that_do_not_wait_for_each_other_overlap(gateway: httpx.Client, gates: Any) -> None:
    """Vessels are joined while the ureter model is still at work."""
    gates.hold("ureter")
    with gateway.stream("POST", "/cases", json={"phases": ALL}, headers=NDJSON) as answer:
        came = []
        for event in events(answer.iter_lines()):
            if event.event == "artifact":
                came.append(event.stage)
            if {"vessel-joined", "fat"} <= set(came):
                gates.go.set()
    assert came.index("vessel-joined") < came.index("ureter")
    # What is for who waits alone is in nobody's way, and comes when its turn does.
    shown = ("preview", "tumor-surfaces", "vessel-surfaces", "ureter-surfaces")
    assert [stage for stage in came if stage not in shown][-2:] == ["merge", "scene"]


def test_progress_rises_to_one(gateway: httpx.Client, gates: Any) -> None:
    """The fraction of the whole never falls, and stages say whose they are."""
    answer = gateway.post("/cases", json={"phases": ALL}, headers=NDJSON)
    got = [e for e in events(iter(answer.text.splitlines())) if e.event == "progress"]
    fractions = [e.fraction for e in got if e.fraction is not None]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert any(e.stage.startswith("inference: ") for e in got)


def test_hanging_up_cancels_all_steps_and_leaves_nothing_half(
    gateway: httpx.Client, data: DataRoot, gates: Any
) -> None:
    """The held model ends as cancelled at its next advance; what was done stays in the cache."""
    gates.hold("vessel")
    with gateway.stream("POST", "/cases", json={"phases": ALL}, headers=NDJSON) as answer:
        lines = answer.iter_lines()
        assert next(lines)
        assert gates.reached["vessel"].wait(60)
    assert gates.ended["vessel"].wait(60)
    until = time.monotonic() + 60
    while gateway.get("/tickets?limit=1").json()["tickets"][0]["state"] != "cancelled":
        assert time.monotonic() < until
    assert whole(data)


def test_a_model_s_surfaces_come_while_the_next_one_runs(
    gateway: httpx.Client, data: DataRoot, gates: Any
) -> None:
    """Each mesh is there as soon as its mask is."""
    gates.hold("ureter")
    seen: dict[str, Event] = {}
    with gateway.stream("POST", "/cases", json={"phases": ALL}, headers=NDJSON) as answer:
        for event in events(answer.iter_lines()):
            if event.event == "artifact":
                seen[event.stage] = event
            if {"tumor-surfaces", "vessel-surfaces"} <= set(seen):
                gates.go.set()
    assert list(seen).index("tumor-surfaces") < list(seen).index("ureter")
    found = seen["vessel-surfaces"].artifact or {}
    assert set(found["volumes_ml"]) == {"artery", "vein"}
    assert data.file(found["glb_path"]).stat().st_size > 0


def test_a_failing_preview_is_a_warning(gateway: httpx.Client, gates: Any) -> None:
    """The scene does not need it."""
    gates.failing.add("sample")
    got = gateway.post("/cases", json={"phases": ALL}).json()
    assert "preview" not in got
    assert any("sample" in w for w in got["warnings"])
    assert got["scene_path"]


def test_nothing_to_join_is_a_warning(gateway: httpx.Client, data: DataRoot, gates: Any) -> None:
    """Where a model found no tube, and no kidney to put fat around, the scene is made without."""
    gates.lacking |= {"vessel-step", "fat"}
    got = gateway.post("/cases", json={"phases": ALL}).json()
    assert [w for w in got["warnings"] if "lacks" in w]
    assert not {"vessel-joined", "fat"} & set(got["mask_paths"])
    merged = read_labels(data.file(got["mask_path"]))
    assert numbers()["artery"] in merged.present
    assert numbers()["perirenal_fat"] not in merged.present
    asked = {"phases": ALL, "structures": ["fat"]}
    assert gateway.post("/cases", json=asked).json()["code"] == "structure_missing"


def test_a_failing_step_fails_the_case_whole(
    gateway: httpx.Client, data: DataRoot, gates: Any
) -> None:
    """Its own problem is the case's; of the case nothing is left but what the cache knows."""
    gates.failing.add("fat")
    answer = gateway.post("/cases", json={"phases": ALL})
    assert answer.status_code == 422
    assert answer.json()["code"] == "unprocessable"
    assert "'fat' fails" in answer.json()["detail"]
    streamed = gateway.post("/cases", json={"phases": ALL}, headers=NDJSON)
    last = list(events(iter(streamed.text.splitlines())))[-1]
    assert last.event == "problem"
    assert last.problem is not None
    assert last.problem["code"] == "unprocessable"
    assert whole(data)


def test_a_structure_that_is_not_found_is_said(gateway: httpx.Client, gates: Any) -> None:
    """A wanted cyst that no model saw is a warning, not silence."""
    got = gateway.post(
        "/cases", json={"phases": {"A": "A.nii.gz"}, "structures": ["tumor", "cyst"]}
    ).json()
    assert got["warnings"] == ["Nothing of the group 'cyst' was found."]
    assert set(got["volumes_ml"]) == {"tumor"}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "request_invalid"),
        ({"phases": {}}, 422, "request_invalid"),
        ({"phases": {"B": "A.nii.gz"}}, 422, "request_invalid"),
        ({"phases": {"A": 7}}, 422, "request_invalid"),
        ({"phases": {"A": "A.nii.gz"}, "x": 1}, 422, "request_invalid"),
        ({"phases": {"A": "A.nii.gz"}, "structures": []}, 422, "request_invalid"),
        ({"phases": {"A": "A.nii.gz"}, "structures": ["soul"]}, 422, "request_invalid"),
        ({"phases": {"A": "A.nii.gz"}, "structures": ["ureter"]}, 422, "phase_missing"),
        ({"phases": {"A": "gone.nii.gz"}}, 404, "file_not_found"),
        ({"phases": {"A": "/etc/passwd"}}, 400, "path_refused"),
        ({"phases": {"A": "../A.nii.gz"}}, 400, "path_refused"),
        ({"phases": {"A": "text.nii.gz"}}, 422, "file_not_nifti"),
        ({"phases": {"A": "A.nii.gz", "D": "elsewhere.nii.gz"}}, 422, "phases_apart"),
    ],
)
def test_a_bad_case_is_refused_before_any_work(
    gateway: httpx.Client, data: DataRoot, gates: Any, body: object, status: int, code: str
) -> None:
    """A problem with a status even where a stream was asked for, and nothing left behind."""
    before = results(data)
    for headers in ({}, NDJSON):
        answer = gateway.post("/cases", json=body, headers=headers)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == code
    assert results(data) == before
