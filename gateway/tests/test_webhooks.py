"""Whoever asked is told, signed, until they have understood."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import ssl
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from nephra_contract.paths import DataRoot
from nephra_gateway import webhooks
from nephra_gateway.settings import GatewaySettings
from nephra_gateway.store import deliveries, tickets
from nephra_gateway.store.database import Database, now_s
from nephra_gateway.store.deliveries import Delivery
from nephra_gateway.store.deliveries import deliveries as table
from nephra_gateway.store.tickets import Asked
from nephra_gateway.webhooks import Webhooks, secret_of, signed

_ROOT = Path(__file__).parents[2]
SECRET = "whsec_" + base64.b64encode(b"0123456789abcdefghijklmn").decode()


class Hook:
    """A host that is told: what it heard, and what it says to it."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        self.location = ""
        self.came = threading.Condition()

    def wait(self, count: int) -> None:
        """Until so many messages have come."""
        with self.came:
            assert self.came.wait_for(lambda: len(self.heard) >= count, 30)


@contextmanager
def listening(hook: Hook, certificate: Path | None = None) -> Iterator[int]:
    """The hook's port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {k.lower(): v for k, v in self.headers.items()}
            with hook.came:
                hook.heard.append((self.path, headers, body))
                status = hook.statuses.pop(0) if hook.statuses else 204
                hook.came.notify_all()
            self.send_response(status)
            if hook.location:
                self.send_header("Location", hook.location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def hook() -> Hook:
    """A host."""
    return Hook()


@pytest.fixture
def port(hook: Hook) -> Iterator[int]:
    """Where it listens, plainly."""
    with listening(hook) as port:
        yield port


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    """What messages are signed with."""
    path = tmp_path / "secret"
    path.write_text(SECRET + "\n")
    return path


@pytest.fixture
def settings(secret_file: Path) -> GatewaySettings:
    """Hosts on this machine may be told."""
    return GatewaySettings(
        webhook_hosts=("127.0.0.1", "hooks.example"),
        webhook_private=True,
        webhook_secret_file=secret_file,
    )


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "_LOOK_S", 0.01)
    monkeypatch.setattr(webhooks, "_FIRST_S", 0.01)


async def end(database: Database, url: str | None) -> str:
    """A ticket that is queued, and cancelled."""
    asked = Asked(uuid.uuid4().hex, "smoothing/base", {"mask_path": "J. Doe.nii"}, "me")
    asked = Asked(**{**vars(asked), "callback_url": url})
    await database.write(lambda c: tickets.submit(c, asked))
    await database.write(lambda c: tickets.cancel(c, asked.id))
    return asked.id


def deliver(
    database_url: str,
    settings: GatewaySettings,
    urls: Sequence[str | None],
    until: Callable[[], object],
    **given: Any,
) -> tuple[list[str], list[Any]]:
    """End tickets, and deliver until something is so.

    Returns:
        The tickets; and what is left: ticket, attempts, seconds from its end until it is due.
    """

    async def work() -> tuple[list[str], list[Any]]:
        database = Database.of(database_url)
        try:
            ended = [await end(database, url) for url in urls]
            going = asyncio.create_task(Webhooks(settings, database, **given).deliver_due())
            await asyncio.to_thread(until)
            while await database.read(_under_way):
                await asyncio.sleep(0.01)
            going.cancel()
            await asyncio.wait({going})
            return ended, await database.read(_left)
        finally:
            await database.close()

    return asyncio.run(work())


def _under_way(connection: Connection) -> bool:
    """Whether an attempt has its lease."""
    ahead_s = table.c.due_s - now_s(connection)
    lease_s = webhooks._LEASE_S
    query = sa.select(table).where(ahead_s > lease_s / 2, ahead_s <= lease_s)
    return connection.execute(query).first() is not None


def _left(connection: Connection) -> list[Any]:
    pause_s = table.c.due_s - table.c.created_s
    return [
        tuple(r) for r in connection.execute(sa.select(table.c.ticket, table.c.attempts, pause_s))
    ]


def test_who_asked_is_told(
    database_url: str, settings: GatewaySettings, hook: Hook, port: int
) -> None:
    """Once, signed so that anybody with the secret can check it; nothing of the patient."""
    url = f"http://127.0.0.1:{port}/hook?x=1"
    (ticket, _), rest = deliver(database_url, settings, [url, None], lambda: hook.wait(1))
    ((path, headers, body),) = hook.heard
    assert path == "/hook?x=1"
    assert headers["host"] == f"127.0.0.1:{port}"
    assert headers["content-type"] == "application/json"
    assert headers["webhook-id"] == ticket
    content = f"{ticket}.{headers['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    told = json.loads(body)
    assert told["type"] == "ticket.cancelled"
    assert told["data"]["ticket"] == ticket
    assert told["data"]["state"] == "cancelled"
    assert told["data"]["problem"] == {"status": 499, "code": "cancelled"}
    assert b"Doe" not in body
    assert rest == []


def test_the_signature_is_that_of_the_standard() -> None:
    """The example of its documentation."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    got = signed(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', 1614265330)
    assert got["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_who_does_not_understand_is_told_again(
    database_url: str, settings: GatewaySettings, hook: Hook, port: int
) -> None:
    """With the same message number; redirects are not followed."""
    hook.statuses, hook.location = [500, 302, 200], f"http://127.0.0.1:{port}/elsewhere"
    url = f"http://127.0.0.1:{port}/hook"
    _, rest = deliver(database_url, settings, [url], lambda: hook.wait(3))
    assert [path for path, _, _ in hook.heard] == ["/hook"] * 3
    assert len({headers["webhook-id"] for _, headers, _ in hook.heard}) == 1
    assert len({body for _, _, body in hook.heard}) == 1
    assert rest == []


