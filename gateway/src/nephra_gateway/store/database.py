"""The database, asked from asyncio without ever holding the event loop."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from typing import ClassVar, TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy import exc as sa_exc

from nephra_contract import logs
from nephra_contract.errors import Unavailable
from nephra_gateway.store.clock import now_s

__all__ = ["Database", "Work", "now_s"]

T = TypeVar("T")

#: What is done in one transaction. It may be run more than once, each time from the beginning.
Work = Callable[[Connection], T]

#: Longer than any lock is waited for; who asks a database that says nothing is told so.
_ANSWERS_WITHIN_S = 15.0


class Database(ABC):
    """Where tickets, turns and the cache's entries are kept.

    Subclasses know one kind of server each, and raise as this one says.
    """

    #: Errors of the driver itself that mean: not now. SQLAlchemy hands most on as its own.
    away: ClassVar[tuple[type[Exception], ...]] = ()

    def __init__(self) -> None:
        self._usable: bool | None = None

    @classmethod
    def of(cls, url: str) -> Database:
        """The database at an address; nothing is opened yet.

        Args:
            url: `sqlite:////absolute/path` or `postgresql://user:password@host/name`.

        Raises:
            ValueError: neither of them.
        """
        try:
            parsed = sa.make_url(url)
            kind = parsed.get_backend_name()
        except sa_exc.ArgumentError:
            kind = ""
        if kind == "sqlite":
            from nephra_gateway.store.sqlite import SqliteDatabase

            return SqliteDatabase(parsed)
        if kind in ("postgresql", "postgres"):
            from nephra_gateway.store.postgresql import PostgresqlDatabase

            return PostgresqlDatabase(parsed)
        raise ValueError(
            "NEPHRA_DATABASE has to be sqlite:////absolute/path or "
            "postgresql://user:password@host/name."
        )

    async def write(self, work: Work[T]) -> T:
        """Do something in one transaction that is committed when this returns.

        Raises:
            Unavailable: the database cannot be used now; it is not known whether the work is
                in it. Everything else that the work raises; then nothing of it is.
        """
        return await self._answer(self._write(work))

    async def read(self, work: Work[T]) -> T:
        """Ask something, in one transaction that sees all that was written before.

        Raises:
            Unavailable: the database cannot be used now. Everything that the work raises.
        """
        return await self._answer(self._read(work))

    def migrate(self) -> None:
        """Bring the schema to what this version needs; several may do so at once.

        Raises:
            Unavailable: the database cannot be used now.
            ValueError: a newer version has changed it.
        """
        from nephra_gateway.store.migration import upgrade

        self._inspect(upgrade)

    def check_schema(self) -> None:
        """See whether the schema is what this version needs.

        Raises:
            Unavailable: the database cannot be used now.
            ValueError: it is not; the sentence says what to do.
        """
        from nephra_gateway.store.migration import check

        self._inspect(check)

    async def close(self) -> None:
        """Wait for what is being done, and close all connections."""
        await asyncio.to_thread(self._close)

    @abstractmethod
    def _write(self, work: Work[T]) -> Future[T]: ...

    @abstractmethod
    def _read(self, work: Work[T]) -> Future[T]: ...

    @abstractmethod
    def _close(self) -> None: ...

    @abstractmethod
    def _migrator(self) -> Engine:
        """An engine for one connection, whose transactions exclude other migrations."""

    def _prepare(self) -> None:  # noqa: B027 - a server needs nothing
        """Make the place for a database that is not there yet."""

    def _inspect(self, work: Callable[[Connection], None]) -> None:
        self._prepare()
        engine = self._migrator()
        try:
            with engine.begin() as connection:
                work(connection)
        except Exception as error:
            self._say(error)
            raise
        finally:
            engine.dispose()

    async def _answer(self, future: Future[T]) -> T:
        """Wait for a thread. If the caller is cancelled, the thread still ends its transaction."""
        try:
            async with asyncio.timeout(_ANSWERS_WITHIN_S):
                answer = await asyncio.wrap_future(future)
        except Exception as error:
            self._say(error)
            raise
        self._know(usable=True)
        return answer

    def _say(self, error: Exception) -> None:
        """Raise the error that is for the caller; what the driver said goes to the log alone."""
        away = (
            TimeoutError,
            sa_exc.OperationalError,
            sa_exc.InterfaceError,
            sa_exc.InternalError,
            sa_exc.TimeoutError,
            *self.away,
        )
        if not isinstance(error, away) and type(error) is not sa_exc.DatabaseError:
            return
        why = str(getattr(error, "orig", error)) or "no answer in time"
        self._know(usable=False, why=why)
        raise Unavailable(
            "The database of this gateway cannot be used now.",
            "Try again later; the log of the gateway says what was found.",
            code="database_unavailable",
        ) from error

    def _know(self, *, usable: bool, why: str = "") -> None:
        if not usable and self._usable is not False:
            logs.line("database cannot be used", logging.ERROR, why=why)
        elif usable and self._usable is False:
            logs.line("database usable again")
        self._usable = usable
