from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from nephra_gateway.routes import page
from nephra_gateway.settings import GatewaySettings

SCRIPT = "console.log('nephra');" * 100
INDEX = '<!doctype html><html lang="en" data-auth="bearer"><title>nephra</title></html>'


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page, as a build leaves it."""
    folder = tmp_path / "page"
    (folder / "assets").mkdir(parents=True)
    (folder / "assets" / "index-abc.js").write_text(SCRIPT)
    (folder / "favicon.svg").write_text("<svg/>")
    (folder / "index.html").write_text(INDEX)
    (tmp_path / "secret").write_text("secret")
    (folder / "assets" / "link.js").symlink_to(tmp_path / "secret")
    monkeypatch.setattr(page, "FOLDER", folder)
    return folder


@pytest.fixture
def visitor(gateway: httpx.Client) -> Iterator[httpx.Client]:
    """Somebody without a token."""
    with httpx.Client(base_url=gateway.base_url) as client:
        yield client


def test_the_page_is_for_everybody_and_asked_for_again(built: Path, visitor: httpx.Client) -> None:
    """No token is needed to see it, and a new one is seen at once."""
    answer = visitor.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.text == INDEX
    again = visitor.get("/", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304
    index = built / "index.html"
    index.write_text(INDEX.replace("<title>nephra", "<title>new"))
    os.utime(index, ns=(1, index.stat().st_mtime_ns + 1))
    assert "new" in visitor.get("/", headers={"If-None-Match": answer.headers["etag"]}).text


def test_its_policy_is_strict(built: Path, visitor: httpx.Client) -> None:
    """Scripts and styles are files of this gateway; nothing inline, nothing evaluated."""
    for address in ("/", "/assets/index-abc.js"):
        headers = visitor.get(address).headers
        policy = headers["content-security-policy"]
        parts = dict(part.strip().partition(" ")[::2] for part in policy.split(";"))
        assert parts["default-src"] == "'none'"
        assert parts["script-src"] == parts["style-src"] == parts["connect-src"] == "'self'"
        assert parts["frame-ancestors"] == parts["base-uri"] == parts["form-action"] == "'none'"
        assert "unsafe" not in policy
        assert "*" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"


def test_assets_are_kept_for_ever_and_packed(built: Path, visitor: httpx.Client) -> None:
    """Their names change with their content; browsers get them in gzip."""
    answer = visitor.get("/assets/index-abc.js", headers={"Accept-Encoding": "gzip"})
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["vary"] == "Accept-Encoding"
    assert answer.headers["content-type"].startswith("text/javascript")
    assert int(answer.headers["content-length"]) < len(SCRIPT) / 5
    assert answer.text == SCRIPT
    plain = visitor.get("/assets/index-abc.js", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.text == SCRIPT
    assert visitor.head("/assets/index-abc.js").content == b""
    assert visitor.get("/favicon.svg").headers["content-type"].startswith("image/svg+xml")


@pytest.mark.parametrize(
    "address",
    ["/assets/nothing.js", "/assets/link.js", "/assets/..%2Findex.html", "/assets/%2e%2e/secret"],
)
def test_nothing_but_the_page_is_served(built: Path, visitor: httpx.Client, address: str) -> None:
    """Other files, links out and ways up are not found."""
    answer = visitor.get(address)
    assert answer.status_code in (401, 404)
    assert "secret" not in answer.text


def test_a_page_that_was_not_built_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visitor: httpx.Client
) -> None:
    """In a sentence that says what to do; the API is there all the same."""
    monkeypatch.setattr(page, "FOLDER", tmp_path / "nowhere")
    answer = visitor.get("/")
    assert answer.status_code == 404
    assert "make page" in answer.text
    assert visitor.get("/assets/index-abc.js").json()["code"] == "not_found"
    assert visitor.get("/livez").status_code == 200


def test_where_no_token_is_needed_the_page_asks_for_none(
    built: Path, start: Any, settings: GatewaySettings
) -> None:
    """It is told so, since it cannot find out without being refused."""
    open_to_all = settings.model_copy(update={"auth": "none", "tokens_file": None})
    with start(open_to_all) as url:
        assert 'data-auth="none"' in httpx.get(f"{url}/").text


def test_what_is_built_is_small_and_whole() -> None:
    """Under 3 MB in gzip for all that a browser may load, and no other host in the page itself."""
    folder = Path(page.__file__).parents[1] / "page"
    if not (folder / "index.html").is_file():
        pytest.skip("the page is not built: `make page` does it")
    files = [p for p in folder.rglob("*") if p.is_file()]
    assert sum(len(gzip.compress(p.read_bytes())) for p in files) < 3_000_000
    index = (folder / "index.html").read_text()
    assert "http" not in index
    assert "<style" not in index
    assert 'type="module"' in index
