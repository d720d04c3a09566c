"""`/files`: what lies in the data root, put there and fetched in streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from os import close
from typing import Annotated, Any
from urllib.parse import quote, unquote_to_bytes

from fastapi import APIRouter, FastAPI, Query, Request
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from nephra_contract.errors import Cancelled, FileMissing, PathRefused
from nephra_contract.fences import RESULTS
from nephra_contract.paths import DataRoot
from nephra_gateway import audit
from nephra_gateway.auth import caller_of
from nephra_gateway.downloads import answer as download
from nephra_gateway.fields import Conditions, Digest, Span
from nephra_gateway.messages import FilePage, FileView, Received
from nephra_gateway.problems import RangeMissing, Stalled, WrongMediaType, problem_response
from nephra_gateway.staging import OffsetWrong
from nephra_gateway.tree import Found, Tree
from nephra_gateway.uploads import Stored, Upload, Uploads

_BLOCK_BYTES = 2**20
_STALLED_S = 60.0
_MAX_LISTED = 10_000


@asynccontextmanager
async def _receiving(app: FastAPI) -> AsyncIterator[None]:
    """As long as the application runs, uploads are received, and abandoned ones removed."""
    settings = app.state.gateway.settings
    app.state.uploads = Uploads(Tree(DataRoot(settings.data)), settings.max_upload_bytes)
    sweeping = asyncio.create_task(app.state.uploads.sweep())
    try:
        yield
    finally:
        sweeping.cancel()


router = APIRouter(lifespan=_receiving)


@router.get("/files")
async def listing(
    request: Request,
    under: str = "",
    after: str = "",
    limit: Annotated[int, Query(ge=1, le=_MAX_LISTED)] = _MAX_LISTED,
) -> FilePage:
    """What lies in one folder of the data root, in order of names.

    Raises:
        NephraError: there is no such folder, or it is for admins alone.
    """
    _count(request)
    uploads, caller = _uploads_of(request), caller_of(request)
    name = under.rstrip("/")
    with audit.watched(caller, "list", under) as seen:
        parts = await uploads.blocking(lambda: uploads.tree.real(name) if name else ())
        if parts[:1] == (RESULTS,):
            caller.need("admin")
        folders, files = await uploads.blocking(lambda: uploads.tree.list(parts))
        seen.outcome = 200
    if not caller.admin:
        folders = [folder for folder in folders if folder != RESULTS]
    names = sorted([*folders, *(path for path, _ in files)])
    shown = [path for path in names if path > after][:limit]
    more = bool(shown) and shown[-1] != names[-1]
    kept = set(shown)
    return FilePage(
        files=[_view(path, found) for path, found in files if path in kept],
        folders=[folder for folder in folders if folder in kept],
        next=shown[-1] if more else None,
    )


@router.put("/files/{path:path}")
async def put(path: str, request: Request) -> Response:
    """Put a file, or a part of one, into the data root.

    Raises:
        NephraError: see `uploads`.
    """
    _count(request)
    body = _Body(request)
    with audit.watched(caller_of(request), "write", path) as seen:
        try:
            stored = await _uploads_of(request).put(_upload_of(path, request), body.blocks())
        except OffsetWrong as error:
            seen.outcome = request.state.members["code"] = error.code
            refused = problem_response(error)
            refused.headers["Upload-Offset"] = str(error.offset)
            return refused
        finally:
            seen.count_bytes = body.received
        answer = _stored(stored)
        seen.outcome = answer.status_code
        return answer


@router.api_route("/files/{path:path}", methods=["GET", "HEAD"])
async def get(path: str, request: Request) -> Response:
    """A file of the data root, or a range of it; for HEAD how far an upload has come.

    Raises:
        NephraError: it is not there, or cannot be had.
    """
    _count(request)
    uploads, caller = _uploads_of(request), caller_of(request)
    with audit.watched(caller, "read", path) as seen:
        _check_name(request)
        offset = await _offset(uploads, path, request)
        try:
            handle, found = await uploads.blocking(
                lambda: uploads.tree.open(uploads.tree.real(path)), undo=lambda got: close(got[0])
            )
            seen.outcome = None  # the answer says it, when it has been sent
            answer: Response = await download(
                uploads, path, handle, found, request.headers, seen.tell
            )
        except RangeMissing as error:
            seen.outcome = request.state.members["code"] = error.code
            answer = problem_response(error)
            answer.headers["Content-Range"] = f"bytes */{error.extra['size']}"
        except FileMissing as error:
            if request.method != "HEAD":
                raise
            seen.outcome = error.code
            answer = Response(None, 204) if offset else problem_response(error)
            offset = offset or {"Upload-Offset": "0"}
        answer.headers.update(offset)
        return answer


@router.delete("/files/{path:path}", status_code=204)
async def delete(path: str, request: Request) -> Response:
    """Remove a file, and what of an upload there has come so far.

    Raises:
        NephraError: it is not there, or must stay.
    """
    _count(request)
    uploads, caller = _uploads_of(request), caller_of(request)
    with audit.watched(caller, "delete", path) as seen:
        _check_name(request)
        conditions = Conditions.of(request.headers)
        await uploads.blocking(lambda: uploads.remove(path, caller.name, conditions))
        seen.outcome = 204
        return Response(None, 204)


class _Body:
    """What a request carries.

    Args:
        request: which.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self.received = 0

    async def blocks(self) -> AsyncIterator[bytes]:
        """Blocks of about a MiB.

        Raises:
            Cancelled: the caller has hung up; what had come was given before.
            Stalled: nothing has come for long.
        """
        buffer, stream = bytearray(), self._request.stream()
        try:
            while (chunk := await _next(stream)) is not None:
                buffer += chunk
                self.received += len(chunk)
                if len(buffer) >= _BLOCK_BYTES:
                    yield bytes(buffer)
                    buffer.clear()
        except (ClientDisconnect, Stalled) as error:
            if buffer:
                yield bytes(buffer)
            if isinstance(error, Stalled):
                raise
            raise Cancelled("The caller has hung up.", "Go on where HEAD says.") from error
        if buffer:
            yield bytes(buffer)


