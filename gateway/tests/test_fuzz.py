"""Whatever is sent: a refusal that is a problem, no defect, nothing written, and it goes on."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from nephra_gateway.settings import GatewaySettings

#: The same examples each time; enough of them.
HARD = examples(
    max_examples=150,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)

ADDRESSES = [
    "/", "/assets/x", "/cases", "/inference/tumor", "/smoothing/base", "/tickets",
    f"/tickets/{'0' * 32}", f"/tickets/{'0' * 32}/events", f"/tickets/{'0' * 32}/retry",
    "/files", "/files/A.nii.gz", "/files/x/y", "/cache", "/labels", "/healthz", "/docs",
]  # fmt: skip
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"]
FIELDS = [
    "Accept", "Authorization", "Cache-Control", "Content-Digest", "Content-Encoding",
    "Content-Range", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "If-Range",
    "Last-Event-ID", "Nephra-Callback", "Origin", "Prefer", "Priority", "Range", "Repr-Digest",
    "Traceparent", "Want-Repr-Digest", "X-Forwarded-For",
]  # fmt: skip
SAID = [
    "", "*", "0", "-1", "NaN", "bytes", "bytes=", "bytes=0-", "bytes=-0", "bytes=0-,1-",
    f"bytes={'9' * 40}-", "bytes 0-0/1", "bytes 0-0/0", f"bytes 0-0/{'9' * 30}", "bytes */*",
    "sha-256=::", "sha-256=:====:", "sha-256=:AAAA:, sha-256=:AAAA:", "sha-512=:AA==:",
    "wait=0", "wait=-1", "wait=1e9", "wait=", 'wait="0"', "respond-async", "respond-async, wait=0",
    "u=9", "u=-1", "u=0, i", "no-cache", "application/json; charset=utf-7", "text/event-stream",
    "Bearer", "Bearer x", "Basic eDp5", 'W/"x"', '"', '"" , ""', "gzip", "x" * 5000,
    "http://127.0.0.1/", "https://[::1]:99999/", "00-ffffffffffffffffffffffffffffffff-x-01",
]  # fmt: skip

VALUE = st.one_of(
    st.sampled_from(SAID),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f")),
)
HEADERS = st.dictionaries(st.sampled_from(FIELDS), VALUE, max_size=4)
MEMBER = st.sampled_from(
    ["image_path", "mask_path", "output_path", "phases", "structures", "bundles", "parameters",
     "ticket", "step", "attempt", "labels", "A", "D", "strict_phases", "preview", ""]
)  # fmt: skip
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.sampled_from(
        ["A.nii.gz", "../x", "/etc/passwd", "results", "\0", "x" * 2000, "text.nii.gz"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MEMBER, inner, max_size=5),
    max_leaves=8,
)
BODY = st.one_of(
    st.binary(max_size=200),
    JSON.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass")),
    st.dictionaries(MEMBER, JSON, max_size=6).map(
        lambda value: json.dumps(value).encode("utf-8", "surrogatepass")
    ),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root that only the gateway has."""
    root = tmp_path_factory.mktemp("above") / "root"
    root.mkdir()
    (root / "A.nii.gz").write_bytes(b"no image")
    return root


