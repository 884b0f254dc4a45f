"""The ids that become subject tokens, and the one rule they obey."""

import re
from typing import Annotated, NewType

from pydantic import StringConstraints

ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"

OrgId = NewType("OrgId", str)
ThreadId = NewType("ThreadId", str)
RunId = NewType("RunId", str)
MessageId = NewType("MessageId", str)
UserId = NewType("UserId", str)

_ID_CONSTRAINTS = StringConstraints(pattern=ID_PATTERN)
Org = Annotated[OrgId, _ID_CONSTRAINTS]
Thread = Annotated[ThreadId, _ID_CONSTRAINTS]
Run = Annotated[RunId, _ID_CONSTRAINTS]
Message = Annotated[MessageId, _ID_CONSTRAINTS]
User = Annotated[UserId, StringConstraints(min_length=1, max_length=256)]

_ID = re.compile(ID_PATTERN)


def is_id(text: str) -> bool:
    """Tell whether `text` may become a subject token (1 to 64 of `A-Z a-z 0-9 _ -`)."""
    return _ID.fullmatch(text) is not None
