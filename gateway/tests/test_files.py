"""Files of the data root over HTTP: put, fetched, listed, removed."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from nephra_gateway.settings import GatewaySettings

BODY = bytes(range(256)) * 1000


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Assert that the answer is this problem; gives its document."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == code
    return problem


def digest(body: bytes, algorithm: str = "sha256") -> str:
    """As RFC 9530 writes it."""
    value = base64.b64encode(hashlib.new(algorithm, body).digest()).decode()
    return f"{algorithm.replace('sha', 'sha-')}=:{value}:"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root."""
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def site(start: Any, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a gateway with small limits, for 'admin', 'jane' and 'john' (both run)."""
    tokens = tmp_path_factory.mktemp("tokens") / "tokens"
    names = {"admin": "admin", "jane": "run", "john": "run"}
    tokens.write_text(
        "".join(f"{hashlib.sha256(n.encode()).hexdigest()} {n}x {s}\n" for n, s in names.items())
    )
    settings = GatewaySettings(
        data=root, predictors={}, tokens_file=tokens, max_upload_bytes=2**20, metrics_port=0
    )
    with start(settings) as url:
        yield url


@pytest.fixture(scope="module")
def jane(site: str) -> Iterator[httpx.Client]:
    """A caller who may run."""
    with httpx.Client(base_url=site, headers={"Authorization": "Bearer jane"}) as client:
        yield client


@pytest.fixture(scope="module")
def admin(site: str) -> Iterator[httpx.Client]:
    """A caller who may all."""
    with httpx.Client(base_url=site, headers={"Authorization": "Bearer admin"}) as client:
        yield client


def staged(root: Path) -> list[str]:
    """What lies in the uploads' own folder."""
    folder = root / ".nephra" / "uploads"
    return [p.name for p in folder.iterdir() if p.is_file()] if folder.exists() else []


def visible(root: Path) -> list[Path]:
    """What is not nephra's own."""
    private = root / ".nephra"
    return sorted(p for p in root.rglob("*") if not p.is_relative_to(private))


def test_what_is_put_is_there(jane: httpx.Client, root: Path) -> None:
    """201 at first, 200 when it is replaced; nothing else is left."""
    answer = jane.put("/files/cases/1/A.nii.gz", content=BODY)
    assert answer.status_code == 201
    assert (root / "cases/1/A.nii.gz").read_bytes() == BODY
    got = answer.json()
    assert got["path"] == "cases/1/A.nii.gz"
    assert got["bytes"] == len(BODY)
    assert got["sha256"] == hashlib.sha256(BODY).hexdigest()
    assert answer.headers["location"] == "/files/cases/1/A.nii.gz"
    again = jane.put("/files/cases/1/A.nii.gz", content=b"x")
    assert again.status_code == 200
    assert again.headers["etag"] != answer.headers["etag"]
    assert (root / "cases/1/A.nii.gz").read_bytes() == b"x"
    assert (root / "cases/1/A.nii.gz").stat().st_mode & 0o111 == 0
    assert staged(root) == []


def test_what_is_there_can_be_fetched(jane: httpx.Client) -> None:
    """As an attachment that nothing is guessed of."""
    jane.put("/files/fetched/s\u00fc\u00df.html", content=BODY)
    answer = jane.get("/files/fetched/s\u00fc\u00df.html")
    assert answer.content == BODY
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == (
        "attachment; filename*=UTF-8''s%C3%BC%C3%9F.html"
    )
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "private, no-cache"
    assert answer.headers["accept-ranges"] == "bytes"
    head = jane.head("/files/fetched/s\u00fc\u00df.html", headers={"Want-Repr-Digest": "sha-256=1"})
    assert head.content == b""
    assert head.headers["content-length"] == str(len(BODY))
    assert head.headers["etag"] == answer.headers["etag"]
    assert head.headers["repr-digest"] == digest(BODY)


@pytest.mark.parametrize(
    ("asked", "first", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-9", 5, 10),
        ("bytes=255990-", 255990, 256000),
        ("bytes=-7", 255993, 256000),
        ("bytes=0-999999999", 0, 256000),
        ("bytes=-999999999", 0, 256000),
        ("Bytes=3-3", 3, 4),
    ],
)
def test_ranges(jane: httpx.Client, asked: str, first: int, stop: int) -> None:
    """206 with those bytes, and which they are."""
    jane.put("/files/ranges", content=BODY)
    answer = jane.get("/files/ranges", headers={"Range": asked})
    assert answer.status_code == 206
    assert answer.content == BODY[first:stop]
    assert answer.headers["content-range"] == f"bytes {first}-{stop - 1}/{len(BODY)}"


@pytest.mark.parametrize("asked", ["bytes=9-5", "bytes=-", "lines=1-2", "bytes=0-1,5-6", "bytes=x"])
def test_ranges_that_are_not_understood_are_not_heeded(jane: httpx.Client, asked: str) -> None:
    """As RFC 9110 allows: the whole."""
    jane.put("/files/ranges", content=BODY)
    answer = jane.get("/files/ranges", headers={"Range": asked})
    assert answer.status_code == 200
    assert answer.content == BODY


@pytest.mark.parametrize("asked", ["bytes=256000-", "bytes=999999-1000000", "bytes=-0"])
def test_ranges_behind_the_end(jane: httpx.Client, asked: str) -> None:
    """416, which says how long the file is."""
    jane.put("/files/ranges", content=BODY)
    answer = jane.get("/files/ranges", headers={"Range": asked})
    refused(answer, 416, "range_not_satisfiable")
    assert answer.headers["content-range"] == f"bytes */{len(BODY)}"


def test_a_changed_file_is_not_gone_on_with(jane: httpx.Client) -> None:
    """If-Range gives the whole where the tag, or date, is another one."""
    tag = jane.put("/files/changing", content=BODY).headers["etag"]
    asked = {"Range": "bytes=5-9", "If-Range": tag}
    assert jane.get("/files/changing", headers=asked).status_code == 206
    jane.put("/files/changing", content=BODY[::-1])
    answer = jane.get("/files/changing", headers=asked)
    assert answer.status_code == 200
    assert answer.content == BODY[::-1]
    same = {"Range": "bytes=5-9", "If-Range": answer.headers["last-modified"]}
    assert jane.get("/files/changing", headers=same).status_code == 206


def test_what_one_has_is_not_sent_again(jane: httpx.Client) -> None:
    """304 while the tag is the same, weak or not."""
    tag = jane.put("/files/kept", content=b"1").headers["etag"]
    for asked in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        answer = jane.get("/files/kept", headers={"If-None-Match": asked})
        assert answer.status_code == 304
        assert answer.headers["etag"] == tag
        assert answer.content == b""
    assert jane.get("/files/kept", headers={"If-None-Match": '"other"'}).status_code == 200
    refused(jane.get("/files/kept", headers={"If-Match": '"other"'}), 412, "precondition_failed")


def test_put_only_what_is_not_there(jane: httpx.Client, root: Path) -> None:
    """If-None-Match: * never replaces."""
    only = {"If-None-Match": "*"}
    assert jane.put("/files/once", content=b"1", headers=only).status_code == 201
    refused(jane.put("/files/once", content=b"2", headers=only), 412, "precondition_failed")
    assert (root / "once").read_bytes() == b"1"


def test_replace_only_what_one_knows(jane: httpx.Client, root: Path) -> None:
    """If-Match keeps one from writing over, or removing, what somebody else has put there."""
    tag = jane.put("/files/known", content=b"1").headers["etag"]
    jane.put("/files/known", content=b"2")
    for method in ("PUT", "DELETE"):
        answer = jane.request(method, "/files/known", headers={"If-Match": tag}, content=b"3")
        refused(answer, 412, "precondition_failed")
    refused(
        jane.put("/files/never", content=b"3", headers={"If-Match": "*"}),
        412,
        "precondition_failed",
    )
    assert (root / "known").read_bytes() == b"2"
    now = jane.get("/files/known").headers["etag"]
    assert jane.delete("/files/known", headers={"If-Match": now}).status_code == 204


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("field", ["Content-Digest", "Repr-Digest"])
def test_checksums_are_checked(jane: httpx.Client, root: Path, field: str, algorithm: str) -> None:
    """A wrong one is refused, and nothing is left; the file that was there stays."""
    path = f"/files/checked-{field}-{algorithm}"
    good = {field: f"{digest(BODY, algorithm)}, unknown=:AAAA:"}
    assert jane.put(path, content=BODY, headers=good).status_code == 201
    refused(jane.put(path, content=BODY[1:], headers=good), 422, "digest_mismatch")
    assert (root / path[7:]).read_bytes() == BODY
    assert staged(root) == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Digest": "sha-256=abc"},
        {"Content-Digest": "sha-256=:abc:"},
        {"Content-Digest": "sha-256=:AAAA:"},
        {"Repr-Digest": "md5=:AAAA:"},
        {"Repr-Digest": ",,"},
        {"Content-Range": "bytes 0-9"},
        {"Content-Range": "bytes 0-9/*"},
        {"Content-Range": "bytes */10"},
        {"Content-Range": "bytes 5-4/10"},
        {"Content-Range": "bytes 5-10/10"},
        {"Content-Range": "bytes -1-3/10"},
        {"Content-Range": f"bytes 0-9/{'9' * 40}"},
        {"Content-Range": "lines 0-9/10"},
        {"Content-Range": "bytes \u0661-\u0662/\u0669".encode()},
    ],
)
def test_headers_that_are_not_understood_are_refused(
    jane: httpx.Client, root: Path, headers: Any
) -> None:
    """A checksum that cannot be checked is not passed over."""
    refused(
        jane.put("/files/headers", content=b"0123456789", headers=headers), 422, "header_invalid"
    )
    assert not (root / "headers").exists()


