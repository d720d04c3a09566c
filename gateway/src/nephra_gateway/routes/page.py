"""The page at `/`: what `make page` built of web/, and nothing from anywhere else."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from nephra_contract.errors import NotFound
from nephra_gateway.gateway import gateway_of

router = APIRouter()

#: Where the build puts the page: part of the package, in wheels and images too.
FOLDER = Path(__file__).resolve().parents[1] / "page"

#: Scripts, styles and connections of this gateway alone; nothing inline, no frames, no forms that
#: lead elsewhere, and no text that becomes code. Images come as `data:` from NiiVue.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Vary": "Accept-Encoding",
}
#: Assets have a digest of their content in their names: what is cached is never wrong.
_FOR_EVER = "public, max-age=31536000, immutable"
_ASK_AGAIN = "no-cache"

_NOT_BUILT = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>nephra</title></head><body>'
    "<p>The page of this gateway has not been built: run <code>make page</code> in the checkout "
    'and load this again. The API works without it; <a href="docs">docs</a> describes it.</p>'
    "</body></html>"
)
_COMPRESSED = frozenset({"text/html", "text/css", "text/javascript", "image/svg+xml"})


@dataclass(frozen=True)
class Asset:
    """One file of the page, ready to be sent.

    Args:
        content: as it was built.
        packed: the same in gzip; None where that would gain nothing.
        media_type: for `Content-Type`.
        etag: changes with the content.
    """

    content: bytes
    packed: bytes | None
    media_type: str
    etag: str

    @classmethod
    def of(cls, content: bytes, media_type: str) -> Asset:
        """An asset of some content."""
        etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        packed = gzip.compress(content, 9, mtime=0) if media_type in _COMPRESSED else None
        return cls(content, packed, media_type, etag)


@router.api_route("/", methods=["GET", "HEAD"])
async def index(request: Request) -> Response:
    """The page for people."""
    built = _built(FOLDER)
    if not built:
        return HTMLResponse(_NOT_BUILT, 404, {"Cache-Control": "no-store"})
    name = "index.html" if gateway_of(request).settings.auth == "bearer" else "open.html"
    return _send(request, built[name], _ASK_AGAIN)


@router.api_route("/assets/{name}", methods=["GET", "HEAD"])
async def asset(name: str, request: Request) -> Response:
    """Script, style or picture of the page.

    Raises:
        NotFound: it has none of that name.
    """
    return _send(request, _find(f"assets/{name}"), _FOR_EVER)


@router.api_route("/favicon.svg", methods=["GET", "HEAD"])
async def favicon(request: Request) -> Response:
    """The picture on the tab.

    Raises:
        NotFound: the page was not built.
    """
    return _send(request, _find("favicon.svg"), _ASK_AGAIN)


def _find(path: str) -> Asset:
    found = _built(FOLDER).get(path)
    if found is None:
        raise NotFound("The page has no such file.", "Load the page at / again.")
    return found


def _send(request: Request, found: Asset, caching: str) -> Response:
    headers = {**_HEADERS, "Cache-Control": caching, "ETag": found.etag}
    if found.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    content = found.content
    if found.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        content, headers["Content-Encoding"] = found.packed, "gzip"
    return Response(content, headers=headers, media_type=found.media_type)


def _built(folder: Path) -> Mapping[str, Asset]:
    """The page's files by path; none where it was not built."""
    try:
        made = (folder / "index.html").stat().st_mtime_ns
    except OSError:
        return {}
    return _read(folder, made)


@lru_cache(maxsize=1)
def _read(folder: Path, made: int) -> Mapping[str, Asset]:
    """Read all files, a megabyte in sum; again after each build, at time `made`."""
    del made
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink()):
        kind = "text/javascript" if path.suffix == ".js" else mimetypes.guess_type(path.name)[0]
        name = path.relative_to(folder).as_posix()
        found[name] = Asset.of(path.read_bytes(), kind or "application/octet-stream")
    page = found["index.html"].content
    # Where nobody needs a token the page does not ask for one.
    open_page = page.replace(b'data-auth="bearer"', b'data-auth="none"', 1)
    return {**found, "open.html": Asset.of(open_page, "text/html")}
