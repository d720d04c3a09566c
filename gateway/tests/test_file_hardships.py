"""Files under hardship: hang-ups, full disks, gigabytes, many at once, odd HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from nephra_contract.errors import Conflict
from nephra_contract.paths import DataRoot
from nephra_gateway.fields import Span
from nephra_gateway.settings import GatewaySettings
from nephra_gateway.staging import Staging, key_of
from nephra_gateway.tree import Tree
from nephra_gateway.uploads import Upload, Uploads

MIB = 2**20
LARGE = 300 * MIB


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root."""
    return tmp_path_factory.mktemp("hard")


@pytest.fixture(scope="module")
def site(start: Any, root: Path) -> Iterator[httpx.Client]:
    """A client of a gateway for everybody."""
    settings = GatewaySettings(data=root, predictors={}, auth="none")
    with start(settings) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


def staged(root: Path) -> list[Path]:
    """What lies in the uploads' own folder."""
    return [p for p in (root / ".nephra" / "uploads").iterdir() if p.is_file()]


def eventually(true: Any) -> None:
    """Wait until something is so."""
    until = time.monotonic() + 60
    while not true():
        assert time.monotonic() < until
        threading.Event().wait(0.01)


def connect(site: httpx.Client) -> socket.socket:
    """A connection of one's own."""
    connection = socket.create_connection(("127.0.0.1", site.base_url.port or 80))
    connection.settimeout(60)
    return connection


def talk(site: httpx.Client, said: bytes, answers: int = 0) -> bytes:
    """Say something, and nothing more; gives what is answered, so often or until the end."""
    heard = b""
    with connect(site) as connection:
        connection.sendall(said)
        if not answers:
            connection.shutdown(socket.SHUT_WR)
        while not answers or heard.count(b"HTTP/1.1") < answers:
            block = connection.recv(65536)
            if not block:
                break
            heard += block
    return heard


def test_a_hang_up_leaves_nothing(site: httpx.Client, root: Path) -> None:
    """Of an upload that was to come at once; the file that was there stays."""
    site.put("/files/hung", content=b"before")
    with connect(site) as connection:
        connection.sendall(
            b"PUT /files/hung HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n"
        )
        connection.sendall(b"x" * 3 * MIB)
        eventually(lambda: staged(root))
    eventually(lambda: not staged(root))
    assert site.get("/files/hung").content == b"before"