def test_a_compressed_body_is_refused(jane: httpx.Client) -> None:
    """The bytes of a file are sent as they are."""
    headers = {"Content-Encoding": "gzip"}
    refused(jane.put("/files/gz", content=b"x", headers=headers), 415, "media_type_unsupported")


def test_too_large_is_refused(jane: httpx.Client, root: Path) -> None:
    """By its length, unread; by its range; and when it comes without a length."""
    body = b" " * (2**20 + 1)
    refused(jane.put("/files/large", content=body), 413, "upload_too_large")
    chunks = (body[i : i + 65536] for i in range(0, len(body), 65536))
    refused(jane.put("/files/large", content=chunks), 413, "upload_too_large")
    span = {"Content-Range": "bytes 0-0/1048577"}
    refused(jane.put("/files/large", content=b"x", headers=span), 413, "upload_too_large")
    assert not (root / "large").exists()
    assert staged(root) == []
    assert jane.put("/files/large", content=body[1:]).status_code == 201
    empty = jane.put("/files/empty", content=b"")
    assert empty.status_code == 201
    assert jane.get("/files/empty").content == b""


def send(client: httpx.Client, path: str, start: int, stop: int, **headers: str) -> httpx.Response:
    """One part of BODY."""
    span = {"Content-Range": f"bytes {start}-{stop - 1}/{len(BODY)}"}
    return client.put(path, content=BODY[start:stop], headers={**span, **headers})


