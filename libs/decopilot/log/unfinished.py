"""The mark that a broker bears while a restore is not finished: what else it holds is worth nothing yet (ADR 0049)."""

from dataclasses import dataclass

from nats.js import JetStreamContext
from nats.js.api import StreamConfig
from nats.js.errors import NotFoundError

from decopilot.contracts import subjects
from decopilot.log.journal import CAUSATION
from decopilot.log.store import Store

RESTORE = "restore"
"""What causes the events that a restore appends itself."""
_FOLDER, _EVENTS = "folder", "events"


class UnfinishedRestoreError(Exception):
    """A restore was begun here and is not finished: nobody may build on what is there."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        super().__init__(f"a restore is unfinished: run it again: decopilot restore {folder or 'DIR'}")


@dataclass(frozen=True, slots=True)
class Mark:
    """Of which backup a restore is; once its events are there, the last sequence of them."""

    folder: str = ""
    events: int | None = None

    @property
    def _config(self) -> StreamConfig:
        told = {_FOLDER: self.folder} | ({} if self.events is None else {_EVENTS: str(self.events)})
        return StreamConfig(name=subjects.RESTORING_STREAM, subjects=[subjects.RESTORING_STREAM], metadata=told)

    async def put(self, js: JetStreamContext) -> None:
        """Set it, in the place of an earlier one."""
        if await find_mark(js) is None:
            await js.add_stream(self._config)
        else:
            await js.update_stream(self._config)


async def find_mark(js: JetStreamContext) -> Mark | None:
    """Read the mark; None where no restore is unfinished."""
    try:
        told = (await js.stream_info(subjects.RESTORING_STREAM)).config.metadata or {}
    except NotFoundError:
        return None
    return Mark(told.get(_FOLDER, ""), int(told[_EVENTS]) if _EVENTS in told else None)


async def remove_mark(js: JetStreamContext) -> None:
    """Tell that it is finished."""
    await js.delete_stream(subjects.RESTORING_STREAM)


async def is_written_to(store: Store, mark: Mark) -> bool:
    """Tell whether others wrote to a log that is not restored wholly; where that is not certain, too."""
    try:
        last = (await store.js.stream_info(subjects.EVENTS_STREAM)).state.last_seq
    except NotFoundError:
        return False
    if mark.events is None:
        return bool(last)
    async for batch in store.read(subjects.EVENTS_STREAM, f"{subjects.EVENT_PREFIX}.>", mark.events):
        if any(stored.headers.get(CAUSATION) != RESTORE for stored in batch):
            return True
    return False


async def ensure_restored(js: JetStreamContext) -> None:
    """Raise `UnfinishedRestoreError` where a restore is not finished."""
    if (mark := await find_mark(js)) is not None:
        raise UnfinishedRestoreError(mark.folder)
