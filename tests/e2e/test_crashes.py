"""Whoever dies or freezes in the middle of a case, it ends, once, as if nothing had happened."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import databases
from e2e.fleet import Fleet, fleet
from nephra_contract.nifti import read_labels, write_image
from nephra_phantom import PHASES, Phantom, centred

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif("NEPHRA_URL" in os.environ, reason="it starts processes of its own"),
]

#: Kills of one test run; the full number is a matter of minutes.
KILLS = int(os.environ.get("NEPHRA_KILLS", "2"))
SEED = int(os.environ.get("NEPHRA_KILLS_SEED", "1"))
GRID = centred((64, 56, 48), (5.2, 5.2, 5.2))
LEASE_S = 2.0
PATIENCE_S = 240.0

CASE = {
    "phases": {"A": "A.nii.gz", "D": "D.nii.gz"},
    "structures": ["kidney", "tumor", "ureter"],
}
LATER = {"Prefer": "respond-async", "Cache-Control": "no-cache"}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    """Two gateways and all predictors, on both databases."""
    home = tmp_path_factory.mktemp("fleet")
    data = home / "data"
    data.mkdir()
    phantom = Phantom(90_003)
    for phase in PHASES:
        write_image(data / f"{phase}.nii.gz", phantom.volume(phase, GRID))
    settings = {"NEPHRA_LEASE_S": str(LEASE_S), "NEPHRA_RETRY_S": "120"}
    if request.param == "sqlite":
        with fleet(data, home, settings) as started:
            yield started
        return
    why = databases.absent()
    if why is not None:
        pytest.skip(why)
    with databases.postgres() as server:
        settings["NEPHRA_DATABASE"] = server.create()
        _migrate(settings["NEPHRA_DATABASE"])
        with fleet(data, home, settings) as started:
            started.server = server  # type: ignore[attr-defined]
            yield started


@pytest.fixture(scope="module")
def masks(running: Fleet) -> dict[str, Any]:
    """What the case gives where nothing dies: step → voxels; and the seconds that it takes."""
    ask(running)  # the first one also warms up
    started = time.monotonic()
    found = ended(running, ask(running))
    assert found["state"] == "succeeded", found
    return {"seconds": time.monotonic() - started, "masks": voxels(running, found)}


def _migrate(url: str) -> None:
    from nephra_gateway.store.database import Database

    Database.of(url).migrate()


def ask(running: Fleet, number: int = 0) -> str:
    """Ask for the case as a ticket."""
    with running.client(number) as client:
        answer = client.post("/cases", json=CASE, headers=LATER)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["ticket"])


def see(running: Fleet, ticket: str) -> dict[str, Any]:
    """A ticket, from whichever gateway answers."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        for number in range(len(running.gateways)):
            with suppress(httpx.HTTPError), running.client(number) as client:
                answer = client.get(f"/tickets/{ticket}", timeout=5)
                if answer.is_success:
                    found: dict[str, Any] = answer.json()
                    return found
        time.sleep(0.1)
    raise AssertionError("no gateway answers")