def test_an_upload_comes_in_parts(jane: httpx.Client, root: Path) -> None:
    """HEAD says where to go on; the file is there when all of it is."""
    path = "/files/parts/a"
    assert jane.head(path).status_code == 404
    assert jane.head(path).headers["upload-offset"] == "0"
    first = send(jane, path, 0, 100_000)
    assert first.status_code == 202
    assert first.headers["upload-offset"] == "100000"
    assert first.json() == {"path": "parts/a", "bytes": 100_000}
    head = jane.head(path)
    assert head.status_code == 204
    assert head.headers["upload-offset"] == "100000"
    assert head.headers["upload-length"] == str(len(BODY))
    assert jane.get(path).status_code == 404
    content = digest(BODY[100_000:200_000])
    assert send(jane, path, 100_000, 200_000, **{"Content-Digest": content}).status_code == 202
    last = send(jane, path, 200_000, len(BODY), **{"Repr-Digest": digest(BODY)})
    assert last.status_code == 201
    assert last.json()["sha256"] == hashlib.sha256(BODY).hexdigest()
    assert jane.get(path).content == BODY
    assert jane.head(path).status_code == 200
    assert "upload-offset" not in jane.head(path).headers
    assert staged(root) == []


def test_one_part_may_be_all(jane: httpx.Client) -> None:
    """201 at once."""
    assert send(jane, "/files/parts/whole", 0, len(BODY)).status_code == 201


