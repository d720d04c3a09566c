"""What holds between processes that share a database, whatever becomes of them."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

import databases
from databases import Asker
from nephra_gateway.store import tickets
from nephra_gateway.store.database import Database
from nephra_gateway.store.tickets import Asked

Start = Callable[..., subprocess.Popen[str]]

WORKERS = Path(__file__).with_name("workers.py")
PATIENCE_S = 60.0


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts workers; all are dead in the end."""
    started: list[subprocess.Popen[str]] = []

    def begin(*words: str, before: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*before, sys.executable, str(WORKERS), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            stream.close()


def line(process: subprocess.Popen[str]) -> str:
    """What a worker says next."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def rest(process: subprocess.Popen[str]) -> list[str]:
    """All that a worker says until it ends well."""
    assert process.stdout is not None
    said = process.stdout.read()  # `communicate` would not see what `line` has read ahead
    assert process.wait(PATIENCE_S) == 0
    return said.split("\n")[:-1]


def tell(process: subprocess.Popen[str]) -> None:
    """Let a worker go on."""
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that other processes do, or that time does."""
    pause, end = threading.Event(), time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        pause.wait(0.02)


def submit(asker: Asker, count: int) -> set[str]:
    """Queue tickets."""
    ids = [f"{number:032x}" for number in range(count)]
    for i in ids:
        asker.write(partial(tickets.submit, asked=Asked(i, "o", {}, "me")))
    return set(ids)


def state(asker: Asker, ticket: str) -> str:
    """Where a ticket is."""
    found = asker.read(lambda c: tickets.get(c, ticket))
    assert found is not None
    return found.state


def test_no_ticket_is_claimed_twice(asker: Asker, database_url: str, start: Start) -> None:
    """Four processes that claim as fast as they can share a hundred tickets."""
    ids = submit(asker, 100)
    workers = [start("claims", database_url, name) for name in "abcd"]
    for worker in workers:
        tell(worker)
    claimed = [ticket for worker in workers for ticket in rest(worker)]
    assert len(claimed) == len(ids)
    assert set(claimed) == ids


def test_a_predictor_has_one_request_at_a_time(
    asker: Asker, database_url: str, start: Start, tmp_path: Path
) -> None:
    """Four processes, four workers in each, forty tickets, one turn."""
    ids = submit(asker, 40)
    workers = [start("takes", database_url, name, str(tmp_path)) for name in "abcd"]
    for worker in workers:
        tell(worker)
    said = [each for worker in workers for each in rest(worker)]
    assert "two at once" not in said
    assert sorted(said) == sorted(ids)
    assert {state(asker, i) for i in ids} == {"succeeded"}


def test_who_was_frozen_for_too_long_writes_nothing(
    asker: Asker, database_url: str, start: Start
) -> None:
    """A worker that is stopped past its lease, and goes on when another has its ticket."""
    submit(asker, 1)
    worker = start("freezes", database_url, "frozen")
    ticket = line(worker)
    worker.send_signal(signal.SIGSTOP)
    until(lambda: bool(asker.write(lambda c: tickets.claim(c, "other", 2, 1))))
    before = asker.read(lambda c: tickets.get(c, ticket))
    worker.send_signal(signal.SIGCONT)
    tell(worker)
    assert rest(worker) == ["lost", "lost", "lost", "lost"]
    assert asker.read(lambda c: tickets.get(c, ticket)) == before
    assert asker.read(lambda c: tickets.events(c, ticket)) == []


def test_who_dies_in_mid_change_has_changed_nothing(
    asker: Asker, database_url: str, start: Start
) -> None:
    """And holds nobody up."""
    [ticket] = submit(asker, 1)
    worker = start("begins", database_url, "dead", ticket)
    assert line(worker) == "inside"
    worker.kill()
    worker.wait(PATIENCE_S)
    assert state(asker, ticket) == "queued"
    assert asker.write(lambda c: tickets.claim(c, "alive", 60, 1))


def test_who_freezes_in_mid_change_holds_others_up_for_a_while_only(
    postgresql: databases.Server, template: str, start: Start
) -> None:
    """PostgreSQL ends its transaction; on SQLite, one host, the others wait for it."""
    url = postgresql.create(template)
    hasty = f"{url}&options=-c%20idle_in_transaction_session_timeout%3D300"
    with databases.asking(url) as asker:
        [ticket] = submit(asker, 1)
        worker = start("begins", hasty, "frozen", ticket)
        assert line(worker) == "inside"
        worker.send_signal(signal.SIGSTOP)
        ended = asker.write(lambda c: tickets.cancel(c, ticket))
        assert ended is not None
        worker.send_signal(signal.SIGCONT)
        tell(worker)
        assert rest(worker) == ["database_unavailable"]
        assert asker.read(lambda c: tickets.get(c, ticket)) == ended


def test_nothing_is_lost_when_the_server_starts_again(start: Start) -> None:
    """Once in peace, once by a crash, while four processes submit and finish tickets."""
    why = databases.absent()
    if why is not None:
        pytest.skip(why)
    with databases.postgres() as server:
        Database.of(server.url).migrate()
        workers = [start("endures", server.url, name, "10") for name in "abcd"]
        for crash in (False, True):
            for worker in workers:
                assert line(worker) != "done"
            server.stop(crash=crash)
            server.start()
        for worker in workers:
            assert rest(worker)[-1] == "done"
        with databases.asking(server.url) as asker:
            found, more = asker.read(lambda c: tickets.page(c, owner="me", limit=200))
            assert (len(found), more) == (40, None)
            assert {(t.state, t.last_event) for t in found} == {("succeeded", 1)}


def fills(said: list[str]) -> None:
    """What a worker says whose disk was full for a while."""
    assert said[0].startswith("database_unavailable The database of this gateway cannot be used")
    assert set(said[1].split()) == {"Unavailable"}
    submitted, queued = map(int, said[2].split())
    assert submitted == queued > 0
    assert said[3:] == [f"works again {queued + 1}"]


def test_a_file_that_cannot_grow_is_said_and_got_over(tmp_path: Path, start: Start) -> None:
    """Where a file may not become larger; what was written before stays."""
    url = f"sqlite:///{tmp_path / 'gateway.db'}"
    Database.of(url).migrate()
    fills(rest(start("fills", url, "-", "2000000")))


def test_a_full_disk_is_said_and_got_over(tmp_path: Path, start: Start) -> None:
    """A small file system of its own, in a name space of its own: root alone can have one."""
    script = f'mount -t tmpfs -o size=3m none {tmp_path} && exec "$@"'
    private = ("unshare", "--mount", "sh", "-c", script, "sh")
    if (
        shutil.which("unshare") is None
        or subprocess.run([*private, "true"], check=False).returncode
    ):
        pytest.skip("no file system can be mounted here")
    url, ballast = f"sqlite:///{tmp_path / 'gateway.db'}", tmp_path / "ballast"
    fill = f"head -c 1000000 /dev/zero > {ballast} && NEPHRA_DATABASE={url} "
    fill += f'{sys.executable} -m nephra_gateway migrate && exec "$@"'
    before = (*private, "sh", "-c", fill, "sh")
    fills(rest(start("fills", url, str(ballast), "0", before=before)))
