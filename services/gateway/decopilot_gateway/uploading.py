"""Uploading: a file's bytes go to the store as they come, and never wait here for the rest."""

import asyncio
import mimetypes
import re
import unicodedata
import uuid
from collections.abc import AsyncIterator
from pathlib import PurePosixPath

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.multipart import MultipartReader

from decopilot.contracts.files import FILENAME_LENGTH, MEDIA_TYPE_PATTERN, FileRef
from decopilot.domain.pictures import HEADER_BYTES, PIXELS, is_bomb
from decopilot.log.blobs import PUT_LIMIT_S, BlobConflictError, Blobs
from decopilot_gateway.access import Access
from decopilot_gateway.admitting import Admission
from decopilot_gateway.auth import Doorman, thread_in_path
from decopilot_gateway.links import Links
from decopilot_gateway.problems import ProblemError

BODY_LIMIT_S = PUT_LIMIT_S - 60
"""How long a body may take to come."""
_PIECE_BYTES = 64 * 1024
_ENVELOPE_BYTES = 64 * 1024
"""What a multipart body may hold beside the file."""
_FIELD = "file"
_ENDING_LENGTH = 16
_UNKNOWN = "application/octet-stream"
_MEDIA_TYPE = re.compile(MEDIA_TYPE_PATTERN)
_NO_FORM = (ValueError, AssertionError, HttpProcessingError)
"""What aiohttp trips over in a form: its boundaries, its lengths, the headers of its fields and what they say."""


class Uploading:
    """Handles `POST …/threads/{thread}/files`."""

    def __init__(
        self, doorman: Doorman, admission: Admission, access: Access, blobs: Blobs, links: Links, *, limit_bytes: int
    ) -> None:
        self._doorman = doorman
        self._admission = admission
        self._access = access
        self._blobs = blobs
        self._links = links
        self._limit_bytes = limit_bytes

    async def handle(self, request: web.Request) -> web.Response:
        """Take a file: 201 once it is stored."""
        caller, thread = self._doorman.caller(request), thread_in_path(request)
        if (request.content_length or 0) > self._limit_bytes + (_ENVELOPE_BYTES if _is_multipart(request) else 0):
            self._refuse_size()
        await self._access.check_writer(caller, thread)
        with self._admission.admit(caller.org, caller.user):
            return await self._take(request, FileRef(caller.org, thread, f"file_{uuid.uuid4().hex}"))

    async def _take(self, request: web.Request, file: FileRef) -> web.Response:
        is_multipart = _is_multipart(request)
        try:
            async with asyncio.timeout(BODY_LIMIT_S) as patience:
                media_type, name, pieces = await (_multipart(request) if is_multipart else _raw(request))
                blob = await self._blobs.put(*file, self._limited(pieces), media_type=media_type, name=name)
        except TimeoutError as error:
            if not patience.expired():
                raise
            raise ProblemError("body_too_slow", f"It has to come within {BODY_LIMIT_S:.0f} s.") from error
        except BlobConflictError as error:
            # Nobody else has its id, so it was erased.
            raise ProblemError("thread_not_found", "The thread was deleted meanwhile.") from error
        except web.RequestPayloadError as error:
            raise ProblemError("invalid_body", "The body is not encoded as its headers say.") from error
        body = {
            "id": file.file,
            "url": self._links.url(file),
            "mediaType": blob.media_type,
            "size": blob.size,
            "filename": blob.name,
        }
        return web.json_response(body, status=201, headers={"Location": self._links.url(file)})

    async def _limited(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        size, beginning = 0, bytearray()
        async for piece in pieces:
            if size < HEADER_BYTES:
                beginning += piece
                if len(beginning) >= HEADER_BYTES:
                    check_picture(bytes(beginning))
            size += len(piece)
            if size > self._limit_bytes:
                self._refuse_size()
            yield piece
        if size < HEADER_BYTES:
            check_picture(bytes(beginning))

    def _refuse_size(self) -> None:
        raise ProblemError("body_too_large", f"A file has at most {self._limit_bytes} bytes.")


Incoming = tuple[str, str | None, AsyncIterator[bytes]]
"""A file's media type, its name, and its bytes as they come."""


def _is_multipart(request: web.Request) -> bool:
    return request.content_type.startswith("multipart/")


async def _raw(request: web.Request) -> Incoming:
    if "Content-Type" not in request.headers:
        raise ProblemError("unsupported_media_type", "Say in Content-Type what the file is, or send a form.")
    name = filename(request.query.get("filename"))
    return media_type(request.headers["Content-Type"], name), name, request.content.iter_chunked(_PIECE_BYTES)


async def _multipart(request: web.Request) -> Incoming:
    try:
        reader = MultipartReader(request.headers, request.content)
        part = await reader.next()
        field, said = (part.name, part.filename) if isinstance(part, BodyPartReader) else (None, None)
    except _NO_FORM as error:
        raise ProblemError("invalid_body", "The body is no multipart/form-data.") from error
    if not isinstance(part, BodyPartReader) or field != _FIELD:
        raise ProblemError("invalid_body", f"The body's first field has to be the file, and be called {_FIELD!r}.")
    if part.headers.get("Content-Transfer-Encoding", "binary").lower() not in {"binary", "7bit", "8bit"}:
        raise ProblemError("invalid_body", "The file is to be sent as it is.")
    name = filename(said)
    return media_type(part.headers.get("Content-Type", ""), name), name, _pieces(reader, part)


async def _pieces(reader: MultipartReader, part: BodyPartReader) -> AsyncIterator[bytes]:
    try:
        while piece := await part.read_chunk(_PIECE_BYTES):
            yield bytes(piece)
        # The end of a body that was cut would pass for the end of the file: there has to be a boundary.
        await reader.next()
    except _NO_FORM as error:
        raise ProblemError("invalid_body", "The body is no multipart/form-data.") from error


def check_picture(data: bytes) -> None:
    """Check a file, or its beginning.

    Raises:
        ProblemError: it is a picture too large to be looked at.

    """
    if is_bomb(data):
        raise ProblemError("invalid_file", f"A picture has at most {PIXELS} pixels.")


def filename(said: str | None) -> str | None:
    """Take the name of a file out of what a client says: no folders, nothing that is not shown, not too long."""
    name = re.split(r"[/\\]", said or "")[-1]
    shown = "".join(char for char in name if unicodedata.category(char)[0] != "C").strip()
    ending = PurePosixPath(shown).suffix[:_ENDING_LENGTH]
    if len(shown) > FILENAME_LENGTH:
        shown = shown[: FILENAME_LENGTH - len(ending)] + ending
    return shown or None


def media_type(said: str, name: str | None = None) -> str:
    """Read a media type, without its parameters; where none is said, or nothing by it, it is guessed by the name.

    Raises:
        ProblemError: it is none.

    """
    found = said.partition(";")[0].strip().lower()
    if found in {"", _UNKNOWN}:
        found = mimetypes.guess_type(name or "")[0] or _UNKNOWN
    if not _MEDIA_TYPE.fullmatch(found):
        raise ProblemError("unsupported_media_type", "That is no media type.")
    return found
