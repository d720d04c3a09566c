"""Databases for tests: a private PostgreSQL server, and both kinds asked without asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TypeVar

import psycopg
from sqlalchemy import Connection

from nephra_gateway.store.database import Database

T = TypeVar("T")

#: The longest lease that tests on a shared server take; they are done before it has passed.
LEASE_S = 3.0

_USER = "nephra"
_PATIENCE_S = 60.0

#: Root may not run a server; 'nobody' may.
_UNPRIVILEGED = 65534


@dataclass
class Server:
    """A PostgreSQL server of one's own, that listens on a socket in its folder alone.

    Start it from a thread that outlives it: the kernel ends it when that thread ends.

    Args:
        folder: all that it has.
        binaries: of its version.
        durable: whether it waits for the disk, as a real one does.
    """

    folder: Path
    binaries: Path
    durable: bool = False
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _log: IO[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """Of the database that every server has."""
        return self.named("postgres")

    @property
    def pid(self) -> int:
        """Of its first process."""
        assert self._process is not None
        return self._process.pid

    @property
    def version(self) -> str:
        """As it says itself."""
        with psycopg.connect(self.url) as connection:
            found = connection.execute("SHOW server_version").fetchone()
        assert found is not None
        return str(found[0]).split()[0]

    def named(self, name: str) -> str:
        """The URL of one of its databases."""
        return f"postgresql://{_USER}@/{name}?host={self.folder}"

    def create(self, template: str = "template1") -> str:
        """Make a database; gives its URL."""
        name = f"db_{uuid.uuid4().hex}"
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.named(name)

    def drop(self, url: str) -> None:
        """Take a database away, whoever is connected to it."""
        self._execute(f'DROP DATABASE "{name_of(url)}" WITH (FORCE)')

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement.encode())

    def start(self) -> None:
        """Start it; returns when it answers."""
        quick = [] if self.durable else ["-c", "fsync=off", "-c", "full_page_writes=off"]
        self._log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(
            [*_unprivileged("--pdeathsig=QUIT"), self.binaries / "postgres", "-D",
             self.folder / "data", "-k", self.folder, "-c", "listen_addresses=",
             "-c", "max_connections=200", *quick],
            stdout=self._log,
            stderr=self._log,
        )  # fmt: skip
        end = time.monotonic() + _PATIENCE_S
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < end
            threading.Event().wait(0.02)

    def stop(self, *, crash: bool = False) -> None:
        """Stop it; transactions that run are broken off, and by a crash not even tidied up."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGQUIT if crash else signal.SIGINT)
        self._process.wait(_PATIENCE_S)
        self._process = None
        if self._log is not None:
            self._log.close()

    def _answers(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(self.url, connect_timeout=1).close()
            return True
        return False


def name_of(url: str) -> str:
    """The name of a server's database."""
    return url.split("?", maxsplit=1)[0].rsplit("/", 1)[1]


def absent() -> str | None:
    """Why there can be no server here; None if there can."""
    if _binaries() is None:
        return "no PostgreSQL server is installed (Debian: apt-get install postgresql)"
    if os.getuid() == 0 and shutil.which("setpriv") is None:
        return "PostgreSQL does not run as root, and there is no setpriv"
    return None


@contextmanager
def postgres(*, durable: bool = False) -> Iterator[Server]:
    """A server that runs, with nothing in it; gone in the end.

    Args:
        durable: it waits for the disk, as a real one does; without, tests are quicker.
    """
    binaries = _binaries()
    assert binaries is not None, absent()
    # Not below pytest's folder: who is unprivileged cannot get there, and sockets' paths are short.
    folder = Path(tempfile.mkdtemp(prefix="nephra-pg-", dir="/tmp"))
    server = Server(folder, binaries, durable)
    try:
        if os.getuid() == 0:
            os.chown(folder, _UNPRIVILEGED, _UNPRIVILEGED)
        subprocess.run(
            [*_unprivileged(), binaries / "initdb", "-D", folder / "data", "-U", _USER,
             "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"],
            check=True,
            capture_output=True,
        )  # fmt: skip
        server.start()
        yield server
    finally:
        server.stop(crash=True)
        shutil.rmtree(folder)


@dataclass(frozen=True)
class Asker:
    """A database, asked by code that is no coroutine.

    Args:
        database: the one that is asked.
    """

    database: Database

    def write(self, work: Callable[[Connection], T]) -> T:
        """As `Database.write`."""
        return asyncio.run(self.database.write(work))

    def read(self, work: Callable[[Connection], T]) -> T:
        """As `Database.read`."""
        return asyncio.run(self.database.read(work))


@contextmanager
def asking(url: str) -> Iterator[Asker]:
    """A database at an address, asked by code that is no coroutine; closed in the end."""
    database = Database.of(url)
    try:
        yield Asker(database)
    finally:
        asyncio.run(database.close())


def _unprivileged(*flags: str) -> list[str]:
    """The beginning of a command that is not run as root."""
    if os.getuid() != 0:
        return ["setpriv", *flags] if flags and shutil.which("setpriv") else []
    user = [f"--reuid={_UNPRIVILEGED}", f"--regid={_UNPRIVILEGED}", "--clear-groups"]
    return ["setpriv", *user, *flags]


def _binaries() -> Path | None:
    """Where the newest server that is installed has its programs."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4])
    )
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None
