"""PostgreSQL 15 or newer: as many gateways as wanted, on any host."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import ClassVar, TypeVar

import psycopg
import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy import exc as sa_exc

from nephra_gateway.store.database import Database, Work
from nephra_gateway.store.schema import dumps

T = TypeVar("T")

#: Connections of one gateway, each with a thread.
_CONNECTIONS = 8

#: What another transaction broke is done again so often.
_ATTEMPTS = 5

#: Serialization failure, deadlock.
_AGAIN = ("40001", "40P01")

#: A server that is gone without a word is noticed in seconds, and a frozen gateway's transaction
#: does not hold its locks for longer.
_CONNECT = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "options": "-c lock_timeout=5s -c statement_timeout=10s"
    " -c idle_in_transaction_session_timeout=10s",
}

#: 'nephra' in hexadecimal: no other program's lock.
_MIGRATION = 0x6E6570687261


class PostgresqlDatabase(Database):
    """A server, by a small pool of connections that are tried before they are used.

    Args:
        url: `postgresql://user:password@host/name`; what it says of the connection holds.
    """

    away: ClassVar[tuple[type[Exception], ...]] = (psycopg.Error,)

    def __init__(self, url: sa.URL) -> None:
        super().__init__()
        self._url = url.set(drivername="postgresql+psycopg")
        self._engine = self._connect(_CONNECTIONS)
        self._threads = ThreadPoolExecutor(_CONNECTIONS, "database")

    def _connect(self, size: int, **settings: object) -> Engine:
        told = {k: v for k, v in {**_CONNECT, **settings}.items() if k not in self._url.query}
        return sa.create_engine(
            self._url,
            connect_args=told,
            pool_size=size,
            max_overflow=0,
            pool_timeout=_CONNECT["connect_timeout"],
            pool_pre_ping=True,
            json_serializer=dumps,
        )

    def _write(self, work: Work[T]) -> Future[T]:
        return self._threads.submit(self._run, work)

    def _read(self, work: Work[T]) -> Future[T]:
        return self._threads.submit(self._run, work)

    def _run(self, work: Work[T]) -> T:
        for attempt in range(_ATTEMPTS):
            try:
                with self._engine.begin() as connection:
                    return work(connection)
            except sa_exc.OperationalError as error:
                state = getattr(error.orig, "sqlstate", None)
                if state not in _AGAIN or attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError("every attempt returns or raises")

    def _close(self) -> None:
        self._threads.shutdown()
        self._engine.dispose()

    def _migrator(self) -> Engine:
        # An index on a large table may take longer than a request may.
        engine = self._connect(1, options="")

        @sa.event.listens_for(engine, "begin")
        def begun(connection: sa.Connection) -> None:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION)))

        return engine
