"""Serving: a file of a thread, whole or in part, as slowly as it is read, and never as a page of ours."""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from urllib.parse import quote

import structlog
from aiohttp import hdrs, web

from decopilot.contracts.files import PDF, FileRef, is_text
from decopilot.contracts.ids import OrgId, ThreadId
from decopilot.log.blobs import Blob, BlobDamagedError, BlobNotFoundError, Blobs
from decopilot.log.store import UNCERTAIN
from decopilot_gateway.access import Access
from decopilot_gateway.admitting import Admission
from decopilot_gateway.auth import Caller, Doorman, id_in_path
from decopilot_gateway.links import SIGNATURE, Links
from decopilot_gateway.problems import ProblemError

_SAFE = re.compile(
    r"image/(png|jpeg|gif|webp|avif|bmp)|(audio|video)/.+|application/(pdf|json)|text/(plain|csv|markdown)"
)
"""What no browser runs anything of: it may be shown where it is."""
_SVG = "image/svg+xml"
_CLOSED = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"
_PDF_CLOSED = "default-src 'none'; object-src 'self'; frame-ancestors 'self'"
"""Browsers show no PDF in a sandbox; what is in one has no part in our origin."""
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)

STALL_S = 60.0
"""Whoever takes nothing for so long is let go."""
PARTIAL = 206

log = structlog.get_logger()


class Serving:
    """Handles `GET …/files/{file}` and `POST …/files/{file}/link`."""

    def __init__(self, doorman: Doorman, admission: Admission, access: Access, blobs: Blobs, links: Links) -> None:
        self._doorman = doorman
        self._admission = admission
        self._access = access
        self._blobs = blobs
        self._links = links

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve a file to whoever may read its thread, or has a link."""
        file = _file_in_path(request)
        caller = None
        if SIGNATURE in request.query:
            self._links.check(file, request.query)
        else:
            caller = self._doorman.caller(request)
        blob = await self._find(file, caller)
        headers = _headers(blob)
        if SIGNATURE in request.query:
            # Whoever has the link may show the file in a page of their own.
            headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        if headers["ETag"] in request.headers.get("If-None-Match", ""):
            return web.Response(status=304, headers=headers)
        start, stop = _range(request, blob, headers["ETag"])
        is_part = (start, stop) != (0, blob.size)
        if is_part:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{blob.size}"
        response = web.StreamResponse(status=PARTIAL if is_part else 200, headers=headers)
        response.content_length = stop - start
        if request.method == hdrs.METH_HEAD:
            # aiohttp keeps back what a whole answer holds, and not what is streamed.
            return response
        with self._admission.admit(file.org, None if caller is None else caller.user):
            return await _send(request, response, self._blobs.stream(*file, offset=start))

    async def link(self, request: web.Request) -> web.Response:
        """Make a link to a file."""
        caller = self._doorman.caller(request)
        file = _file_in_path(request)
        await self._find(file, caller)
        url, expires_at = self._links.link(file)
        return web.json_response({"url": url, "expiresAt": expires_at.isoformat()})

    async def _find(self, file: FileRef, caller: Caller | None) -> Blob:
        is_known = caller is None or await self._access.is_known(caller, file.thread)
        blob = await self._blobs.info(*file)
        if blob is None or not is_known:
            raise ProblemError("file_not_found", f"The thread has no file {file.file}.")
        return blob


async def _send(
    request: web.Request, response: web.StreamResponse, pieces: AsyncGenerator[bytes, None]
) -> web.StreamResponse:
    """Write as much as was promised; what goes wrong once it has begun is told by cutting it short."""
    left, held = response.content_length or 0, b""
    async with aclosing(pieces):
        try:
            async for piece in pieces:
                if not response.prepared:
                    await response.prepare(request)
                # One is held back: behind the last comes whether all of it was what was written.
                await _write(response, held)
                held = piece[:left]
                left -= len(held)
                if not left and response.status == PARTIAL:
                    break
            await _write(response, held)
        except ConnectionResetError:
            pass
        except (BlobNotFoundError, BlobDamagedError, *UNCERTAIN) as error:
            if not response.prepared:
                raise ProblemError("file_not_found", "The file went this moment.") from error
            log.warning("file_cut_short", path=request.path, error=repr(error))
            if request.transport is not None:
                request.transport.abort()
    return response


async def _write(response: web.StreamResponse, piece: bytes) -> None:
    async with asyncio.timeout(STALL_S):
        await response.write(piece)


def _file_in_path(request: web.Request) -> FileRef:
    org, thread, file = (id_in_path(request, name) for name in ("org", "thread", "file"))
    return FileRef(OrgId(org), ThreadId(thread), file)


def _headers(blob: Blob) -> dict[str, str]:
    is_safe = _SAFE.fullmatch(blob.media_type) is not None
    shown = blob.media_type if is_safe or blob.media_type == _SVG else "application/octet-stream"
    disposition = "inline" if is_safe else "attachment"
    if blob.name is not None:
        disposition += f"; filename*=UTF-8''{quote(blob.name, safe='')}"
    return {
        "Content-Type": f"{shown}; charset=utf-8" if is_text(shown) else shown,
        "Content-Disposition": disposition,
        "Content-Security-Policy": _PDF_CLOSED if shown == PDF else _CLOSED,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "ETag": f'"{blob.digest}"',
    }


def _range(request: web.Request, blob: Blob, etag: str) -> tuple[int, int]:
    """Tell which bytes are asked for: all, or one range of them (RFC 9110, 14); of several ranges, all."""
    whole = (0, blob.size)
    if request.headers.get("If-Range", etag) != etag:
        return whole
    asked = _RANGE.fullmatch(request.headers.get("Range", "").strip())
    if asked is None or not any(asked.groups()):
        return whole
    first, last = asked.groups()
    if not first:
        start, stop = max(blob.size - int(last), 0), blob.size
    else:
        start, stop = int(first), min(int(last) + 1, blob.size) if last else blob.size
        if last and int(last) < int(first):
            return whole
    if start >= stop:
        raise ProblemError("range_not_satisfiable", f"The file has {blob.size} bytes.")
    return start, stop
