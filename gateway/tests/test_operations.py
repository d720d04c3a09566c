from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from nephra_contract.messages import Event
from nephra_contract.paths import DataRoot

NDJSON = {"Accept": "application/x-ndjson"}
TUMOR = {"image_path": "A.nii.gz"}


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Assert that the answer is this problem; gives its document."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == code
    assert problem["detail"]
    return problem


def test_an_operation_is_answered_as_json(
    gateway: httpx.Client, data: DataRoot, gates: Any
) -> None:
    """The predictor's answer, under a ticket that the gateway gave."""
    answer = gateway.post("/inference/tumor", json=TUMOR)
    assert answer.status_code == 200
    got = answer.json()
    assert got["operation"] == "inference/tumor"
    assert data.file(got["mask_path"]).parts[-3] == got["ticket"]
    made = gateway.post("/smoothing/base", json={"mask_path": got["mask_path"]}).json()
    assert data.file(made["obj_path"]).stat().st_size > 0


def test_an_operation_can_be_streamed(gateway: httpx.Client, gates: Any) -> None:
    """The last event is the same answer."""
    answer = gateway.post("/inference/tumor", json=TUMOR, headers=NDJSON)
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["x-accel-buffering"] == "no"
    got = [Event.model_validate_json(line) for line in answer.text.splitlines()]
    assert {e.event for e in got[:-1]} == {"progress"}
    assert got[-1].result is not None
    assert got[-1].result["operation"] == "inference/tumor"


def test_several_models_in_one_request(gateway: httpx.Client, gates: Any) -> None:
    """`/inference` is an operation like any other; each mask comes as an artifact."""
    body = {"tasks": ["totalseg", "ureter"], "image_D_path": "D.nii.gz"}
    answer = gateway.post("/inference", json=body, headers=NDJSON)
    got = [Event.model_validate_json(line) for line in answer.text.splitlines()]
    assert [e.stage for e in got if e.event == "artifact"] == ["totalseg", "ureter"]
    assert got[-1].result is not None
    assert set(got[-1].result["parts"]) == {"totalseg", "ureter"}


def test_a_problem_is_relayed_as_it_is(gateway: httpx.Client, gates: Any) -> None:
    """Status, code, sentence and further members are the predictor's."""
    problem = refused(
        gateway.post("/inference/tumor", json={**TUMOR, "x": 1}), 422, "request_invalid"
    )
    assert problem["errors"][0]["member"] == "x"
    gates.failing.add("tumor")
    problem = refused(gateway.post("/inference/tumor", json=TUMOR), 422, "unprocessable")
    assert problem["action"] == "Let it not fail."


def test_an_unknown_operation_lists_what_there_is(gateway: httpx.Client) -> None:
    """404, for a caller that mistyped."""
    for path in ("/inference/tumour", "/nowhere", "/a/b/c"):
        problem = refused(gateway.post(path, json={}), 404, "operation_unknown")
        assert "inference/tumor" in problem["operations"]


@pytest.mark.parametrize(
    ("body", "media_type", "status", "code"),
    [
        (b"{", "application/json", 422, "body_not_json"),
        (b"", "application/json", 422, "body_not_json"),
        (b"\xff\xfe", "application/json", 422, "body_not_json"),
        (b'{"image_path": NaN}', "application/json", 422, "body_not_json"),
        (b'{"image_path": "\\ud800"}', "application/json", 422, "body_not_json"),
        (b"[" * 100_000, "application/json", 422, "body_not_json"),
        (b"[]", "application/json", 422, "request_invalid"),
        (b"null", "application/json", 422, "request_invalid"),
        (b'{"ticket": "x"}', "application/json", 422, "request_invalid"),
        (b'{"step": ""}', "application/json", 422, "request_invalid"),
        (b'{"image_path": 3}', "application/json; charset=utf-8", 422, "request_invalid"),
        (b'{"image_path": "\\u0000"}', "application/json", 400, "path_refused"),
        (b"x=1", "application/x-www-form-urlencoded", 415, "media_type_unsupported"),
        (b" " * (2**20 + 1), "application/json", 413, "request_too_large"),
    ],
)
def test_a_bad_body_is_a_problem(
    gateway: httpx.Client, body: bytes, media_type: str, status: int, code: str
) -> None:
    """Whatever is wrong with a body is said before any work."""
    headers = {"Content-Type": media_type}
    answer = gateway.post("/inference/tumor", content=body, headers=headers)
    refused(answer, status, code)


def test_a_body_without_a_length_is_bounded_too(gateway: httpx.Client) -> None:
    """Chunks are counted as they come."""
    chunks = (b" " * 65536 for _ in range(20))
    headers = {"Content-Type": "application/json"}
    answer = gateway.post("/inference/tumor", content=chunks, headers=headers)
    refused(answer, 413, "request_too_large")


def test_a_wrong_method_is_a_problem(gateway: httpx.Client) -> None:
    """Known addresses answer 405, others 404."""
    refused(gateway.put("/cases", json={}), 405, "method_not_allowed")
    refused(gateway.get("/inference/tumor"), 405, "method_not_allowed")


def test_hanging_up_on_a_stream_cancels(gateway: httpx.Client, data: DataRoot, gates: Any) -> None:
    """The predictor's work ends at its next advance, and leaves nothing."""
    before = _files(data)
    gates.hold("tumor")
    with gateway.stream("POST", "/inference/tumor", json=TUMOR, headers=NDJSON) as answer:
        lines = answer.iter_lines()
        assert next(lines)
        assert gates.reached["tumor"].wait(60)
    assert gates.ended["tumor"].wait(60)
    _become(data, before, gateway)


def test_hanging_up_on_a_plain_request_cancels(
    gateway: httpx.Client, data: DataRoot, gates: Any
) -> None:
    """A caller that waits for one JSON answer and goes away cancels as well."""
    before = _files(data)
    gates.hold("tumor")
    body = json.dumps(TUMOR).encode()
    address = ("127.0.0.1", gateway.base_url.port or 80)
    with socket.create_connection(address) as connection:
        connection.sendall(
            b"POST /inference/tumor HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Cache-Control: no-cache\r\n"
            + f"Authorization: {gateway.headers['authorization']}\r\n".encode()
            + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        assert gates.reached["tumor"].wait(60)
    assert gates.ended["tumor"].wait(60)
    _become(data, before, gateway)


def _files(data: DataRoot) -> set[Path]:
    # Unlike `rglob`, a walk does not mind a folder that vanishes meanwhile.
    walk = os.walk(data.root)
    return {Path(folder, name) for folder, inner, files in walk for name in (*inner, *files)}


def _become(data: DataRoot, before: set[Path], gateway: httpx.Client) -> None:
    """The data root is, or soon is again, as it was."""
    until = time.monotonic() + 60
    while _files(data) - {data.root / "results"} != before - {data.root / "results"}:
        assert time.monotonic() < until
        assert gateway.get("/healthz").status_code == 200
