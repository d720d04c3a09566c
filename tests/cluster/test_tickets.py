"""Tickets outlive gateways, databases and versions; two gateways keep one limit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from cluster.kube import until
from cluster.postgres import Postgres
from cluster.release import Release
from nephra_cli import Client
from nephra_cli.client import case_request
from nephra_cli.demo.patient import FILES, make_patient
from nephra_cli.tickets import Ticket
from nephra_contract.nifti import read_image, write_image

#: A patient that no other test asks about: nothing of it is in the cache.
SEED = 90_019
#: Two requests do not overlap by what their ends take to be noticed.
_NOTICED = timedelta(seconds=0.25)


@pytest.fixture(scope="module")
def phases(release: Release) -> dict[str, str]:
    """A patient in the data root: phase → path; one phase is enough for steps side by side."""
    make_patient(SEED, "small").write(release.data / "tickets")
    return {"A": f"tickets/{FILES['A']}.nii.gz"}


@pytest.fixture
def client(release: Release) -> Iterator[Client]:
    """The release's, through the ingress."""
    with Client(release.cluster.ingress, release.token) as client:
        yield client


def _half_done(client: Client, phases: dict[str, str]) -> Ticket:
    """A case of which a step is finished, and another is not."""
    asked = client.submit("cases", case_request(phases), fresh=True)

    def looked_at() -> Ticket | None:
        found = client.ticket(asked.ticket)
        assert not found.has_ended, found
        states = {s.state for s in found.steps}
        return found if {"finished", "running"} <= states else None

    return until(looked_at, 300, "a step is finished") or asked


def _check_goes_on(client: Client, before: Ticket) -> None:
    """It ends well, by all its events, and what was finished was not done again."""
    events = list(client.events(before.ticket))
    assert events[-1].result is not None
    after = client.ticket(before.ticket)
    assert after.state == "succeeded"
    finished = {s.name: s.seconds for s in before.steps if s.state == "finished"}
    assert finished
    assert finished == {s.name: s.seconds for s in after.steps if s.name in finished}


def test_a_ticket_outlives_all_gateways(
    release: Release, client: Client, phases: dict[str, str]
) -> None:
    """Both pods go without a word in its midst; whoever follows it notices a pause at most."""
    before = _half_done(client, phases)
    selector = release.selector("gateway")
    release.cluster.kubectl(
        "delete", "pods", "-l", selector, "-n", release.namespace, "--grace-period=0", "--force"
    )
    _check_goes_on(client, before)
    release.wait()
    release.wait_until_served(release.cluster.ingress)


def test_a_ticket_outlives_its_database(
    release: Release, postgres: Postgres, client: Client, phases: dict[str, str]
) -> None:
    """PostgreSQL is killed and comes back: what runs waits for it, and nothing is lost."""
    before = _half_done(client, phases)
    known = {t.ticket for t in client.tickets(limit=100).tickets}
    postgres.kill()
    _check_goes_on(client, before)
    assert known <= {t.ticket for t in client.tickets(limit=200).tickets}


def test_a_ticket_outlives_an_upgrade(
    release: Release, client: Client, phases: dict[str, str]
) -> None:
    """Gateways are replaced one after the other; the tables are looked at before."""
    before = _half_done(client, phases)
    release.upgrade(gateway__podAnnotations={"tickets": "kept"})
    try:
        _check_goes_on(client, before)
    finally:
        release.upgrade()
        release.wait_until_served(release.cluster.ingress)


def test_the_migration_leaves_nothing_behind(release: Release) -> None:
    """Job, account and policy of the hook are gone when it has done its work."""
    for kind in ("job", "serviceaccount", "networkpolicy"):
        names = {o["metadata"]["name"] for o in release.cluster.items(kind, release.namespace)}
        assert f"{release.name}-migration" not in names


def test_two_gateways_keep_the_limit_of_one_predictor(
    release: Release, client: Client, small: dict[str, str]
) -> None:
    """Twelve tickets, worked on by both: nnunet never has two of them at once."""
    image, tickets = read_image(release.data / small["image"]), []
    for shift in range(1, 13):  # each an image of its own, or all would be one piece of work
        write_image(release.data / f"small/{shift}.nii.gz", image.like(image.voxels + shift))
        request = {"image_path": f"small/{shift}.nii.gz"}
        tickets.append(client.submit("inference/totalseg", request).ticket)
    assert {client.wait(t).state for t in tickets} == {"succeeded"}
    spans = sorted(_spans(release, set(tickets)))
    assert len(spans) == len(tickets)
    for (_, end), (start, _) in pairwise(spans):
        assert start >= end - _NOTICED
    begun = {
        pod: {line.get("ticket") for line in _lines(release, pod, "ticket begun")}
        for pod in release.pods("gateway")
    }
    assert len(begun) == 2
    assert all(seen & set(tickets) for seen in begun.values())


def _spans(release: Release, tickets: set[str]) -> Iterator[tuple[datetime, datetime]]:
    """From when to when nnunet worked on each of these tickets, as its log tells."""
    (pod,) = release.pods("nnunet")
    for line in _lines(release, pod, "request"):
        if line.get("ticket") in tickets and line["path"].endswith(":predict"):
            end = datetime.fromisoformat(line["time"])
            yield end - timedelta(milliseconds=line["duration_ms"]), end


def _lines(release: Release, pod: str, message: str) -> Iterator[dict[str, Any]]:
    said = release.cluster.kubectl("logs", pod, "-n", release.namespace)
    for text in said.splitlines():
        line = json.loads(text) if text.startswith("{") else {}
        if line.get("message") == message:
            yield line