def test_a_hang_up_keeps_a_part(site: httpx.Client, root: Path) -> None:
    """Of an upload that comes in parts, so that it goes on from there."""
    body = os.urandom(3 * MIB)
    total = len(body)
    with connect(site) as connection:
        head = f"Content-Range: bytes 0-{total - 1}/{total}\r\nContent-Length: {total}\r\n"
        connection.sendall(f"PUT /files/resumed HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode())
        connection.sendall(body[: total // 2 + 17])
        eventually(lambda: staged(root) and staged(root)[0].stat().st_size >= MIB)
    eventually(lambda: site.head("/files/resumed").headers["upload-offset"] == str(total // 2 + 17))
    offset = int(site.head("/files/resumed").headers["upload-offset"])
    span = {"Content-Range": f"bytes {offset}-{total - 1}/{total}"}
    # The one who hung up may still be held to be there for a moment.
    eventually(lambda: site.head("/files/resumed").status_code == 204)
    answer = site.put("/files/resumed", content=body[offset:], headers=span)
    assert answer.status_code == 201
    assert answer.json()["sha256"] == hashlib.sha256(body).hexdigest()
    assert site.get("/files/resumed").content == body
    assert staged(root) == []


def test_of_many_at_once_one_is_seen_whole(site: httpx.Client, root: Path) -> None:
    """Each is told that it was stored; readers meanwhile see one or the other, never a mixture."""
    bodies = [bytes([n]) * (2 * MIB + n) for n in range(8)]
    site.put("/files/contended", content=bodies[0])
    with ThreadPoolExecutor(12) as pool:
        writing = [pool.submit(site.put, "/files/contended", content=b) for b in bodies]
        reading = [pool.submit(site.get, "/files/contended") for _ in range(20)]
        assert {w.result().status_code for w in writing} == {200}
        assert all(r.result().content in bodies for r in reading)
    assert (root / "contended").read_bytes() in bodies
    assert staged(root) == []


def test_of_many_creators_one_creates(site: httpx.Client) -> None:
    """If-None-Match: * lets one through."""
    only = {"If-None-Match": "*"}
    with ThreadPoolExecutor(8) as pool:
        puts = [
            pool.submit(site.put, "/files/created", content=bytes([n]), headers=only)
            for n in range(8)
        ]
    assert sorted(p.result().status_code for p in puts) == [201] + [412] * 7


def test_of_many_same_parts_one_is_taken(site: httpx.Client, root: Path) -> None:
    """The others are told where to go on."""
    body = os.urandom(2 * MIB)
    span = {"Content-Range": f"bytes 0-{MIB - 1}/{len(body)}"}
    site.put("/files/raced", content=body[:MIB], headers=span)
    rest = {"Content-Range": f"bytes {MIB}-{len(body) - 1}/{len(body)}"}
    with ThreadPoolExecutor(8) as pool:
        puts = [
            pool.submit(site.put, "/files/raced", content=body[MIB:], headers=rest)
            for _ in range(8)
        ]
    assert sorted(p.result().status_code for p in puts) == [201] + [409] * 7
    assert site.get("/files/raced").content == body
    assert staged(root) == []


def test_parts_and_removals_at_once_never_mix(tmp_path: Path) -> None:
    """Whoever holds a part keeps others from it; what was published is not written to."""
    staging, key = Staging(DataRoot(tmp_path)), key_of("me", ("a",))
    tree = Tree(DataRoot(tmp_path))
    first = staging.resume(key, Span(0, 5, 10))
    for span in (Span(0, 5, 10), Span(5, 10, 10)):
        with pytest.raises(Conflict) as busy:
            staging.resume(key, span)
        assert busy.value.code == "upload_busy"
    first.write(b"01234")
    staging.abandon(key)
    with pytest.raises(Conflict) as gone:
        staging.publish(first, tree, ("a",))
    assert gone.value.code == "upload_gone"
    first.close()
    assert not (tmp_path / "a").exists()


def test_who_is_cancelled_leaves_nothing(tmp_path: Path) -> None:
    """A gateway that ends in the middle of an upload: at any await of it."""
    tree = Tree(DataRoot(tmp_path))

    async def attempt(steps: int) -> bool:
        """Cancel after so many turns of the event loop; says whether it was in time."""
        uploads = Uploads(tree, LARGE)

        async def body() -> Any:
            for _ in range(3):
                yield b"x" * 1000
                await asyncio.sleep(0)

        task = asyncio.ensure_future(uploads.put(Upload("a", "me"), body()))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        return task.cancelled()

    before = len(list(Path("/proc/self/fd").iterdir()))
    in_time = [asyncio.run(attempt(steps)) for steps in range(0, 60, 3)]
    assert any(in_time)
    assert staged(tmp_path) == []
    # asyncio's own, of the loop that has just been closed, are gone too.
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1
    assert not (tmp_path / "a").exists() or (tmp_path / "a").stat().st_size == 3000


def test_what_nobody_goes_on_with_is_removed(tmp_path: Path) -> None:
    """After a day; not before, and nothing else."""
    staging = Staging(DataRoot(tmp_path))
    old, young = staging.begin(), staging.resume(key_of("me", ("a",)), Span(0, 5, 10))
    with staging.alone(("a",)):
        pass
    then = time.time() - 86401
    os.utime(old.path, (then, then))
    assert staging.sweep() == 1
    assert [p.name for p in staged(tmp_path)] == [young.path.name]
    old.close()
    young.close()


@contextmanager
def process(root: Path, *before: str, **settings: str) -> Iterator[tuple[httpx.Client, int]]:
    """A gateway of its own: a client of it, and its process."""
    environment = {
        **os.environ,
        "NEPHRA_DATA": str(root),
        "NEPHRA_AUTH": "none",
        "NEPHRA_PORT": "0",
        "NEPHRA_PREDICTORS": "{}",
        **settings,
    }
    gateway = subprocess.Popen(
        [*before, sys.executable, "-m", "nephra_gateway"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert gateway.stderr is not None
    try:
        for line in gateway.stderr:
            said = json.loads(line)
            if said["message"] == "listening":
                break
        threading.Thread(target=gateway.stderr.read, daemon=True).start()
        url = f"http://127.0.0.1:{said['port']}"
        with httpx.Client(base_url=url, timeout=120) as client:
            yield client, gateway.pid
    finally:
        gateway.send_signal(signal.SIGTERM)
        gateway.wait(60)
        gateway.stderr.close()


def peak_mib(pid: int) -> float:
    """The most memory that a process has had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise AssertionError


def test_gigabytes_need_no_memory(tmp_path: Path) -> None:
    """Neither up, at once or in parts, nor down, however slowly it is taken."""
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(LARGE)
    block = bytes(MIB)
    with process(tmp_path) as (client, pid):
        client.put("/files/warm", content=block * 8)
        client.get("/files/warm")
        before = peak_mib(pid)
        # A length is said, so that the body is what is measured and not its chunks' sizes.
        length = {"Content-Length": str(LARGE)}
        up = client.put("/files/up", content=(block for _ in range(LARGE // MIB)), headers=length)
        assert up.json()["bytes"] == LARGE
        part = {"Content-Range": f"bytes 0-{LARGE - 1}/{LARGE + 1}", **length}
        client.put("/files/parts", content=(block for _ in range(LARGE // MIB)), headers=part)
        last = {"Content-Range": f"bytes {LARGE}-{LARGE}/{LARGE + 1}"}
        assert client.put("/files/parts", content=b"\0", headers=last).status_code == 201
        count = 0
        with client.stream("GET", "/files/sparse") as answer:
            for chunk in answer.iter_raw():
                count += len(chunk)
        assert count == LARGE
        assert client.delete("/files/up").status_code == 204
        assert peak_mib(pid) - before < 48


def _namespaces() -> str | None:
    """Why there can be no file system of one's own; None: there can."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return "needs root and unshare, for a small file system of its own"
    tried = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"],
        check=False,
        capture_output=True,
    )
    return None if tried.returncode == 0 else "file systems cannot be mounted here"


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    """507 at once where the length is known, else when it is full; with room it works again."""
    why = _namespaces()
    if why is not None:
        pytest.skip(why)
    mount = f'mount -t tmpfs -o size=12m none {tmp_path} && exec "$@"'
    with process(tmp_path, "unshare", "--mount", "sh", "-c", mount, "sh") as (client, pid):
        seen = Path("/proc", str(pid), "root", *tmp_path.parts[1:])
        known = client.put("/files/known", content=bytes(20 * MIB))
        unknown = client.put("/files/unknown", content=(bytes(MIB) for _ in range(20)))
        span = {"Content-Range": f"bytes 0-{16 * MIB - 1}/{16 * MIB}"}
        parts = client.put("/files/parts", content=(bytes(MIB) for _ in range(16)), headers=span)
        for answer in (known, unknown, parts):
            assert answer.status_code == 507
            assert answer.json()["code"] == "no_space"
        assert staged(seen) == []
        assert client.put("/files/half", content=bytes(6 * MIB)).status_code == 201
        # Parts are dropped where the disk becomes full under them, so that there is room again.
        span = {"Content-Range": f"bytes 0-{4 * MIB - 1}/{5 * MIB}"}
        assert client.put("/files/rest", content=bytes(4 * MIB), headers=span).status_code == 202
        (seen / "filling").write_bytes(bytes(MIB + 2**19))
        span = {"Content-Range": f"bytes {4 * MIB}-{5 * MIB - 1}/{5 * MIB}"}
        chunks = (bytes(2**16) for _ in range(16))
        assert client.put("/files/rest", content=chunks, headers=span).status_code == 507
        assert client.head("/files/rest").headers["upload-offset"] == str(4 * MIB)
        assert client.delete("/files/half").status_code == 204
        assert client.put("/files/rest", content=bytes(MIB), headers=span).status_code == 201
        assert client.get("/files/rest").content == bytes(5 * MIB)


def test_a_data_root_that_is_gone_is_not_made_anew(start: Any, tmp_path: Path) -> None:
    """503 while it is away, as when a volume is not mounted; then it works again."""
    root, aside = tmp_path / "root", tmp_path / "aside"
    root.mkdir()
    settings = GatewaySettings(
        data=root, predictors={}, auth="none", database=f"sqlite:///{tmp_path / 'x.db'}"
    )
    with start(settings) as url:
        root.rename(aside)
        asked = [(method, "/files/a") for method in ("PUT", "GET", "DELETE")]
        for method, path in (*asked, ("GET", "/files")):
            answer = httpx.request(method, url + path, content=b"x")
            assert answer.status_code == 503
            assert answer.json()["code"] == "data_root_unavailable"
        assert not root.exists()
        aside.rename(root)
        assert httpx.put(f"{url}/files/a", content=b"x").status_code == 201


def test_pipelined_requests_are_answered_in_order(site: httpx.Client, root: Path) -> None:
    """Bodies end where they say, and what comes after them is the next request."""
    put = b"PUT /files/pipe-%d HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nab%d"
    get = b"GET /files/pipe-%d HTTP/1.1\r\nHost: x\r\n\r\n"
    said = b"".join(put % (n, n) for n in range(3)) + b"".join(get % n for n in range(3))
    said += b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    heard = talk(site, said, 7)
    assert heard.count(b"HTTP/1.1 201") == 3
    assert heard.count(b"HTTP/1.1 200") == 4
    places = [heard.index(b"\r\n\r\nab%d" % n) for n in range(3)]
    assert places == sorted(places)


def test_a_refused_body_is_not_the_next_request(site: httpx.Client, root: Path) -> None:
    """What is refused unread is passed over, not understood as a request."""
    inner = b"PUT /files/smuggled HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"
    head = b"PUT /files/.hidden HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(inner)
    heard = talk(site, head + inner + b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", 2)
    assert [b"HTTP/1.1 400" in heard, b"HTTP/1.1 200" in heard] == [True, True]
    assert not (root / "smuggled").exists()


ODD = [
    b"PUT /files/odd HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    (
        b"PUT /files/odd HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    ),
    b"PUT /files/odd HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"PUT /files/odd HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    b"PUT /files/odd HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc",
    b"PUT /files/odd HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n",
    b"PUT /files/odd HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\nabc",
    b"PUT /files/o\xc3\xb6dd HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx",
    b"PUT /files/odd\x00 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx",
    b"PUT files/odd HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx",
    b"PUT /files/" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx",
    b"PUT /files/odd HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
    b"PUT /files/odd HTTP/9.9\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
    b"PUT /files/odd HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab",
]


@pytest.mark.parametrize("said", ODD)
def test_odd_requests_write_nothing(site: httpx.Client, root: Path, said: bytes) -> None:
    """They are refused, or hung up on; the gateway is there for the next one."""
    heard = talk(site, said)
    assert heard == b"" or heard.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")), heard[:200]
    assert not (root / "odd").exists()
    eventually(lambda: not staged(root))
    assert site.get("/livez").status_code == 200


def test_a_body_is_asked_for_only_when_it_is_wanted(site: httpx.Client, root: Path) -> None:
    """`Expect: 100-continue`: who would be refused is refused before sending gigabytes."""
    head = (
        b"PUT /files/%s HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    )
    with connect(site) as connection:
        connection.sendall(head % (b"asked", 3))
        assert connection.recv(100).startswith(b"HTTP/1.1 100")
        connection.sendall(b"abc")
        assert b"201" in connection.recv(100)
    with connect(site) as connection:
        connection.sendall(head % (b"asked", 2**40))
        assert connection.recv(100).startswith(b"HTTP/1.1 413")
    assert (root / "asked").read_bytes() == b"abc"


def test_who_hangs_up_on_a_download_frees_it(site: httpx.Client, root: Path) -> None:
    """No descriptor stays open."""
    with (root / "endless").open("wb") as file:
        file.truncate(2**40)

    def held() -> int:
        links = []
        for entry in Path("/proc/self/fd").iterdir():
            try:
                links.append(str(entry.readlink()))
            except OSError:
                continue
        return links.count(str(root / "endless"))

    for _ in range(3):
        with connect(site) as connection:
            connection.sendall(b"GET /files/endless HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    eventually(lambda: held() == 0)
    site.delete("/files/endless")


def test_a_file_that_shrinks_under_a_download_is_seen_to(site: httpx.Client, root: Path) -> None:
    """The caller sees that bytes are missing; it is not filled up with anything."""
    with (root / "shrinking").open("wb") as file:
        file.truncate(64 * MIB)
    with connect(site) as connection:
        connection.sendall(b"GET /files/shrinking HTTP/1.1\r\nHost: x\r\n\r\n")
        heard = len(connection.recv(1000))
        os.truncate(root / "shrinking", 0)
        while block := connection.recv(MIB):
            heard += len(block)
    assert heard < 64 * MIB
    assert site.get("/livez").status_code == 200
