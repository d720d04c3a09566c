from __future__ import annotations

from types import ModuleType
from typing import Any

import httpx
import pytest

from nephra_contract.paths import DataRoot
from nephra_serving.testing import served

OFFERED = ("keep", "endless", "linger", "grip", "broken")


def predict(url: str, model: str, *instances: object, **headers: str) -> httpx.Response:
    """Send instances to a model."""
    return httpx.post(
        f"{url}/v1/models/{model}:predict",
        json={"instances": list(instances)},
        headers=headers,
        timeout=60,
    )


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Assert that the answer is this problem; gives its document."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == code
    assert problem["status"] == status
    assert problem["detail"]
    assert problem["action"]
    return problem


def test_an_instance_is_answered_with_a_prediction(url: str, data: DataRoot) -> None:
    """The answer names a mask that is there, and counts what was kept."""
    answer = predict(url, "keep", {"mask_path": "mask.nii.gz", "number": 3})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    (prediction,) = answer.json()["predictions"]
    assert prediction["report"] == {"kept": 40}
    assert data.file(prediction["mask_path"]).stat().st_size > 0


def test_instances_are_answered_in_order(url: str) -> None:
    """Two instances have two predictions, in their order."""
    answer = predict(
        url,
        "keep",
        {"mask_path": "mask.nii.gz", "number": 2},
        {"mask_path": "mask.nii.gz", "number": 3},
    )
    assert [p["report"]["kept"] for p in answer.json()["predictions"]] == [60, 40]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{not json", 422, "body_not_json"),
        (b'{"instances": {}}', 422, "request_invalid"),
        (b'{"instances": []}', 422, "request_invalid"),
        (b'{"instances": [3]}', 422, "request_invalid"),
        (b'{"instances": [{}], "more": 1}', 422, "request_invalid"),
        (b"[]", 422, "request_invalid"),
        (b'{"instances": [{"mask_path": "mask.nii.gz", "x": 1}]}', 422, "request_invalid"),
        (b'{"instances": [{"mask_path": "gone.nii.gz"}]}', 404, "file_not_found"),
        (b'{"instances": [{"mask_path": "../x.nii.gz"}]}', 400, "path_refused"),
        (b" " * (2**20 + 1), 413, "request_too_large"),
    ],
)
def test_a_bad_body_is_a_problem(url: str, body: bytes, status: int, code: str) -> None:
    """Whatever is wrong with a request is said as problem+json with a stable code."""
    answer = httpx.post(
        f"{url}/v1/models/keep:predict",
        content=body,
        headers={"content-type": "application/json"},
        timeout=60,
    )
    refused(answer, status, code)


def test_a_charset_does_not_hurt(url: str) -> None:
    """`application/json; charset=utf-8` is JSON too, though KServe does not decode it."""
    answer = httpx.post(
        f"{url}/v1/models/keep:predict",
        content=b'{"instances": [{"mask_path": "mask.nii.gz"}]}',
        headers={"content-type": "application/json; charset=utf-8"},
        timeout=60,
    )
    assert answer.status_code == 200


def test_another_media_type_is_refused(url: str) -> None:
    """A body that is not JSON by its own words is 415."""
    answer = httpx.post(
        f"{url}/v1/models/keep:predict",
        content=b"x",
        headers={"content-type": "text/plain"},
        timeout=60,
    )
    refused(answer, 415, "media_type_unsupported")


def test_an_unknown_model_is_a_problem(url: str) -> None:
    """KServe's own 404 looks like ours."""
    refused(predict(url, "nothing", {}), 404, "operation_unknown")


def test_an_unknown_address_is_a_problem(url: str) -> None:
    """So does Starlette's, and 405."""
    refused(httpx.get(f"{url}/nowhere", timeout=60), 404, "not_found")
    refused(httpx.delete(f"{url}/operations", timeout=60), 405, "method_not_allowed")


