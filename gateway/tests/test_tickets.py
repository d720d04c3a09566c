"""Work that goes on without its caller: tickets, their events, and their end."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from nephra_contract.paths import DataRoot
from nephra_gateway.settings import GatewaySettings

TUMOR = {"image_path": "A.nii.gz"}
LATER = {"Prefer": "respond-async"}
PATIENCE_S = 60.0


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that goes on elsewhere."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end


def ask(gateway: httpx.Client, path: str = "/inference/tumor", **more: Any) -> dict[str, Any]:
    """Ask for work as a ticket; gives the ticket."""
    headers = {**LATER, **more.pop("headers", {})}
    answer = gateway.post(path, json=more.pop("json", TUMOR), headers=headers)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/tickets/{found['ticket']}"
    assert answer.headers["preference-applied"] == "respond-async"
    return found


def ended(gateway: httpx.Client, ticket: str) -> dict[str, Any]:
    """A ticket once it has ended."""
    found: dict[str, Any] = gateway.get(
        f"/tickets/{ticket}", headers={"Prefer": f"wait={PATIENCE_S:.0f}"}
    ).json()
    assert found["state"] in ("succeeded", "failed", "cancelled"), found
    return found


def happenings(lines: Iterator[str]) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Server-Sent Events: number, name, data."""
    said: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            said[name] = value.strip()
        elif "data" in said:
            yield int(said["id"]), said["event"], json.loads(said["data"])
            said = {}
        else:
            said = {}


def test_a_ticket_is_answered_and_its_work_goes_on(gateway: httpx.Client, gates: Any) -> None:
    """The caller may leave; the answer is the one that waiting would have given."""
    gates.hold("tumor")
    asked = ask(gateway)
    assert asked["state"] in ("queued", "running")
    assert asked["request"] == TUMOR
    assert gates.reached["tumor"].wait(PATIENCE_S)
    now = gateway.get(f"/tickets/{asked['ticket']}").json()
    assert now["state"] == "running"
    assert now["started"] >= now["created"]
    assert [s["state"] for s in now["steps"]] == ["running"]
    gates.go.set()
    found = ended(gateway, asked["ticket"])
    assert found["state"] == "succeeded"
    assert found["fraction"] == 1
    assert found["result"]["ticket"] == asked["ticket"]
    assert found["steps"][0]["state"] == "finished"
    assert found["steps"][0]["operation"] == "inference/tumor"


def test_waiting_ends_with_the_answer_or_with_the_ticket(gateway: httpx.Client, gates: Any) -> None:
    """`wait=N` is long enough for what is quick, and gives the ticket of what is not."""
    quick = gateway.post("/inference/tumor", json=TUMOR, headers={"Prefer": "wait=60"})
    assert quick.status_code == 200
    assert quick.json()["mask_path"]
    assert quick.headers["nephra-ticket"] == quick.json()["ticket"]
    gates.hold("tumor")
    slow = gateway.post("/inference/tumor", json=TUMOR, headers={"Prefer": "wait=1"})
    assert slow.status_code == 202
    gates.go.set()
    assert ended(gateway, slow.json()["ticket"])["state"] == "succeeded"


def test_a_failed_ticket_says_why(gateway: httpx.Client, gates: Any) -> None:
    """The predictor's problem, as a synchronous caller would have got it."""
    gates.failing.add("tumor")
    found = ended(gateway, ask(gateway)["ticket"])
    assert found["state"] == "failed"
    assert found["problem"]["code"] == "unprocessable"
    assert "result" not in found
    assert found["steps"][0]["state"] == "failed"