async def _next(stream: AsyncIterator[bytes]) -> bytes | None:
    try:
        async with asyncio.timeout(_STALLED_S):
            return await anext(stream, None)
    except TimeoutError as error:
        raise Stalled(
            f"Nothing has come for {_STALLED_S:.0f} s.", "Send the rest; HEAD says from where."
        ) from error


def _upload_of(path: str, request: Request) -> Upload:
    """What a request wants.

    Raises:
        NephraError: its headers are not understood.
    """
    _check_name(request)
    headers = request.headers
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise WrongMediaType(
            "The body has a 'Content-Encoding'.", "Send the file's bytes as they are."
        )
    return Upload(
        path,
        caller_of(request).name,
        int(headers["content-length"]) if "content-length" in headers else None,
        Span.of(headers),
        Digest.of(headers, "Content-Digest"),
        Digest.of(headers, "Repr-Digest"),
        Conditions.of(headers),
    )


def _stored(stored: Stored) -> Response:
    """The answer to an upload."""
    if stored.found is None:
        progress = Received(path=stored.path, bytes=stored.size)
        headers = {"Upload-Offset": str(stored.size)}
        return JSONResponse(progress.model_dump(mode="json"), 202, headers)
    view = _view(stored.path, stored.found, stored.sha256)
    headers = {"ETag": stored.found.tag, "Location": f"/files/{quote(stored.path)}"}
    return JSONResponse(view.model_dump(mode="json"), 201 if stored.created else 200, headers)


async def _offset(uploads: Uploads, path: str, request: Request) -> Mapping[str, str]:
    """For HEAD: how far the caller's upload to this path has come."""
    if request.method != "HEAD":
        return {}
    name = caller_of(request).name
    found = await uploads.blocking(lambda: uploads.offset(path, name))
    if found is None:
        return {}
    return {"Upload-Offset": str(found[0]), "Upload-Length": str(found[1])}


def _view(path: str, found: Found, sha256: str | None = None) -> FileView:
    return FileView(path=path, bytes=found.size, modified=found.modified, sha256=sha256)


def _check_name(request: Request) -> None:
    """Refuse bytes that are no UTF-8: as text, different ones would all be the same name.

    Raises:
        PathRefused: they are not.
    """
    raw: Any = request.scope.get("raw_path", b"")
    try:
        unquote_to_bytes(raw).decode()
    except UnicodeDecodeError as error:
        raise PathRefused(
            "A path in the request is not UTF-8.", "Write it in UTF-8, percent-encoded."
        ) from error


def _count(request: Request) -> None:
    request.state.counted = "files"


def _uploads_of(request: Request) -> Uploads:
    found: Uploads = request.app.state.uploads
    return found