@pytest.mark.parametrize("first", [50_000, 100_001, 200_000])
def test_a_part_from_elsewhere_is_refused(jane: httpx.Client, first: int) -> None:
    """409 with the offset to go on from, which stays as it was."""
    path = f"/files/parts/offset-{first}"
    refused(send(jane, path, first, first + 10), 409, "offset_mismatch")
    assert jane.head(path).status_code == 404
    send(jane, path, 0, 100_000)
    answer = send(jane, path, first, first + 10)
    problem = refused(answer, 409, "offset_mismatch")
    assert problem["offset"] == 100_000
    assert answer.headers["upload-offset"] == "100000"
    assert jane.head(path).headers["upload-offset"] == "100000"
    assert jane.delete(path).status_code == 204


def test_a_bad_part_is_sent_again(jane: httpx.Client, root: Path) -> None:
    """A part with a wrong checksum is not kept, those before it are."""
    path = "/files/parts/bad"
    send(jane, path, 0, 1000)
    wrong = {"Content-Digest": digest(b"")}
    refused(send(jane, path, 1000, 2000, **wrong), 422, "digest_mismatch")
    assert jane.head(path).headers["upload-offset"] == "1000"
    chunks = iter([BODY[1000:1500]])
    span = {"Content-Range": f"bytes 1000-1999/{len(BODY)}"}
    refused(jane.put(path, content=chunks, headers=span), 422, "range_mismatch")
    refused(jane.put(path, content=BODY[1000:2001], headers=span), 422, "range_mismatch")
    chunks = iter([BODY[1000:1500], BODY[1500:2001]])
    refused(jane.put(path, content=chunks, headers=span), 422, "range_mismatch")
    assert jane.head(path).headers["upload-offset"] == "1000"
    refused(
        send(jane, path, 1000, len(BODY), **{"Repr-Digest": digest(b"")}), 422, "digest_mismatch"
    )
    assert jane.head(path).status_code == 404
    assert staged(root) == []


def test_a_file_of_another_length_begins_anew(jane: httpx.Client, root: Path) -> None:
    """Parts of two files are never put together."""
    path = "/files/parts/other"
    send(jane, path, 0, 1000)
    span = {"Content-Range": "bytes 1000-1009/1010"}
    refused(jane.put(path, content=BODY[:10], headers=span), 409, "offset_mismatch")
    span = {"Content-Range": "bytes 0-9/20"}
    assert jane.put(path, content=BODY[:10], headers=span).status_code == 202
    assert jane.head(path).headers["upload-length"] == "20"
    assert len(staged(root)) == 1
    assert jane.delete(path).status_code == 204
    assert staged(root) == []


def test_nobody_goes_on_with_somebody_elses_upload(jane: httpx.Client, site: str) -> None:
    """Two callers may upload to one path at once; who ends last is seen."""
    path = "/files/parts/two"
    with httpx.Client(base_url=site, headers={"Authorization": "Bearer john"}) as john:
        send(jane, path, 0, 1000)
        assert john.head(path).headers["upload-offset"] == "0"
        refused(send(john, path, 1000, 2000), 409, "offset_mismatch")
        john.put(path, content=b"john's")
        assert jane.head(path).headers["upload-offset"] == "1000"
        assert send(jane, path, 1000, len(BODY)).status_code == 200
        assert john.get(path).content == BODY


def test_files_are_removed(jane: httpx.Client, root: Path) -> None:
    """Once; then there is nothing."""
    jane.put("/files/gone/a", content=b"1")
    answer = jane.delete("/files/gone/a")
    assert answer.status_code == 204
    assert answer.content == b""
    assert not (root / "gone/a").exists()
    refused(jane.delete("/files/gone/a"), 404, "file_not_found")
    refused(jane.delete("/files/nowhere/at/all"), 404, "file_not_found")
    refused(jane.delete("/files/gone"), 400, "path_is_directory")


REFUSED = [
    ("", "path_refused"),
    ("%2e", "path_refused"),
    ("%2e%2e", "path_refused"),
    ("%2e%2e/x", "path_refused"),
    ("a/%2e%2e/%2e%2e/x", "path_refused"),
    ("%2Fetc/passwd", "path_refused"),
    ("a/", "path_refused"),
    ("a%00b", "path_refused"),
    ("a%0d", "path_refused"),
    ("a%0a", "path_refused"),
    ("a%0ab", "path_refused"),
    ("a%5Cb", "path_refused"),
    ("~root/x", "path_refused"),
    (".hidden", "path_refused"),
    ("a/.hidden/b", "path_refused"),
    (".nephra/gateway.db", "path_refused"),
    ("%20", "path_refused"),
    ("%ff", "path_refused"),
    ("%C3%28", "path_refused"),
    ("%ED%A0%80", "path_refused"),
    ("%E2%80%AE.gz", "path_refused"),
    ("a" * 256, "path_refused"),
    ("a/" * 600 + "b", "path_refused"),
    ("%F0%9F%AB%80" * 80, "path_refused"),
]


