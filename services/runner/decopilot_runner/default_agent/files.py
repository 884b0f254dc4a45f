"""Files of users' messages, as models read them: with vision images and PDF, and texts as text."""

from collections.abc import Mapping, Sequence

from pydantic_ai.messages import BinaryContent

from decopilot.agent import ReadFile
from decopilot.contracts.files import IMAGES, PDF, is_text
from decopilot.contracts.messages import Part, UIMessage
from decopilot.domain.pictures import is_bomb

FILES_BYTES = 20 << 20
"""What the files of one model request may take together; the newest come first."""
TEXT_BYTES = 256 << 10
"""What one text may take: it is read as tokens."""

Attached = Mapping[str, BinaryContent | str]
"""What can be read of a thread's files, by their urls."""


async def read_attached(messages: Sequence[UIMessage], read_file: ReadFile, *, sees: bool) -> Attached:
    """Read what a model can read of the files, the newest first; what is too much, or gone, is left out."""
    found: dict[str, BinaryContent | str] = {}
    left = FILES_BYTES
    for part in _files(messages):
        url, kind = str(part.get("url")), str(part.get("mediaType"))
        if url in found or not (is_text(kind) or (sees and (kind in IMAGES or kind == PDF))):
            continue
        file = await read_file(url, min(left, TEXT_BYTES) if is_text(kind) else left)
        if file is None or is_bomb(file.data):
            continue
        left -= len(file.data)
        found[url] = file.data.decode(errors="replace") if is_text(kind) else BinaryContent(file.data, media_type=kind)
    return found


def named(part: Part) -> str:
    """Tell a file's name and type."""
    return f"{part.get('filename') or 'a file'} ({part.get('mediaType')})"


def _files(messages: Sequence[UIMessage]) -> list[Part]:
    users = (message for message in reversed(messages) if message.role == "user")
    return [part for message in users for part in message.parts if part.get("type") == "file"]
