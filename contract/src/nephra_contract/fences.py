"""Who may write for a ticket, and until when: decided in the file system, where writing happens."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nephra_contract.errors import Cancelled
from nephra_contract.paths import DataRoot

#: The folder below the data root in which results lie.
RESULTS = "results"

#: The folder of an open ticket in which an attempt writes all that is not finished: its prefix.
WORKSHOP = ".work-"

#: What is renamed before it is removed: a ticket's workshop, and results that nobody needs.
CLOSED, WITHDRAWN = ".closed-", ".withdrawn-"

#: Whoever has just looked a folder up may still put a file into it while it is removed.
_REMOVALS = 5


@dataclass(frozen=True)
class Fence:
    """Where work for a ticket may write, and until when.

    Args:
        step: what tells this work from other work of the same operation under the ticket.
        attempt: at the ticket; what an earlier one still does cannot be written any more.
    """

    step: str = ""
    attempt: int = 0

    def workshop(self, home: Path) -> Path:
        """The attempt's folder in that of its ticket."""
        return home / f"{WORKSHOP}{self.attempt}"


_FIRST = Fence()


def open_ticket(data: DataRoot, ticket: str, attempt: int = 0) -> None:
    """Let an attempt at a ticket write, until the ticket is closed; earlier attempts cannot then.

    Raises:
        OSError: the data root cannot be written.
    """
    home = data.resolve(f"{RESULTS}/{ticket}")
    mine = Fence(attempt=attempt).workshop(home)
    mine.mkdir(parents=True)
    _take_workshops(home, mine)


def close_ticket(data: DataRoot, ticket: str) -> None:
    """End a ticket whose results stay: what is half done goes, and nobody can write any more."""
    home = data.resolve(f"{RESULTS}/{ticket}")
    _take_workshops(home)
    for partial in home.glob(".*"):  # of work that knew of no step
        shutil.rmtree(partial, ignore_errors=True)


def check_open(data: DataRoot, ticket: str | None, fence: Fence | None = _FIRST) -> None:
    """See whether work for a ticket may still write; without a fence it always may.

    Raises:
        Cancelled: the ticket has been closed, or another attempt has begun.
    """
    if ticket is None or fence is None:
        return
    if not fence.workshop(data.resolve(f"{RESULTS}/{ticket}")).is_dir():
        raise Cancelled(
            "The ticket of this work is closed.",
            "Send the request again to start anew.",
            code="ticket_closed",
        )


@contextmanager
def while_open(data: DataRoot, ticket: str | None, fence: Fence | None) -> Iterator[None]:
    """Let what the system says of a folder that was taken away be `check_open`'s `Cancelled`."""
    try:
        yield
    except OSError:
        check_open(data, ticket, fence)
        raise


def _take_workshops(home: Path, but: Path | None = None) -> None:
    """Take away what attempts at a ticket write in."""
    for workshop in home.glob(f"{WORKSHOP}*"):
        if workshop != but:
            number = workshop.name.removeprefix(WORKSHOP)
            _take_away(workshop, workshop.with_name(CLOSED + number))


def _take_away(folder: Path, aside: Path) -> None:
    """Remove a folder so that at no moment anybody can write into what is left of it."""
    try:
        folder.rename(aside)
    except FileNotFoundError:
        return
    for _ in range(_REMOVALS):
        shutil.rmtree(aside, ignore_errors=True)
        if not aside.exists():
            return