@pytest.mark.parametrize(("path", "code"), REFUSED)
@pytest.mark.parametrize("method", ["PUT", "GET", "HEAD", "DELETE"])
def test_names_that_are_none_are_refused(
    jane: httpx.Client, root: Path, path: str, code: str, method: str
) -> None:
    """Whatever is asked for: 400, and nothing is made."""
    before = visible(root)
    answer = jane.request(method, f"/files/{path}", content=b"x")
    assert answer.status_code == 400, answer.text
    if method != "HEAD":
        refused(answer, 400, code)
    assert visible(root) == before
    assert staged(root) == []


@pytest.mark.parametrize(
    "name",
    [
        "\u00fcn\u00efc\u00f6de/\u65e5\u672c.nii.gz",
        "with space/and+plus&=#?%25;.gz",
        "\U0001fac0.nii",
        "a//b/./c",
        "n" * 255,
        "CON",
        "-rf",
        "'; DROP TABLE tickets",
    ],
)
def test_names_of_all_kinds_work(jane: httpx.Client, root: Path, name: str) -> None:
    """What is put under a name is fetched, listed and removed under it."""
    address = f"/files/{quote(name)}"
    assert jane.put(address, content=name.encode()).status_code == 201
    plain = "/".join(p for p in name.split("/") if p not in ("", "."))
    assert (root / plain).read_bytes() == name.encode()
    assert jane.get(address).content == name.encode()
    folder = plain.rpartition("/")[0]
    listed = jane.get("/files", params={"under": folder}).json()
    assert plain in [f["path"] for f in listed["files"]]
    assert jane.delete(address).status_code == 204


def test_results_are_read_alone(jane: httpx.Client, admin: httpx.Client, root: Path) -> None:
    """Nobody changes them; admins list them; who knows the name of one may fetch it."""
    folder = root / "results" / ("a" * 32) / "smoothing-base"
    folder.mkdir(parents=True)
    (folder / "scene.glb").write_bytes(b"glTF")
    (folder.parent / ".work-1").mkdir()
    path = f"/files/results/{'a' * 32}/smoothing-base/scene.glb"
    for client in (jane, admin):
        refused(client.put(path, content=b"x"), 400, "results_read_only")
        refused(client.delete(path), 400, "results_read_only")
        refused(client.put("/files/results", content=b"x"), 400, "results_read_only")
        answer = client.get(path)
        assert answer.content == b"glTF"
        assert answer.headers["content-type"] == "model/gltf-binary"
    under = {"under": f"results/{'a' * 32}"}
    assert admin.get("/files", params=under).json()["folders"] == [
        f"{under['under']}/smoothing-base"
    ]
    refused(jane.get("/files", params=under), 403, "scope_missing")
    refused(jane.get("/files", params={"under": "x/../results"}), 400, "path_refused")
    assert "results" in admin.get("/files").json()["folders"]
    assert "results" not in jane.get("/files").json()["folders"]
    assert ".nephra" not in admin.get("/files").json()["folders"]


def test_folders_are_listed(jane: httpx.Client, root: Path) -> None:
    """Names in order, in pages where one wants them; nothing hidden."""
    for name in ("c", "a", "b/x", "d/y", ".hidden"):
        (root / "list" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "list" / name).write_bytes(b"123")
    os.mkfifo(root / "list" / "pipe")
    (root / "list").joinpath(os.fsdecode(b"\xff\xfe")).write_bytes(b"")
    got = jane.get("/files", params={"under": "list/"}).json()
    assert [f["path"] for f in got["files"]] == ["list/a", "list/c"]
    assert got["folders"] == ["list/b", "list/d"]
    assert got["files"][0]["bytes"] == 3
    assert got["files"][0]["modified"].endswith("+00:00")
    assert got["next"] is None
    seen: list[str] = []
    after = ""
    for _ in range(4):
        page = jane.get("/files", params={"under": "list", "limit": 1, "after": after}).json()
        seen += [*page["folders"], *(f["path"] for f in page["files"])]
        after = page["next"] or ""
    assert seen == ["list/a", "list/b", "list/c", "list/d"]
    assert after == ""
    refused(jane.get("/files", params={"under": "nowhere"}), 404, "file_not_found")
    refused(jane.get("/files", params={"under": "list/a"}), 404, "file_not_found")
    refused(jane.get("/files", params={"limit": 0}), 422, "request_invalid")
    refused(jane.get("/files", params={"under": "../x"}), 400, "path_refused")


