"""Tickets that nobody will ever end, since the gateway that had opened them was killed."""

from __future__ import annotations

import re
import shutil
import threading
import time
from pathlib import Path

from nephra_contract.paths import DataRoot
from nephra_contract.results import CLOSED, RESULTS, WITHDRAWN, WORKSHOP, close_ticket

_TICKET = re.compile(r"[0-9a-f]{32}")


def sweep(data: DataRoot, older_than_s: float, stop: threading.Event) -> int:
    """Close abandoned tickets, and finish removals that were cut short.

    Results that are whole stay, as they do wherever a ticket is closed: somebody may have heard of
    them. Several may sweep at once.

    Args:
        data: the data root.
        older_than_s: no ticket that is alive has seen a change for longer.
        stop: ends it between two tickets.

    Returns:
        How many tickets it has ended.

    Raises:
        OSError: the data root cannot be read.
    """
    try:
        found = list((data.root / RESULTS).iterdir())
    except FileNotFoundError:
        return 0  # nothing was ever asked for
    ended = 0
    for home in found:
        if stop.is_set():
            break
        if home.name.startswith(WITHDRAWN):
            shutil.rmtree(home, ignore_errors=True)
        elif _TICKET.fullmatch(home.name) and _age_s(home) > older_than_s:
            ended += _end(data, home)
    return ended


def _age_s(home: Path) -> float:
    """Seconds since work for an open ticket last began or ended a result; of others less than 0."""
    changed_s = []
    for prefix in (WORKSHOP, CLOSED):
        for folder in home.glob(f"{prefix}*"):
            try:
                changed_s.append(folder.lstat().st_mtime)
            except OSError:
                pass  # the ticket has been closed or removed in the meantime
    return time.time() - max(changed_s) if changed_s else -1.0


def _end(data: DataRoot, home: Path) -> bool:
    try:
        close_ticket(data, home.name)
    except OSError:
        return False  # somebody else's files; the next sweep will try again
    try:
        home.rmdir()
    except OSError:
        pass  # it has results
    return True
