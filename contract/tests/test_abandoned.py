"""What gateways that were killed have left goes, and nothing else."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from nephra_contract.abandoned import sweep
from nephra_contract.errors import Cancelled
from nephra_contract.paths import DataRoot
from nephra_contract.results import check_open, open_ticket, withdraw_ticket

TICKET, OTHER = "a" * 32, "b" * 32
HOUR_S = 3600.0


def _open(data: DataRoot, ticket: str, age_s: float) -> Path:
    """A ticket with half a result, that has seen no change for so long; gives its folder."""
    open_ticket(data, ticket)
    home = data.root / "results" / ticket
    (home / ".work-0" / "toy.0123abcd").mkdir()
    (home / ".work-0" / "toy.0123abcd" / "half").write_text("half")
    _age(home / ".work-0", age_s)
    return home


def _age(folder: Path, age_s: float) -> None:
    then = time.time() - age_s
    os.utime(folder, (then, then))


def _sweep(data: DataRoot) -> int:
    return sweep(data, HOUR_S, threading.Event())


def test_an_abandoned_ticket_is_closed(data: DataRoot) -> None:
    """Half a result goes, a whole one stays, and late work for it is refused."""
    home = _open(data, TICKET, 2 * HOUR_S)
    (home / "whole").mkdir()
    (home / "whole" / "mask").write_text("mask")
    assert _sweep(data) == 1
    assert [p.relative_to(home).as_posix() for p in home.rglob("*")] == ["whole", "whole/mask"]
    with pytest.raises(Cancelled):
        check_open(data, TICKET)
    assert _sweep(data) == 0


def test_a_ticket_without_results_leaves_nothing(data: DataRoot) -> None:
    """Not even its folder."""
    _open(data, TICKET, 2 * HOUR_S)
    assert _sweep(data) == 1
    assert list((data.root / "results").iterdir()) == []


def test_a_ticket_that_may_be_alive_is_left_alone(data: DataRoot) -> None:
    """However many others go."""
    young = _open(data, TICKET, HOUR_S / 2)
    _open(data, OTHER, 2 * HOUR_S)
    before = sorted(young.rglob("*"))
    assert _sweep(data) == 1
    assert sorted(young.rglob("*")) == before


def test_removals_that_were_cut_short_are_finished(data: DataRoot) -> None:
    """Those of a withdrawal at once, those of a closed ticket when it is old."""
    _open(data, TICKET, 0).rename(data.root / "results" / f".withdrawn-{TICKET}")
    home = _open(data, OTHER, 2 * HOUR_S)
    (home / ".work-0").rename(home / ".closed-0")
    assert _sweep(data) == 1
    assert list((data.root / "results").iterdir()) == []


def test_what_is_no_ticket_is_left_alone(data: DataRoot) -> None:
    """Files and folders of other names, links, and tickets that have ended."""
    results = data.root / "results"
    _open(data, TICKET, 2 * HOUR_S).rename(results / "mine")
    (results / "note.txt").write_text("note")
    (results / OTHER / "toy").mkdir(parents=True)
    before = sorted(results.rglob("*"))
    assert _sweep(data) == 0
    assert sorted(results.rglob("*")) == before


def test_a_sweep_can_be_stopped(data: DataRoot) -> None:
    """Where there are many tickets, nobody waits for their end."""
    _open(data, TICKET, 2 * HOUR_S)
    stop = threading.Event()
    stop.set()
    assert sweep(data, HOUR_S, stop) == 0


def test_where_nothing_was_asked_for_there_is_nothing_to_sweep(data: DataRoot) -> None:
    """No folder of results, no error."""
    assert _sweep(data) == 0
    withdraw_ticket(data, TICKET)
    assert _sweep(data) == 0