def test_links_are_not_written_through(jane: httpx.Client, root: Path, tmp_path: Path) -> None:
    """Neither as the file nor as a folder on the way, wherever they lead to."""
    (root / "links").mkdir()
    (root / "links" / "real").mkdir()
    (root / "links" / "file").write_bytes(b"kept")
    (tmp_path / "outside").write_bytes(b"secret")
    (root / "links" / "in-file").symlink_to("file")
    (root / "links" / "in-folder").symlink_to("real")
    (root / "links" / "out-file").symlink_to(tmp_path / "outside")
    (root / "links" / "out-folder").symlink_to(tmp_path)
    (root / "links" / "loop").symlink_to("loop")
    (root / "links" / "dead").symlink_to("nowhere")
    (root / "links" / "private").symlink_to(root / ".nephra")
    for name in ("in-file", "in-folder/x", "out-file", "out-folder/x", "loop", "dead", "private/x"):
        for method in ("PUT", "DELETE"):
            answer = jane.request(method, f"/files/links/{name}", content=b"x")
            assert answer.status_code in (400, 404, 409), (method, name, answer.text)
    assert (root / "links" / "file").read_bytes() == b"kept"
    assert (tmp_path / "outside").read_bytes() == b"secret"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["outside"]
    assert list((root / "links" / "real").iterdir()) == []
    assert jane.get("/files/links/in-file").content == b"kept"
    for name in ("out-file", "out-folder/outside", "private/gateway.db"):
        refused(jane.get(f"/files/links/{name}"), 400, "path_refused")
    got = jane.get("/files", params={"under": "links"}).json()
    assert [f["path"] for f in got["files"]] == ["links/file", "links/in-file"]
    assert got["folders"] == ["links/in-folder", "links/real"]


def test_a_file_is_no_folder(jane: httpx.Client, root: Path) -> None:
    """Nor is a folder, or a pipe, written over."""
    (root / "a-file").write_bytes(b"1")
    (root / "a-folder").mkdir()
    os.mkfifo(root / "a-pipe")
    refused(jane.put("/files/a-file/x", content=b"x"), 409, "path_not_a_folder")
    refused(jane.get("/files/a-file/x"), 404, "file_not_found")
    refused(jane.put("/files/a-folder", content=b"x"), 400, "path_is_directory")
    refused(jane.get("/files/a-folder"), 400, "path_is_directory")
    for method in ("PUT", "GET", "DELETE"):
        refused(jane.request(method, "/files/a-pipe", content=b"x"), 400, "path_refused")
    assert staged(root) == []


def test_each_access_is_audited(jane: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    """Who, what, which file, how many bytes, how it ended: also where it was refused."""
    caplog.set_level("INFO", logger="nephra")
    jane.put("/files/audited", content=b"12345")
    jane.get("/files/audited", headers={"Range": "bytes=1-2"})
    jane.get("/files", params={"under": "nowhere"})
    jane.delete("/files/audited")
    jane.get("/files/audited")
    lines = [vars(r)["nephra_members"] for r in caplog.records if r.getMessage() == "audit"]
    assert [{k: v for k, v in line.items() if k != "path"} for line in lines] == [
        {"who": "janex", "action": "write", "outcome": 201, "bytes": 5},
        {"who": "janex", "action": "read", "outcome": 206, "bytes": 2},
        {"who": "janex", "action": "list", "outcome": "file_not_found"},
        {"who": "janex", "action": "delete", "outcome": 204},
        {"who": "janex", "action": "read", "outcome": "file_not_found"},
    ]
    assert [line["path"] for line in lines] == [
        "audited",
        "audited",
        "nowhere",
        "audited",
        "audited",
    ]
    assert json.dumps(lines)