@pytest.fixture(scope="module")
def site(start: Any, settings: GatewaySettings, root: Path) -> Iterator[httpx.Client]:
    """A client of a gateway for everybody, whose predictors have another data root."""
    changed = {"data": root, "auth": "none", "max_upload_bytes": 2**20, "heartbeat_s": 0.1}
    with (
        start(settings.model_copy(update=changed)) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        yield client


@pytest.fixture
def defects(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """What was logged with a stack trace."""
    caplog.set_level(logging.WARNING, logger="nephra")
    found: list[str] = []
    yield found
    found += [r.getMessage() for r in caplog.records if r.exc_info or r.levelno >= logging.ERROR]
    assert found == []


def proper(answer: httpx.Response) -> None:
    """Assert that an answer is one of ours."""
    assert answer.status_code < 500, (answer.request.url, answer.text)
    assert answer.headers["x-content-type-options"] == "nosniff"
    if answer.status_code >= 400 and answer.request.method != "HEAD":
        if answer.request.url.path == "/" and answer.request.method == "GET":
            return  # the page was not built
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["status"] == answer.status_code
        assert problem["code"]
        assert problem["detail"]
        assert "Traceback" not in answer.text


@HARD
@given(st.sampled_from(METHODS), st.sampled_from(ADDRESSES), HEADERS, BODY)
def _ask(
    client: httpx.Client, method: str, path: str, headers: dict[str, str], body: bytes
) -> None:
    encoded = [(name, value.encode("latin-1").strip()) for name, value in headers.items()]
    # Server-Sent Events end with the ticket, of which there is none.
    proper(client.request(method, path, headers=encoded, content=body))  # type: ignore[arg-type]


def test_headers_and_bodies(site: httpx.Client, defects: list[str]) -> None:
    """At every address, by every method."""
    _ask(site)


@HARD
@given(
    st.sampled_from(["GET", "HEAD", "PUT", "DELETE", "POST"]),
    st.lists(
        st.sampled_from([b"files", b"..", b".", b"", b"results", b".nephra", b"a", b"A.nii.gz"])
        | st.binary(max_size=12),
        max_size=5,
    ),
    st.booleans(),
)
def _walk(client: httpx.Client, root: Path, method: str, parts: list[bytes], below: bool) -> None:
    path = "/files/" if below else "/"
    path += "/".join(quote_from_bytes(part, safe="") for part in parts)
    # As it is: a path that begins with two slashes is no host.
    answer = client.request(method, client.base_url.copy_with(raw_path=path.encode()), content=b"x")
    proper(answer)
    if answer.status_code in (200, 201) and method == "PUT":
        # What was put is below the data root, in sight, and nowhere else.
        made = root / answer.json()["path"]
        assert made.resolve().is_relative_to(root)
        assert not any(part.startswith(".") for part in Path(answer.json()["path"]).parts)
        assert made.read_bytes() == b"x"


def test_paths(site: httpx.Client, defects: list[str], root: Path) -> None:
    """Of any bytes, with every way out that there might be."""
    _walk(site, root)
    assert [p.name for p in root.parent.iterdir()] == ["root"]
    assert not (root / "results" / "a").exists()


@HARD
@given(
    st.one_of(
        st.binary(max_size=400),
        st.tuples(
            st.sampled_from([b"GET", b"PUT", b"POST", b"\xff", b"get", b"PUT\t"]),
            st.sampled_from([b"/files/raw", b"/cases", b"*", b"http://x/files/raw", b"//files/raw"])
            | st.binary(max_size=30),
            st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b""]),
            st.lists(
                st.sampled_from(
                    [b"Host: x", b"Host: x", b"Content-Length: 1", b"Content-Length: 5",
                     b"Content-Length: 0x1", b"Content-Length : 1", b"Transfer-Encoding: chunked",
                     b"Transfer-Encoding: xchunked", b"Expect: 100-continue", b"Expect: y",
                     b"Connection: upgrade", b"Upgrade: websocket", b"Upgrade: h2c", b" folded",
                     b"Content-Type: application/json", b"\xff: \xff", b"X: \x00"]
                ),
                max_size=6,
            ),
            st.binary(max_size=60) | st.sampled_from([b"1\r\nx\r\n0\r\n\r\n", b"0\r\n\r\n", b"{}"]),
        ).map(lambda t: b" ".join(t[:3]) + b"\r\n" + b"\r\n".join([*t[3], b"", t[4]])),
    )
)  # fmt: skip
def _say(client: httpx.Client, said: bytes) -> None:
    with socket.create_connection(("127.0.0.1", client.base_url.port or 80)) as connection:
        connection.settimeout(60)
        connection.sendall(said)
        connection.shutdown(socket.SHUT_WR)
        heard = b""
        try:
            while block := connection.recv(65536):
                heard += block
        except ConnectionResetError:
            pass
    assert not heard or heard.startswith(b"HTTP/1.1 "), heard
    assert b"HTTP/1.1 5" not in heard


def test_bytes_that_are_hardly_http(site: httpx.Client, defects: list[str]) -> None:
    """Refused or hung up on; those who come after are served."""
    _say(site)
    assert site.get("/livez").status_code == 200