def test_a_defect_shows_nothing_of_itself(
    url: str, data: DataRoot, caplog: pytest.LogCaptureFixture
) -> None:
    """An unforeseen exception is 500 without its message; the log has the trace, once."""
    problem = refused(predict(url, "broken", {"mask_path": "mask.nii.gz"}), 500, "internal_error")
    assert "secret" not in str(problem)
    traced = [r for r in caplog.records if r.exc_info]
    assert len(traced) == 1
    assert not (data.root / "results").exists() or not any((data.root / "results").iterdir())


def test_nothing_can_be_unloaded(url: str) -> None:
    """KServe's repository routes, open to anybody, are not there."""
    refused(httpx.post(f"{url}/v2/repository/models/keep/unload", timeout=60), 404, "not_found")
    assert predict(url, "keep", {"mask_path": "mask.nii.gz"}).status_code == 200


def test_the_server_says_what_it_offers(url: str) -> None:
    """Operations, bundles, health and readiness, of the server and of each model."""
    operations = httpx.get(f"{url}/operations", timeout=60).json()
    assert [o["name"] for o in operations] == [f"toy/{n}" for n in OFFERED]
    assert operations[0]["request_schema"]["properties"]["number"]["maximum"] == 215
    assert httpx.get(f"{url}/bundles", timeout=60).json() == []
    assert httpx.get(f"{url}/healthz", timeout=60).status_code == 200
    assert httpx.get(f"{url}/readyz", timeout=60).json() == {"ready": True}
    assert httpx.get(f"{url}/v1/models/keep", timeout=60).json() == {"name": "keep", "ready": True}
    refused(httpx.get(f"{url}/v1/models/nothing", timeout=60), 404, "operation_unknown")


def test_work_is_counted(url: str) -> None:
    """/metrics counts by operation and outcome."""
    line = 'nephra_requests_total{operation="toy/keep",outcome="%s"}'
    before = httpx.get(f"{url}/metrics", timeout=60).text
    predict(url, "keep", {"mask_path": "mask.nii.gz"})
    predict(url, "keep", {"mask_path": "gone.nii.gz"})
    after = httpx.get(f"{url}/metrics", timeout=60).text
    for outcome in ("ok", "file_not_found"):
        assert _value(after, line % outcome) == _value(before, line % outcome) + 1


def _value(text: str, name: str) -> float:
    return sum(float(row.split()[-1]) for row in text.splitlines() if row.startswith(name))


def test_a_request_has_one_line_in_the_log(
    toy: ModuleType, data: DataRoot, caplog: pytest.LogCaptureFixture
) -> None:
    """Method, path, status, time, operation and ticket; no file's name."""
    caplog.set_level("INFO", logger="nephra")
    ticket = "0" * 32
    with served("toy", toy.build(data)) as url:
        predict(url, "keep", {"mask_path": "mask.nii.gz", "ticket": ticket})
    (record,) = [r for r in caplog.records if r.getMessage() == "request"]
    members = vars(record)["nephra_members"]
    assert members.pop("duration_ms") > 0
    assert members == {
        "method": "POST",
        "path": "/v1/models/keep:predict",
        "status": 200,
        "operation": "toy/keep",
        "ticket": ticket,
    }


def test_a_request_that_waits_runs_when_the_first_has_ended(url: str, toy: ModuleType) -> None:
    """One at a time: the second is answered after the first one's caller has hung up."""
    with (
        httpx.Client(timeout=60) as first,
        first.stream(
            "POST",
            f"{url}/v1/models/endless:predict",
            json={"instances": [{"mask_path": "mask.nii.gz"}]},
            headers={"accept": "application/x-ndjson"},
        ) as begun,
    ):
        lines = begun.iter_lines()
        assert next(lines)
        assert _value(httpx.get(f"{url}/metrics", timeout=60).text, "nephra_requests_running") == 1
    assert predict(url, "keep", {"mask_path": "mask.nii.gz"}).status_code == 200
    assert toy.ENDS == ["cancelled"]