def test_who_is_gone_is_not_told_again(
    database_url: str, settings: GatewaySettings, hook: Hook, port: int
) -> None:
    """410 says so."""
    hook.statuses = [410]
    _, rest = deliver(database_url, settings, [f"http://127.0.0.1:{port}/"], lambda: hook.wait(1))
    assert rest == []


def test_who_is_away_is_told_later(
    database_url: str, settings: GatewaySettings, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pauses grow; others do not wait for it; what is not delivered stays."""
    monkeypatch.setattr(webhooks, "_FIRST_S", 100.0)
    with listening(Hook()) as closed:
        pass
    with listening(hook) as port:
        urls = [f"http://127.0.0.1:{closed}/", f"http://127.0.0.1:{port}/"]
        (away, _), rest = deliver(database_url, settings, urls, lambda: hook.wait(1))
    ((ticket, attempts, pause_s),) = rest
    assert (ticket, attempts) == (away, 1)
    assert 80 <= pause_s <= 150


def test_after_a_day_it_is_given_up(
    database_url: str,
    settings: GatewaySettings,
    hook: Hook,
    port: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And said in the log."""
    caplog.set_level("INFO", logger="nephra")
    monkeypatch.setattr(webhooks, "_GIVE_UP_S", 0.0)
    hook.statuses = [503]
    (ticket,), rest = deliver(
        database_url, settings, [f"http://127.0.0.1:{port}/"], lambda: hook.wait(1)
    )
    assert rest == []
    lines = [vars(r)["nephra_members"] for r in caplog.records if r.getMessage() == "webhook"]
    assert lines == [{"ticket": ticket, "attempt": 1, "outcome": "status_503, given up"}]


def test_addresses_are_judged_again_when_they_are_told(
    database_url: str, settings: GatewaySettings, hook: Hook, port: int
) -> None:
    """A name that led outside when it was given, and leads inside now, is not connected to."""
    strict = settings.model_copy(update={"webhook_private": False})
    asked = threading.Event()

    async def resolve(host: str, port: int) -> list[str]:
        asked.set()
        return ["127.0.0.1"]

    url = f"https://hooks.example:{port}/"
    _, rest = deliver(database_url, strict, [url], lambda: asked.wait(30), resolve=resolve)
    assert [attempts for _, attempts, _ in rest] >= [1]
    assert hook.heard == []


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of hooks.example, signed by itself."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout",
         "-", "-out", "-", "-subj", "/CN=hooks.example",
         "-addext", "subjectAltName=DNS:hooks.example"],
        capture_output=True, check=True,
    )  # fmt: skip
    path.write_bytes(made.stdout)
    return path


