"""A gateway put together of its parts, and what goes on in it beside requests."""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import httpx

from nephra_contract import logs
from nephra_contract.errors import Unavailable
from nephra_contract.paths import DataRoot
from nephra_gateway.board import Board
from nephra_gateway.cache import Cache
from nephra_gateway.cases import Cases
from nephra_gateway.content import Contents
from nephra_gateway.ending import Ending
from nephra_gateway.figures import Figures
from nephra_gateway.folders import Folders
from nephra_gateway.gateway import Gateway
from nephra_gateway.gauges import Gauges
from nephra_gateway.janitor import Janitor
from nephra_gateway.jobs import Jobs
from nephra_gateway.journal import AWAY_S
from nephra_gateway.keys import Keys
from nephra_gateway.predictors import Predictors
from nephra_gateway.queues import Queues
from nephra_gateway.settings import GatewaySettings
from nephra_gateway.stages import Tools
from nephra_gateway.storage import Storage
from nephra_gateway.store.database import Database
from nephra_gateway.submissions import Submissions
from nephra_gateway.tracing import observed
from nephra_gateway.webhooks import Webhooks
from nephra_gateway.worker import Worker

#: Every request has a connection of its own. One that is kept would lead to the same pod again
#: and again, however many others there are behind the Service, and to one that is ending. What it
#: costs, a handshake inside of a cluster, is nothing beside the work.
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=0)


#: So long a gateway waits for its database before it begins to listen.
_PREPARED_WITHIN_S = 10.0


def assemble(settings: GatewaySettings, ending: Ending) -> Gateway:
    """Put a gateway together; nothing is opened or started yet.

    Raises:
        ValueError: settings with which it must not start.
    """
    figures, data = Figures(), DataRoot(settings.data)
    # A proxy of the environment has no business between the gateway and its predictors.
    http = httpx.AsyncClient(limits=_LIMITS, trust_env=False, headers={"Connection": "close"})
    predictors = Predictors(settings, http, figures)
    database = Database.of(settings.database_url)
    contents, board = Contents(data, settings.max_voxels), Board(database)
    holder = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    tools = Tools(
        data,
        predictors,
        Keys(contents),
        Cache(database, data, contents, settings, figures),
        Queues(database, holder, settings.limits, settings.lease_s),
        Folders(data),
    )
    cases = Cases(data, predictors, contents, settings.max_voxels)
    jobs = Jobs(tools, cases, contents)
    worker = Worker(
        database,
        board,
        tools,
        observed(jobs, figures),
        holder=holder,
        at_once=settings.tickets_at_once if settings.work else 0,
        lease_s=settings.lease_s,
        ending=ending,
    )
    submissions = Submissions(database, board, jobs, worker)
    storage = Storage(data, figures)
    return Gateway(
        settings,
        database,
        predictors,
        tools,
        cases,
        board,
        submissions,
        worker,
        storage,
        figures,
        ending,
        Janitor(database, data, settings, holder),
        Webhooks(settings, database, count=figures.told),
    )


@asynccontextmanager
async def going_on(gateway: Gateway) -> AsyncIterator[None]:
    """What a gateway does beside requests, for as long as the block lasts."""
    with suppress(Unavailable):  # it is said in the log, and by /healthz
        await gateway.storage.check()
    settings, prepared = gateway.settings, asyncio.Event()
    tasks = [asyncio.create_task(_work(gateway, prepared))]
    with suppress(TimeoutError):  # requests are answered while it is away, with 503
        await asyncio.wait_for(prepared.wait(), _PREPARED_WITHIN_S)
    if settings.metrics_port != 0:
        gateway.figures.serve(settings.host, settings.metrics_port)
        tasks.append(asyncio.create_task(gateway.predictors.watch()))
        gauges = Gauges(gateway.database, gateway.figures, settings.predictors, settings.limits)
        tasks.append(asyncio.create_task(_steadily(gauges.watch)))
    finishing = asyncio.create_task(_finish(gateway))
    try:
        yield
    finally:
        gateway.ending.begun.set()
        await finishing
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await gateway.tools.cache.close()
        await gateway.predictors.close()
        await gateway.database.close()


async def _finish(gateway: Gateway) -> None:
    """What is done as soon as this gateway is told to end."""
    await gateway.ending.begun.wait()
    gateway.board.wake()
    await gateway.worker.finish(gateway.settings.drain_s)
    gateway.board.wake()


async def _work(gateway: Gateway, prepared: asyncio.Event) -> None:
    """All that stands on the database, as soon as that is there."""
    await _prepare(gateway)
    prepared.set()
    await gateway.tools.cache.start()
    loops = (
        gateway.board.look,
        gateway.worker.run,
        gateway.worker.beat,
        gateway.janitor.run,
        gateway.webhooks.deliver_due,
    )
    async with asyncio.TaskGroup() as group:
        for loop in loops:
            group.create_task(_steadily(loop))


async def _steadily(loop: Callable[[], Awaitable[None]]) -> None:
    """Keep something going on: a defect in it is logged, and it begins anew."""
    while True:
        try:
            await loop()
        except Exception as error:  # noqa: BLE001  the border of what nobody waits for
            logs.defect("unexpected error", error)
        await asyncio.sleep(AWAY_S)


async def _prepare(gateway: Gateway) -> None:
    """Wait until the schema is what this version needs; that of one's own file is brought there.

    The schema of a server is changed by `python -m nephra_gateway migrate`, once for all gateways.
    """
    database, said = gateway.database, ""
    own = gateway.settings.database_url.startswith("sqlite")
    while True:
        try:
            await asyncio.to_thread(database.migrate if own else database.check_schema)
            return
        except Unavailable:
            pass  # said in the log
        except ValueError as error:
            if str(error) != said:
                said = str(error)
                logs.line("waiting for the database's schema", why=said)
        await asyncio.sleep(AWAY_S)