def test_events_are_numbered_and_go_on_where_they_broke_off(
    gateway: httpx.Client, gates: Any
) -> None:
    """All of them from the beginning, or those after the last that is known; the result is last."""
    ticket = ask(gateway, "/cases", json={"phases": {"A": "A.nii.gz"}})["ticket"]
    with gateway.stream("GET", f"/tickets/{ticket}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        every = list(happenings(answer.iter_lines()))
    numbers = [number for number, _, _ in every]
    assert numbers == sorted(set(numbers))
    assert every[-1][1] == "result"
    assert every[-1][2]["result"]["ticket"] == ticket
    assert {"totalseg", "tumor", "merge", "scene"} <= {
        d["stage"] for _, n, d in every if n == "artifact"
    }
    middle = numbers[len(numbers) // 2]
    again = gateway.get(f"/tickets/{ticket}/events", headers={"Last-Event-ID": str(middle)})
    assert list(happenings(iter(again.text.split("\n")))) == [e for e in every if e[0] > middle]
    for known in (numbers[-1], 10**9):  # browsers come again until they are told not to
        over = gateway.get(f"/tickets/{ticket}/events", headers={"Last-Event-ID": str(known)})
        assert over.status_code == 204


def test_a_case_gives_each_mesh_as_soon_as_it_is_there(gateway: httpx.Client, gates: Any) -> None:
    """The preview's mesh comes while a model is still at work."""
    gates.hold("tumor")
    ticket = ask(gateway, "/cases", json={"phases": {"A": "A.nii.gz"}})["ticket"]
    with gateway.stream("GET", f"/tickets/{ticket}/events") as answer:
        for _, name, data in happenings(answer.iter_lines()):
            if name == "artifact" and data["stage"] == "preview":
                assert data["artifact"]["obj_path"]
                shown = gateway.get(f"/tickets/{ticket}").json()
                states = {s["name"]: s["state"] for s in shown["steps"]}
                assert states["totalseg"] == "finished"
                assert states["tumor"] == "running"
                assert states["scene"] == "waiting"
                gates.go.set()
            last = name
    assert last == "result"


def test_cancelling_stops_the_work_and_keeps_nothing_half(
    gateway: httpx.Client, data: DataRoot, gates: Any
) -> None:
    """DELETE answers when the predictor has stopped; a second one changes nothing."""
    gates.hold("tumor")
    ticket = ask(gateway)["ticket"]
    assert gates.reached["tumor"].wait(PATIENCE_S)
    answer = gateway.delete(f"/tickets/{ticket}")
    assert answer.status_code == 200
    assert answer.json()["state"] == "cancelled"
    assert gates.ended["tumor"].is_set()
    assert not (data.root / "results" / ticket).exists()
    assert gateway.delete(f"/tickets/{ticket}").json()["state"] == "cancelled"
    said = gateway.get(f"/tickets/{ticket}/events").text.split("\n")
    assert list(happenings(iter(said)))[-1][2]["problem"]["code"] == "cancelled"


def test_what_waits_is_cancelled_at_once(gateway: httpx.Client, gates: Any) -> None:
    """A ticket that waits for its turn never reaches the predictor."""
    gates.hold("tumor", "ureter")
    first = ask(gateway)["ticket"]
    assert gates.reached["tumor"].wait(PATIENCE_S)
    second = ask(gateway, "/inference/ureter", json={"image_path": "D.nii.gz"})["ticket"]
    until(lambda: gateway.get(f"/tickets/{second}").json()["stage"] == "waiting for nnunet")
    assert gateway.delete(f"/tickets/{second}").json()["state"] == "cancelled"
    assert not gates.reached["ureter"].is_set()
    gates.go.set()
    assert ended(gateway, first)["state"] == "succeeded"


def test_what_has_ended_cannot_be_cancelled(gateway: httpx.Client, gates: Any) -> None:
    """409, and the ticket stays as it is."""
    ticket = ask(gateway)["ticket"]
    ended(gateway, ticket)
    answer = gateway.delete(f"/tickets/{ticket}")
    assert answer.status_code == 409
    assert answer.json()["code"] == "ticket_ended"
    assert gateway.get(f"/tickets/{ticket}").json()["state"] == "succeeded"


def test_a_key_stands_for_one_piece_of_work(gateway: httpx.Client, gates: Any) -> None:
    """Sent again it is the same ticket; with another request it is refused."""
    key = {"Idempotency-Key": hashlib.sha256(str(time.time_ns()).encode()).hexdigest()}
    first = ask(gateway, headers=key)["ticket"]
    ended(gateway, first)
    again = gateway.post("/inference/tumor", json=TUMOR, headers={**key, **LATER})
    assert again.status_code == 200
    assert again.json()["ticket"] == first
    other = gateway.post("/inference/tumor", json={"image_path": "P.nii.gz"}, headers=key)
    assert other.status_code == 422
    assert other.json()["code"] == "idempotency_key_reused"


def test_the_listing_is_filtered_and_paged(gateway: httpx.Client, gates: Any) -> None:
    """The newest first, without results, and each once over all pages."""
    made = [ask(gateway)["ticket"] for _ in range(3)]
    for ticket in made:
        ended(gateway, ticket)
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None and len(seen) < 500:
        said = {"limit": "2", "operation": "inference/tumor", "state": "succeeded"}
        page = gateway.get("/tickets", params=said | ({"cursor": cursor} if cursor else {})).json()
        assert all(t["operation"] == "inference/tumor" for t in page["tickets"])
        assert all("result" not in t for t in page["tickets"])
        seen += [t["ticket"] for t in page["tickets"]]
        cursor = page.get("next")
    assert len(seen) == len(set(seen))
    assert [t for t in seen if t in made] == made[::-1]
    for bad in ({"limit": 0}, {"state": "asleep"}, {"cursor": "x"}):
        assert gateway.get("/tickets", params=bad).status_code == 422


def test_a_ticket_can_be_tried_again(gateway: httpx.Client, gates: Any) -> None:
    """A new ticket with the same request, once the first has ended."""
    gates.failing.add("tumor")
    first = ask(gateway)["ticket"]
    assert ended(gateway, first)["state"] == "failed"
    gates.failing.clear()
    answer = gateway.post(f"/tickets/{first}/retry")
    assert answer.status_code in (200, 202)
    again = answer.json()["ticket"]
    assert again != first
    assert ended(gateway, again)["state"] == "succeeded"
    gates.hold("tumor")
    running = ask(gateway)["ticket"]
    assert gates.reached["tumor"].wait(PATIENCE_S)
    refused = gateway.post(f"/tickets/{running}/retry")
    assert (refused.status_code, refused.json()["code"]) == (409, "ticket_running")


def test_a_found_result_is_placed_like_one_that_was_made(
    gateway: httpx.Client, data: DataRoot, gates: Any
) -> None:
    """A copy under the wanted name; an input is not written over, and a suffix has to fit."""
    cached = {"Cache-Control": "max-age=0"}
    for output, hit in (("placed/one.nii.gz", False), ("elsewhere/one.nii.gz", True)):
        body = {**TUMOR, "output_path": output}
        answer = gateway.post("/inference/tumor", json=body, headers=cached)
        assert answer.status_code == 200, answer.text
        assert answer.json()["cached"] is hit
        assert answer.json()["mask_path"] == output
        assert data.file(output).stat().st_size > 0
    before = data.file("A.nii.gz").read_bytes()
    for wrong in ("A.nii.gz", "one.txt", "../one.nii.gz"):
        answer = gateway.post(
            "/inference/tumor", json={**TUMOR, "output_path": wrong}, headers=cached
        )
        assert answer.status_code in (400, 422), answer.text
    assert data.file("A.nii.gz").read_bytes() == before


def test_what_is_not_there_is_not_found(gateway: httpx.Client) -> None:
    """For every method; an address of a ticket that never was gives nothing away."""
    for method, tail in (("GET", ""), ("GET", "/events"), ("DELETE", ""), ("POST", "/retry")):
        answer = gateway.request(method, f"/tickets/{'0' * 32}{tail}")
        assert (answer.status_code, answer.json()["code"]) == (404, "ticket_unknown")
    bad = gateway.get(f"/tickets/{'0' * 32}/events", headers={"Last-Event-ID": "x"})
    assert bad.status_code in (404, 422)


@pytest.fixture
def owners(
    start: Any, data: DataRoot, predictors: dict[str, str], tmp_path: Path
) -> Iterator[Callable[[str], httpx.Client]]:
    """A gateway with three tokens; gives a client of each."""
    tokens = tmp_path / "tokens"
    rows = [("anna", "run"), ("ben", "run"), ("root", "admin"), ("eye", "read")]
    tokens.write_text(
        "".join(f"{hashlib.sha256(n.encode()).hexdigest()} {n} {s}\n" for n, s in rows)
    )
    settings = GatewaySettings(data=data.root, predictors=predictors, tokens_file=tokens)
    clients: list[httpx.Client] = []
    with start(settings) as url:

        def client(name: str) -> httpx.Client:
            headers = {"Authorization": f"Bearer {name}", "Cache-Control": "no-cache"}
            clients.append(httpx.Client(base_url=url, headers=headers, timeout=PATIENCE_S))
            return clients[-1]

        yield client
        for one in clients:
            one.close()


def test_owners_see_their_own_tickets_only(
    owners: Callable[[str], httpx.Client], gates: Any
) -> None:
    """Somebody else's is not there, whatever is asked of it; an admin sees all."""
    anna, ben, root = owners("anna"), owners("ben"), owners("root")
    ticket = ask(anna)["ticket"]
    assert ended(anna, ticket)["owner"] == "anna"
    for method, tail in (("GET", ""), ("GET", "/events"), ("DELETE", ""), ("POST", "/retry")):
        assert ben.request(method, f"/tickets/{ticket}{tail}").status_code == 404
    assert ticket not in {t["ticket"] for t in ben.get("/tickets").json()["tickets"]}
    assert ticket in {t["ticket"] for t in root.get("/tickets").json()["tickets"]}
    assert root.get(f"/tickets/{ticket}").json()["ticket"] == ticket


def test_who_may_only_look_starts_nothing(owners: Callable[[str], httpx.Client]) -> None:
    """403 for work and for cancelling."""
    eye = owners("eye")
    assert eye.post("/inference/tumor", json=TUMOR).json()["code"] == "scope_missing"
    assert eye.delete(f"/tickets/{'0' * 32}").status_code == 403
    assert eye.get("/tickets").status_code == 200
