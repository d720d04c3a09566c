"""SQLite: one file, all processes on one host."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import SystemRandom
from typing import Any, ClassVar, TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy import exc as sa_exc

from nephra_gateway.store.database import Database, Work
from nephra_gateway.store.schema import dumps

T = TypeVar("T")

#: Another process's transaction is waited for so long.
_LOCKED_S = 5.0

_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_SNAPSHOT, sqlite3.SQLITE_BUSY_RECOVERY)

_READERS = 4

_READING = "BEGIN"

_chance = SystemRandom()

#: So many waiting works share a commit; the first of them waits for the last.
_TOGETHER = 64


@dataclass(frozen=True)
class _Waiting:
    work: Work[Any]
    future: Future[Any] = field(default_factory=Future)


class SqliteDatabase(Database):
    """A file with a write-ahead log: readers never wait, and there is one writer at a time.

    The writers of one process would only wait for each other's locks. So there is one thread
    that writes, and all works that wait when it is free share one transaction, with a savepoint
    each: many small writes cost about what one costs.

    Args:
        url: `sqlite:////absolute/path`.

    Raises:
        ValueError: no absolute path of a file.
    """

    away: ClassVar[tuple[type[Exception], ...]] = (sqlite3.Error,)

    def __init__(self, url: sa.URL) -> None:
        super().__init__()
        if not url.database or not Path(url.database).is_absolute():
            raise ValueError("The SQLite database has to be a file, named by its absolute path.")
        self._url, self._path = url, Path(url.database)
        self._to_write = _engine(url, "BEGIN IMMEDIATE", 1)
        self._to_read = _engine(url, _READING, _READERS, "PRAGMA query_only=ON")
        self._waiting: deque[_Waiting] = deque()
        self._writer = ThreadPoolExecutor(1, "database-write")
        self._readers = ThreadPoolExecutor(_READERS, "database-read")

    def _write(self, work: Work[T]) -> Future[T]:
        waiting = _Waiting(work)
        self._waiting.append(waiting)
        self._writer.submit(self._drain)
        return waiting.future

    def _read(self, work: Work[T]) -> Future[T]:
        return self._readers.submit(self._ask, work)

    def _ask(self, work: Work[T]) -> T:
        with self._to_read.begin() as connection:
            return work(connection)

    def _close(self) -> None:
        self._writer.shutdown()
        self._readers.shutdown()
        self._to_write.dispose()
        self._to_read.dispose()

    def _migrator(self) -> Engine:
        # Tables that are made anew would else take with them what refers to them.
        return _engine(self._url, "BEGIN IMMEDIATE", 1, "PRAGMA foreign_keys=OFF")

    def _prepare(self) -> None:
        """The folder alone: where the data root is not there, none is made in its place."""
        with contextlib.suppress(OSError):  # opening the file says it
            self._path.parent.mkdir(mode=0o700, exist_ok=True)

    def _drain(self) -> None:
        """Do what waits. Whoever asked while others were written finds it done."""
        works: list[_Waiting] = []
        while self._waiting and len(works) < _TOGETHER:
            waiting = self._waiting.popleft()
            if waiting.future.set_running_or_notify_cancel():
                works.append(waiting)
        if len(works) < 2 or not self._together(works):
            for waiting in works:
                self._alone(waiting)

    def _alone(self, waiting: _Waiting) -> None:
        try:
            with self._to_write.begin() as connection:
                answer = waiting.work(connection)
        except BaseException as error:  # noqa: BLE001 - it goes to who has asked
            waiting.future.set_exception(error)
        else:
            waiting.future.set_result(answer)

    def _together(self, works: Sequence[_Waiting]) -> bool:
        """Whether each knows how it went; else nothing is done, for any one of them may be why."""
        outcomes: list[tuple[Any, Exception | None]]
        begun = False
        try:
            with self._to_write.begin() as connection:
                begun = True
                outcomes = [_attempt(connection, waiting.work) for waiting in works]
        except Exception as error:  # noqa: BLE001 - it goes to who has asked
            if begun:
                return False
            outcomes = [(None, error)] * len(works)  # locked: not to be waited for again by each
        for waiting, (answer, failure) in zip(works, outcomes, strict=True):
            if failure is not None:
                waiting.future.set_exception(failure)
            else:
                waiting.future.set_result(answer)
        return True


def _attempt(connection: Connection, work: Work[Any]) -> tuple[Any, Exception | None]:
    # Said to the driver itself: SQLAlchemy's own savepoints cost as much as a small work.
    driver = connection.connection.driver_connection
    assert driver is not None
    driver.execute("SAVEPOINT work").close()
    outcome: tuple[Any, Exception | None]
    try:
        outcome = work(connection), None
    except (sa_exc.DBAPIError, sqlite3.Error):
        raise  # a full disk ends the transaction of all
    except Exception as error:  # noqa: BLE001 - it goes to who has asked
        driver.execute("ROLLBACK TO work").close()
        outcome = None, error
    driver.execute("RELEASE work").close()
    return outcome


def _engine(url: sa.URL, begin: str, size: int, *pragmas: str) -> Engine:
    """An engine whose transactions begin as told: sqlite3's own begin too late to be immediate."""
    engine = sa.create_engine(
        url.set(drivername="sqlite+pysqlite"),
        connect_args={
            "isolation_level": None,
            "timeout": _LOCKED_S,
            "check_same_thread": False,
        },
        poolclass=sa.QueuePool,
        pool_size=size,
        max_overflow=0,
        json_serializer=dumps,
    )

    @sa.event.listens_for(engine, "connect")
    def connected(connection: Any, record: object) -> None:
        del record
        # A killed process loses nothing by NORMAL; a host that loses power the last moment.
        for pragma in (
            "PRAGMA journal_mode=WAL",
            "PRAGMA synchronous=NORMAL",
            "PRAGMA foreign_keys=ON",
            *pragmas,
        ):
            connection.execute(pragma).close()

        if begin != _READING:  # `_begin` waits
            connection.execute("PRAGMA busy_timeout=0").close()

    @sa.event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        _begin(driver, begin)

    return engine


def _begin(driver: sqlite3.Connection, statement: str) -> None:
    """Begin a transaction when other processes let go.

    SQLite itself would look again ever more seldom, up to every 100 ms, so that who has waited
    long would come after who has just come.
    """
    until_s = time.monotonic() + _LOCKED_S
    while True:
        try:
            driver.execute(statement).close()
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode not in _LOCKED or time.monotonic() > until_s:
                raise
        time.sleep(_chance.uniform(0.0005, 0.002))
