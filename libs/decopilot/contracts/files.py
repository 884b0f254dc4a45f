"""Files of threads: how messages refer to them, and which of their types are what."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from decopilot.contracts.ids import OrgId, ThreadId

MEDIA_TYPE_PATTERN = r"^[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,63}$"
FILENAME_LENGTH = 255
_ID = "[A-Za-z0-9_-]{1,64}"
_PATH = re.compile(rf"(?:/[A-Za-z0-9_-]+)*/({_ID})/decopilot/threads/({_ID})/files/({_ID})(?:\?.*)?")
_TEXTS = frozenset(f"application/{name}" for name in ("json", "xml", "yaml", "toml", "x-ndjson"))

IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""Images that models with vision read."""
PDF = "application/pdf"


class FileRef(NamedTuple):
    """A file of a thread."""

    org: OrgId
    thread: ThreadId
    file: str

    @property
    def path(self) -> str:
        """Where it is served, below the gateway's prefix."""
        return f"/{self.org}/decopilot/threads/{self.thread}/files/{self.file}"


def file_ref(url: object) -> FileRef | None:
    """Read the address of a file of ours, which has no host, but perhaps a prefix; None for any other address."""
    found = _PATH.fullmatch(url) if isinstance(url, str) else None
    return None if found is None else FileRef(OrgId(found[1]), ThreadId(found[2]), found[3])


def output_blob(call_id: str) -> str:
    """Name the blob of a tool's output that was too large for its message; ids of calls are whatever one makes them."""
    return f"output-{hashlib.blake2s(call_id.encode(errors='replace'), digest_size=16).hexdigest()}"


def kept_output(part: Mapping[str, Any]) -> str | None:
    """Name the blob that a tool call's output speaks of, if it was too large for its message."""
    output = part.get("output")
    if not isinstance(output, Mapping) or not {"tool_call_id", "preview"} <= output.keys():
        return None
    return output_blob(str(output["tool_call_id"]))


def is_text(media_type: str) -> bool:
    """Tell whether files of a type are text, to be read as such."""
    return media_type.startswith("text/") or media_type in _TEXTS