def ended(running: Fleet, ticket: str) -> dict[str, Any]:
    """A ticket once it has ended."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        found = see(running, ticket)
        if found["state"] not in ("queued", "running"):
            return found
        time.sleep(0.1)
    raise AssertionError(found)


def voxels(running: Fleet, ticket: dict[str, Any]) -> dict[str, Any]:
    """The masks of a case by step."""
    paths = ticket["result"]["mask_paths"]
    return {n: read_labels(running.data / p).voxels for n, p in paths.items() if n != "sample"}


def unfinished(ticket: dict[str, Any]) -> Counter[str]:
    """The operations that are still to be done, each as often as there are steps of it."""
    left = [s["operation"] for s in ticket["steps"] if s["state"] != "finished"]
    # The models are asked for together.
    return Counter({o.partition("/")[0] if o.startswith("inference/") else o for o in left}) | (
        Counter(o for o in left if not o.startswith("inference/"))
    )


def same(running: Fleet, ticket: dict[str, Any], expected: dict[str, Any]) -> None:
    """Assert that a case has the masks that it should have."""
    found = voxels(running, ticket)
    assert set(found) == set(expected)
    for name, mask in expected.items():
        assert np.array_equal(found[name], mask), name


def tidy(running: Fleet) -> None:
    """Assert that nothing half, and nothing that nobody knows, lies among the results."""
    with running.client() as client:
        known = {
            t["ticket"] for t in client.get("/tickets", params={"limit": 500}).json()["tickets"]
        }
    for home in (running.data / "results").iterdir():
        assert home.name in known
        for path in home.iterdir():
            assert not path.name.startswith("."), path
            assert path.name == "manifest.json" or (path / "manifest.json").is_file(), path


def strike(running: Fleet, victim: str) -> None:
    """Kill somebody, and start them again as an orchestrator would."""
    if victim.startswith("worker of "):
        for pid in running.members[victim.removeprefix("worker of ")].workers():
            os.kill(pid, signal.SIGKILL)
        return
    member = running.members[victim]
    member.kill()
    member.start()


VICTIMS = (
    "gateway-0",
    "gateway-1",
    "nnunet",
    "postprocess",
    "smoothing",
    "worker of nnunet",
    "worker of postprocess",
)


def test_a_case_survives_the_death_of_anybody_at_any_moment(
    running: Fleet, masks: dict[str, Any]
) -> None:
    """It succeeds with the same masks, and what was finished is not done again."""
    chance = random.Random(SEED)
    for kill in range(KILLS):
        victim, moment_s = chance.choice(VICTIMS), chance.uniform(0, masks["seconds"])
        ticket = ask(running, chance.randrange(2))
        time.sleep(moment_s)
        strike(running, victim)
        for member in running.members.values():
            member.wait()
        before = see(running, ticket)
        runs = running.runs(ticket)
        found = ended(running, ticket)
        said = f"kill {kill}: {victim} after {moment_s:.2f} of {masks['seconds']:.2f} s"
        print(said, found["state"], f"{unfinished(before).total()} steps were left")
        assert found["state"] == "succeeded", (said, found)
        same(running, found, masks["masks"])
        again = Counter(running.runs(ticket)) - Counter(runs)
        assert not again - unfinished(before), said
    tidy(running)


def test_a_frozen_gateway_that_wakes_up_changes_nothing(
    running: Fleet, masks: dict[str, Any]
) -> None:
    """Its ticket goes on elsewhere; what it does when it is back is not wanted any more."""
    with running.client(1) as other:
        ticket = ask(running, 1)
        for member in running.gateways:
            member.freeze()
        time.sleep(2 * LEASE_S)
        running.gateways[1].thaw()
        assert other.get("/livez").is_success
        found = ended_by(running, 1, ticket)
        running.gateways[0].thaw()
    assert found["state"] == "succeeded"
    same(running, found, masks["masks"])
    running.gateways[0].wait()
    time.sleep(2 * LEASE_S)
    assert see(running, ticket)["result"] == found["result"]
    tidy(running)


def ended_by(running: Fleet, number: int, ticket: str) -> dict[str, Any]:
    """A ticket once it has ended, asked of one gateway."""
    with running.client(number) as client:
        answer = client.get(
            f"/tickets/{ticket}", headers={"Prefer": "wait=200"}, timeout=PATIENCE_S
        )
    found: dict[str, Any] = answer.json()
    return found


def test_a_database_that_restarts_in_mid_run_loses_nothing(
    running: Fleet, masks: dict[str, Any]
) -> None:
    """Requests get 503 while it is away; the work goes on."""
    server: databases.Server | None = getattr(running, "server", None)
    if server is None:
        pytest.skip("SQLite is a file: it does not restart")
    ticket = ask(running)
    time.sleep(masks["seconds"] / 3)
    server.stop(crash=True)
    with running.client() as client:
        refused = client.get("/tickets", timeout=30)
        assert (refused.status_code, refused.json()["code"]) == (503, "database_unavailable")
        assert client.get("/labels").is_success
    server.start()
    found = ended(running, ticket)
    assert found["state"] == "succeeded"
    same(running, found, masks["masks"])
    tidy(running)


def test_cancelling_stops_the_predictor_and_frees_it(running: Fleet, masks: dict[str, Any]) -> None:
    """Within a tile; its memory is what it was, and what is asked next is served."""
    before_mib = memory_mib(running)
    ticket = ask(running)
    end = time.monotonic() + PATIENCE_S
    while not any(s["state"] == "running" for s in see(running, ticket)["steps"]):
        assert time.monotonic() < end
    with running.client(1) as client:  # not the one that works on it, perhaps
        assert client.delete(f"/tickets/{ticket}").json()["state"] == "cancelled"
    assert memory_mib(running) < 1.1 * before_mib + 32
    found = ended(running, ask(running))
    assert found["state"] == "succeeded"
    same(running, found, masks["masks"])
    tidy(running)


def memory_mib(running: Fleet) -> float:
    """Resident memory of the models' worker."""
    pages = [
        int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        for pid in running.members["nnunet"].workers()
    ]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.fixture(autouse=True)
def _all_there(running: Fleet) -> Iterator[None]:
    """Whatever a test has done, the next one finds everybody at work."""
    yield
    for member in running.members.values():
        if member.process.poll() is not None:
            member.start()
        member.process.send_signal(signal.SIGCONT)
        member.wait()
