"""Attachments: the files of a message that is posted; what a `data:` address holds becomes a file of the thread."""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from decopilot.contracts.files import FileRef, file_ref
from decopilot.contracts.ids import ThreadId
from decopilot.contracts.messages import Part, UIMessage
from decopilot.log.blobs import Blob, Blobs
from decopilot_gateway.access import Access
from decopilot_gateway.auth import Caller
from decopilot_gateway.links import Links
from decopilot_gateway.problems import ProblemError
from decopilot_gateway.uploading import check_picture, filename, media_type

_DATA = re.compile(
    r"data:(?P<type>[^;,]*+)(;[^;,=]++=[^;,]*+){0,16}+(?P<base64>;base64)?,(?P<data>.*)", re.IGNORECASE | re.DOTALL
)
_FOREIGN = re.compile(r"https?://\S{1,2000}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Data:
    """What a `data:` address holds. Its id is made of it: the same message twice is the same message."""

    content: bytes
    media_type: str
    name: str | None

    @property
    def id(self) -> str:
        """The file's id."""
        digest = hashlib.sha256(f"{self.media_type}\n".encode() + self.content).hexdigest()
        return f"file_{digest[:40]}"


class Attachments:
    """Makes a message's files the thread's own."""

    def __init__(self, access: Access, blobs: Blobs, links: Links) -> None:
        self._access = access
        self._blobs = blobs
        self._links = links

    async def settle(self, message: UIMessage, caller: Caller, thread: ThreadId) -> UIMessage:
        """Return the message with the addresses of files that are stored.

        An address on another host stays as it is: nobody here ever asks for it. Of a file of another thread this one
        gets its own. Where one file is refused, none that the message brings is stored.

        Raises:
            ProblemError: a file is malformed, or not there for the caller.
            RefusedError: the caller may not write to the thread.

        """
        given = [given_in(part, caller) if part.get("type") == "file" else None for part in message.parts]
        if not any(given):
            return message
        await self._access.check_writer(caller, thread)
        # All that may not be there is looked for before anything is stored.
        for one in given:
            if isinstance(one, FileRef):
                is_known = await self._access.is_known(caller, one.thread)
                if await self._blobs.info(*one) is None or not is_known:
                    raise _missing(one)
        parts = [
            part if one is None else await self._own(part, one, caller, thread)
            for part, one in zip(message.parts, given, strict=True)
        ]
        return message.model_copy(update={"parts": parts})

    async def _own(self, part: Part, given: Data | FileRef, caller: Caller, thread: ThreadId) -> Part:
        """Store a file with the thread, or find it there, and return the part that names it."""
        blob: Blob | None
        if isinstance(given, Data):
            ref = FileRef(caller.org, thread, given.id)
            blob = await self._blobs.put(*ref, given.content, media_type=given.media_type, name=given.name)
        else:
            ref = given._replace(thread=thread)
            blob = await self._blobs.copy(caller.org, given.thread, thread, given.file)
            if blob is None:
                raise _missing(given)
        named = {} if part.get("filename") or blob.name is None else {"filename": blob.name}
        return part | named | {"url": self._links.url(ref), "mediaType": blob.media_type}


def _missing(ref: FileRef) -> ProblemError:
    return ProblemError("file_not_found", f"Thread {ref.thread} has no file {ref.file}, or no more.")


def given_in(part: Mapping[str, Any], caller: Caller) -> Data | FileRef | None:
    """Read what a file part holds; None for a file on another host.

    Raises:
        ProblemError: it holds no file, or one of another org.

    """
    url = part.get("url")
    if not isinstance(url, str):
        raise ProblemError("invalid_file", "A file has a url.")
    if _FOREIGN.fullmatch(url):
        return None
    if url[:5].lower() == "data:":
        return _data(url, part)
    ref = file_ref(url)
    if ref is None:
        raise ProblemError("invalid_file", "The url of a file is that of an upload, a data: URL, or http(s).")
    if ref.org != caller.org:
        raise _missing(ref)
    return ref


def _data(url: str, part: Mapping[str, Any]) -> Data:
    found = _DATA.fullmatch(url)
    if found is None:
        raise ProblemError("invalid_file", "That is no data: URL.")
    content = unquote_to_bytes(found["data"])
    if found["base64"]:
        try:
            content = base64.b64decode(content, validate=True)
        except binascii.Error as error:
            raise ProblemError("invalid_file", "A data: URL is not base64, though it says so.") from error
    check_picture(content)
    said = part.get("mediaType") or found["type"] or "text/plain"
    name = filename(str(part["filename"])) if part.get("filename") else None
    return Data(content, media_type(str(said)), name)
