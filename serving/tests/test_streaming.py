from __future__ import annotations

import json
import socket
from types import ModuleType

import httpx

from nephra_contract.messages import Event
from nephra_contract.paths import DataRoot

ACCEPT = {"accept": "application/x-ndjson"}


def events(url: str, model: str, **member: object) -> list[Event]:
    """All events of one streamed request."""
    answer = httpx.post(
        f"{url}/v1/models/{model}:predict", json={"instances": [member]}, headers=ACCEPT, timeout=60
    )
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [Event.model_validate_json(line) for line in answer.text.splitlines()]


def test_a_stream_ends_with_what_the_plain_answer_would_be(url: str) -> None:
    """Progress, artifact, result: in this order, and the result has the plain answer's form."""
    got = events(url, "keep", mask_path="mask.nii.gz", number=3)
    kinds = [e.event for e in got]
    assert kinds[0] == "progress"
    assert kinds[-1] == "result"
    assert kinds.count("result") == 1
    (artifact,) = [e for e in got if e.event == "artifact"]
    assert artifact.stage == "early"
    assert artifact.artifact == {"number": 3}
    assert got[-1].result is not None
    assert got[-1].result["predictions"][0]["report"] == {"kept": 40}


def test_progress_names_each_stage_and_never_falls(url: str) -> None:
    """All stages are seen, however fast; the fraction rises to 1."""
    got = [e for e in events(url, "keep", mask_path="mask.nii.gz") if e.event == "progress"]
    assert [e.stage for e in got][:3] == ["reading", "first half", "second half"]
    fractions = [e.fraction for e in got if e.fraction is not None]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert len(got) < 50


def test_an_error_is_the_last_line_of_a_stream(url: str) -> None:
    """What would be a problem's status is a problem event; the stream itself is 200."""
    got = events(url, "keep", mask_path="gone.nii.gz")
    assert got[-1].event == "problem"
    assert got[-1].problem is not None
    assert got[-1].problem["code"] == "file_not_found"
    defect = events(url, "broken", mask_path="mask.nii.gz")[-1].problem
    assert defect is not None
    assert defect["code"] == "internal_error"
    assert "secret" not in json.dumps(defect)


def test_a_bad_body_is_refused_before_a_stream_begins(url: str) -> None:
    """A body without instances has a status of its own."""
    answer = httpx.post(f"{url}/v1/models/keep:predict", json={}, headers=ACCEPT, timeout=60)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


def test_hanging_up_on_a_stream_cancels_the_work(url: str, toy: ModuleType, data: DataRoot) -> None:
    """The operation ends as cancelled at its next advance, and leaves nothing."""
    body = {"instances": [{"mask_path": "mask.nii.gz"}]}
    with httpx.stream(
        "POST", f"{url}/v1/models/endless:predict", json=body, headers=ACCEPT, timeout=60
    ) as answer:
        lines = answer.iter_lines()
        assert json.loads(next(lines))["event"] == "progress"
        assert toy.BEGUN.wait(60)
    _ended_without_trace(toy, data)


def test_hanging_up_on_a_plain_request_cancels_the_work(
    url: str, toy: ModuleType, data: DataRoot
) -> None:
    """A caller that waits for one JSON answer and goes away cancels as well."""
    _post_and_hang_up(url, toy)
    _ended_without_trace(toy, data)


def _post_and_hang_up(url: str, toy: ModuleType) -> None:
    body = b'{"instances": [{"mask_path": "mask.nii.gz"}]}'
    address = httpx.URL(url)
    with socket.create_connection((address.host, address.port or 80)) as connection:
        connection.sendall(
            b"POST /v1/models/endless:predict HTTP/1.1\r\nHost: x\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        assert toy.BEGUN.wait(60)


def test_a_withdrawn_ticket_has_ended_when_that_is_answered(
    url: str, toy: ModuleType, data: DataRoot
) -> None:
    """DELETE /tickets/<ticket> returns when nothing will be written any more."""
    ticket = "a" * 32
    body = {"instances": [{"mask_path": "mask.nii.gz", "ticket": ticket}]}
    with httpx.stream(
        "POST", f"{url}/v1/models/endless:predict", json=body, headers=ACCEPT, timeout=60
    ) as answer:
        lines = answer.iter_lines()
        assert next(lines)
        assert toy.BEGUN.wait(60)
        assert httpx.delete(f"{url}/tickets/{'b' * 32}", timeout=60).json() == {"withdrawn": 0}
        assert httpx.delete(f"{url}/tickets/{ticket}", timeout=60).json() == {"withdrawn": 1}
        assert toy.ENDS == ["cancelled"]
        assert json.loads(list(lines)[-1])["problem"]["code"] == "cancelled"
    assert sorted(p.name for p in data.root.rglob("*") if p.is_file()) == ["mask.nii.gz"]


def test_a_request_that_waits_notices_a_hang_up(url: str, toy: ModuleType, data: DataRoot) -> None:
    """A caller that goes away while another one's work runs is never worked for."""
    body = {"instances": [{"mask_path": "mask.nii.gz", "ticket": "a" * 32}]}
    with httpx.stream(
        "POST", f"{url}/v1/models/endless:predict", json=body, headers=ACCEPT, timeout=60
    ) as answer:
        lines = answer.iter_lines()
        assert next(lines)
        assert toy.BEGUN.wait(60)
        with httpx.stream(
            "POST",
            f"{url}/v1/models/keep:predict",
            json={"instances": [{"mask_path": "mask.nii.gz", "ticket": "b" * 32}]},
            headers=ACCEPT,
            timeout=60,
        ):
            pass
        httpx.delete(f"{url}/tickets/{'b' * 32}", timeout=60)
        httpx.delete(f"{url}/tickets/{'a' * 32}", timeout=60)
    assert toy.ENDS == ["cancelled"]
    assert sorted(p.name for p in data.root.rglob("*") if p.is_file()) == ["mask.nii.gz"]


def _ended_without_trace(toy: ModuleType, data: DataRoot) -> None:
    assert toy.ENDED.wait(60)
    assert toy.ENDS == ["cancelled"]
    assert sorted(p.name for p in data.root.rglob("*") if p.is_file()) == ["mask.nii.gz"]