@pytest.mark.parametrize("host", ["hooks.example", "127.0.0.1"])
def test_https_is_checked_against_the_name(
    database_url: str,
    settings: GatewaySettings,
    hook: Hook,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
) -> None:
    """Although it is connected to by its number; another host's certificate is none."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    asked = threading.Event()

    async def resolve(host: str, port: int) -> list[str]:
        asked.set()
        return ["127.0.0.1"]

    right = host == "hooks.example"
    with listening(hook, certificate) as port:

        def until() -> None:
            assert asked.wait(30)
            if right:
                hook.wait(1)

        url = f"https://{host}:{port}/"
        _, rest = deliver(database_url, settings, [url], until, resolve=resolve)
    assert bool(hook.heard) == right
    assert bool(rest) != right


def test_each_is_tried_by_one_at_a_time(database_url: str) -> None:
    """Several gateways share the work; whoever dies at it is followed by another."""

    async def work() -> None:
        database = Database.of(database_url)
        ended = {await end(database, "https://hooks.example/") for _ in range(10)}
        first = await database.write(lambda c: deliveries.claim(c, 60, 6))
        second = await database.write(lambda c: deliveries.claim(c, -1, 60))
        assert len(first) == 6
        assert {d.ticket for d in (*first, *second)} == ended
        third = await database.write(lambda c: deliveries.claim(c, 60, 60))
        assert {d.ticket for d in third} == {d.ticket for d in second}
        late: Delivery = second[0]
        await database.write(lambda c: deliveries.put_off(c, late, -100))
        assert not await database.read(deliveries.due)  # its successor has it
        await database.close()

    asyncio.run(work())


@pytest.mark.parametrize("content", [None, "", "whsec_", "whsec_!!", b"\xff"])
def test_hosts_without_a_secret_keep_the_gateway_down(tmp_path: Path, content: Any) -> None:
    """Better than finding out when the first ticket has ended."""
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    database = Database.of(f"sqlite:///{tmp_path / 'x.db'}")
    hosts = ("hooks.example",)
    for given in (path, None):
        with pytest.raises(ValueError, match="NEPHRA_WEBHOOK"):
            Webhooks(GatewaySettings(webhook_hosts=hosts, webhook_secret_file=given), database)
    Webhooks(GatewaySettings(), database)
    path.write_text("plain secret\n")
    assert secret_of(path) == b"plain secret"


def test_a_gateway_tells_of_what_was_done_and_of_what_was_there(
    start: Any,
    settings: GatewaySettings,
    data: DataRoot,
    predictors: dict[str, str],
    hook: Hook,
    port: int,
    gates: Any,
) -> None:
    """Also of an answer from the cache; the receiver of the documentation takes them for ours."""
    changed = {"data": data.root, "predictors": predictors, "auth": "none"}
    headers = {"Nephra-Callback": f"http://127.0.0.1:{port}/"}
    body = {"image_path": "P.nii.gz"}
    with start(settings.model_copy(update=changed)) as url:
        answers = [
            httpx.post(f"{url}/inference/tumor", json=body, headers=headers, timeout=60).json()
            for _ in range(2)
        ]
        hook.wait(2)
        elsewhere = {"Nephra-Callback": "http://elsewhere.example/"}
        refused = httpx.post(f"{url}/inference/tumor", json=body, headers=elsewhere, timeout=60)
    assert refused.status_code == 422
    assert refused.json()["code"] == "callback_refused"
    told = [json.loads(body)["data"] for _, _, body in hook.heard]
    assert {t["ticket"] for t in told} == {a["ticket"] for a in answers}
    assert {t["state"] for t in told} == {"succeeded"}
    assert any(t["cached"] for t in told)
    text = (_ROOT / "docs" / "how-to" / "webhooks.md").read_text()
    receiver: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0], receiver)
    for _, headers, message in hook.heard:
        assert receiver["is_ours"](headers, message, SECRET)
        assert not receiver["is_ours"](headers, message + b" ", SECRET)
