"""How files of results go: a folder is renamed before it is removed, so that none is half there."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nephra_contract.fences import RESULTS, WITHDRAWN, close_ticket
from nephra_contract.paths import DataRoot
from nephra_gateway.store.removal import Going

_TICKET = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Sweeping:
    """Removes files below `results/`; every method may be repeated after a crash.

    Args:
        data: the data root.
    """

    data: DataRoot

    def home(self, ticket: str) -> Path:
        """The folder of a ticket."""
        return self.data.root / RESULTS / ticket

    def tickets(self) -> list[str]:
        """The tickets that have folders.

        Raises:
            OSError: the data root cannot be read.
        """
        try:
            with os.scandir(self.data.root / RESULTS) as found:
                return [item.name for item in found if _TICKET.fullmatch(item.name)]
        except FileNotFoundError:
            return []  # nothing was ever asked for

    def gone(self, tickets: Collection[str]) -> list[str]:
        """Those that have none."""
        return [ticket for ticket in tickets if not self.home(ticket).exists()]

    def finish(self) -> None:
        """Finish removals that were cut short.

        Raises:
            OSError: the data root cannot be read.
        """
        for aside in (self.data.root / RESULTS).glob(f"{WITHDRAWN}*"):
            shutil.rmtree(aside, ignore_errors=True)

    def remove(self, entry: Going) -> bool:
        """Remove an entry's files; False where that cannot be done now."""
        home = self.home(entry.ticket)
        try:
            if entry.folder is not None:
                self._take_away(self.data.root / entry.folder)
            for path in entry.files:
                (self.data.root / path).unlink(missing_ok=True)
        except OSError:
            return False
        _remove_if_empty(home)
        return True

    def clear(self, ticket: str, kept: Collection[str]) -> None:
        """Remove all in the folder of a ticket that has ended but some of what lies in it.

        Args:
            ticket: whose folder.
            kept: paths of files and folders right in it, relative to the data root.
        """
        home = self.home(ticket)
        try:
            close_ticket(self.data, ticket)
            found = list(home.iterdir())
        except FileNotFoundError:
            return  # it never had one, or somebody else has cleared it
        for path in found:
            if f"{RESULTS}/{ticket}/{path.name}" not in kept:
                self._take_away(path)
        _remove_if_empty(home)

    def _take_away(self, path: Path) -> None:
        """Remove a file or folder; of a folder there is all or nothing at any moment."""
        if path.is_dir() and not path.is_symlink():
            aside = self.data.root / RESULTS / f"{WITHDRAWN}{path.parent.name}.{path.name}"
            with suppress(FileNotFoundError):  # somebody else was quicker
                path.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        pass  # it holds other results
