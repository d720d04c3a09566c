"""Sweeps that are killed, as a program.

It reads lines `[URL, DATA, NUMBER]`, forks a sweep for each, which dies right before the operation
of that number, of those that change database or disk, and writes by which signal it has ended.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nephra_contract.paths import DataRoot
from nephra_gateway.janitor import Janitor
from nephra_gateway.settings import GatewaySettings
from nephra_gateway.store.database import Database


class Doom:
    """Counts operations, and kills before one of them."""

    def __init__(self, number: int) -> None:
        self._left = number

    def over(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, counted."""

        def counted(*args: Any, **named: Any) -> Any:
            if "dir_fd" not in named:  # so is removed what lies in a folder that was renamed
                if self._left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                self._left -= 1
            return function(*args, **named)

        return counted


async def _main(url: str, data: DataRoot, number: int) -> None:
    doom = Doom(number)
    for name in ("unlink", "rmdir", "rename"):
        setattr(os, name, doom.over(getattr(os, name)))
    shutil.rmtree = doom.over(shutil.rmtree)  # type: ignore[assignment]
    database = Database.of(url)
    database.write = doom.over(database.write)  # type: ignore[method-assign]
    await Janitor(database, data, GatewaySettings(data=data.root), "sweeper").sweep()
    await database.close()


def _fork(url: str, data: str, number: int) -> int:
    """Sweep in a process of its own; gives the signal that it died of, 0 if it came to its end."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            asyncio.run(_main(url, DataRoot(Path(data)), number))
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) * -1


if __name__ == "__main__":
    for line in sys.stdin:
        sys.stdout.write(f"{_fork(*json.loads(line))}\n")
        sys.stdout.flush()
