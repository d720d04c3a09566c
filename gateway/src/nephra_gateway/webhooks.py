"""Webhooks: whoever asked for work is told when it has ended, wherever the settings allow that.

Messages and signatures are those of Standard Webhooks 1.0 (standardwebhooks.com).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from nephra_contract import logs
from nephra_contract.errors import NephraError, Unavailable
from nephra_gateway.callbacks import (
    Address,
    Resolve,
    look_up,
    permitted,
    resolved,
)
from nephra_gateway.settings import GatewaySettings
from nephra_gateway.store import deliveries
from nephra_gateway.store.database import Database
from nephra_gateway.store.deliveries import Delivery

#: An attempt may take so long in all, its connection so long; whoever tries has it to itself.
_ATTEMPT_S, _CONNECT_S, _LEASE_S = 10.0, 5.0, 30.0

_LOOK_S = 1.0
_AT_ONCE = 16

#: Pauses grow threefold from the first to the longest, until a day has passed.
_FIRST_S, _LONGEST_S, _GIVE_UP_S = 5.0, 7200.0, 86400.0
_GONE = 410
_PREFIX = "whsec_"


def _uncounted(_: str) -> None:
    """Count nothing."""


@dataclass(frozen=True)
class Webhooks:
    """Tells addresses of what has ended, each until it has understood.

    Args:
        settings: which hosts may be told, and with which secret it is signed.
        database: what is to be told.
        resolve: finds the addresses of a host.
        count: hears what came of each attempt.
    """

    settings: GatewaySettings
    database: Database
    resolve: Resolve = look_up
    count: Callable[[str], None] = _uncounted

    def __post_init__(self) -> None:
        """Find out at start what would else be found out after a day.

        Raises:
            ValueError: hosts are named, and no secret to sign with, or none that can be read.
        """
        if self.settings.webhook_hosts:
            secret_of(self.settings.webhook_secret_file)

    async def deliver_due(self) -> None:
        """Deliver what is due, and what becomes so, until cancelled."""
        async with _client() as http, asyncio.TaskGroup() as group:
            under_way: set[asyncio.Task[None]] = set()
            while True:
                for delivery in await self._claim(_AT_ONCE - len(under_way)):
                    task = group.create_task(self._try(http, delivery))
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)
                await asyncio.sleep(_LOOK_S)

    async def _claim(self, limit: int) -> list[Delivery]:
        try:
            if limit == 0 or not await self.database.read(deliveries.due):
                return []
            return await self.database.write(lambda c: deliveries.claim(c, _LEASE_S, limit))
        except Unavailable:
            return []  # said in the log; it may be back the next time

    async def _try(self, http: httpx.AsyncClient, delivery: Delivery) -> None:
        """Try once, and write down what came of it; if that is lost, it is tried again."""
        outcome = await self._outcome(http, delivery)
        try:
            if outcome == "delivered":
                await self.database.write(lambda c: deliveries.forget(c, delivery))
            else:
                outcome = await self._later(delivery, outcome)
        except Unavailable:
            pass  # said in the log
        self.count(outcome)
        logs.line(
            "webhook",
            logging.INFO if outcome == "delivered" else logging.WARNING,
            ticket=delivery.ticket,
            attempt=delivery.attempts,
            outcome=outcome,
        )

    async def _outcome(self, http: httpx.AsyncClient, delivery: Delivery) -> str:
        try:
            async with asyncio.timeout(_ATTEMPT_S):
                address = permitted(self.settings, delivery.url)
                status = await self._send(http, address, delivery)
        except NephraError as error:
            return error.code
        except ValueError:
            return "no_secret"
        except (TimeoutError, httpx.TimeoutException):
            return "timed_out"
        except (OSError, httpx.HTTPError):
            return "unreachable"
        return "delivered" if 200 <= status < 300 else f"status_{status}"

    async def _send(self, http: httpx.AsyncClient, address: Address, delivery: Delivery) -> int:
        """The status that a message is answered with; nothing else of the answer is read."""
        secret = await asyncio.to_thread(secret_of, self.settings.webhook_secret_file)
        number = await resolved(self.settings, address, self.resolve)
        body = json.dumps(delivery.message, separators=(",", ":")).encode()
        request = http.build_request(
            "POST",
            address.at(number),
            content=body,
            headers={"Host": address.authority, **signed(secret, delivery.ticket, body)},
            # The certificate has to be the host's, whatever its number is.
            extensions={"sni_hostname": address.host},
        )
        answer = await http.send(request, stream=True)
        await answer.aclose()
        return answer.status_code

    async def _later(self, delivery: Delivery, outcome: str) -> str:
        """Try again after a pause, unless that is of no use any more."""
        pause_s = min(_FIRST_S * 3.0 ** (delivery.attempts - 1), _LONGEST_S)
        pause_s *= random.uniform(0.8, 1.2)  # noqa: S311  not for secrets
        age_s = await self.database.read(lambda c: deliveries.age_s(c, delivery))
        if outcome == f"status_{_GONE}" or age_s + pause_s > _GIVE_UP_S:
            await self.database.write(lambda c: deliveries.forget(c, delivery))
            return f"{outcome}, given up"
        await self.database.write(lambda c: deliveries.put_off(c, delivery, pause_s))
        return outcome


def signed(secret: bytes, message_id: str, body: bytes, at_s: int | None = None) -> dict[str, str]:
    """The headers of a message.

    Args:
        secret: raw.
        message_id: the same for each attempt, so that who has it already can tell.
        body: as it is sent.
        at_s: seconds since 1970; now.
    """
    stamp = str(int(time.time()) if at_s is None else at_s)
    content = b".".join((message_id.encode(), stamp.encode(), body))
    signature = base64.b64encode(hmac.digest(secret, content, hashlib.sha256)).decode()
    return {
        "Content-Type": "application/json",
        "User-Agent": "nephra",
        "webhook-id": message_id,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{signature}",
    }


def secret_of(path: Path | None) -> bytes:
    """The secret of a file: `whsec_` and Base64, or as it stands.

    Raises:
        ValueError: there is none; its content is not shown.
    """
    if path is None:
        raise ValueError("NEPHRA_WEBHOOK_HOSTS needs NEPHRA_WEBHOOK_SECRET_FILE")
    try:
        text = path.read_text(encoding="utf-8").strip()
        coded = text.startswith(_PREFIX)
        secret = base64.b64decode(text[len(_PREFIX) :], validate=True) if coded else text.encode()
    except (OSError, UnicodeDecodeError, binascii.Error) as error:
        raise ValueError("the file of NEPHRA_WEBHOOK_SECRET_FILE cannot be read") from error
    if not secret:
        raise ValueError("the file of NEPHRA_WEBHOOK_SECRET_FILE is empty")
    return secret


def _client() -> httpx.AsyncClient:
    """No proxy, no redirect, no connection that is kept; authorities as the system has them."""
    return httpx.AsyncClient(
        trust_env=False,
        verify=httpx.create_ssl_context(),
        follow_redirects=False,
        timeout=httpx.Timeout(_ATTEMPT_S, connect=_CONNECT_S),
        limits=httpx.Limits(max_keepalive_connections=0),
    )
