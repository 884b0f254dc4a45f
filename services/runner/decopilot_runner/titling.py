"""Titling: a new thread's title, found by a model in a work item of its own, beside the runs and never in their way."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from opentelemetry.trace import SpanKind

from decopilot.contracts.configuration import DEFAULT_AGENT, DEMO, Configuration
from decopilot.contracts.events import Recorded, RunRequested, UnknownEventError
from decopilot.domain.commands import Title
from decopilot.domain.tracing import attributes_of, origin
from decopilot.kit import telemetry
from decopilot.kit.tasks import end
from decopilot.log.heartbeats import heartbeats
from decopilot.log.journal import Journal, delivered
from decopilot_runner.settings import RunnerSettings

TRIES, BACKOFF_S = 4, 5.0
"""A provider that is down is asked again after 5, 20 and 80 seconds."""
FIND_S = 30.0
UNKNOWN_AGAIN_S = 5.0
TEXT_LENGTH = 4_000
"""So much of a message tells what it is about."""

FindTitle = Callable[[str], Awaitable[str]]
"""Finds a title for what a message says; an empty one where there is none to be found."""

log = structlog.get_logger()


def load_finder(settings: RunnerSettings, configuration: Configuration) -> FindTitle | None:
    """Load what finds titles: the model of the `fast` tier; None where none are wanted, or only by the `demo` model.

    That one titles for agents which it answers for, too; a runner with agents of its own only needs neither.
    """
    fast = configuration.tier_entry("fast")
    if not configuration.titles or fast is None:
        return None
    entries = [configuration.agent_entry(agent_id) for agent_id in {DEFAULT_AGENT, *configuration.agents}]
    if fast.model == DEMO and not any(entry is not None and entry.agent is None for entry in entries):
        return None
    # Heavy: a runner that finds no titles does without.
    from decopilot_runner.default_agent.models import Models  # noqa: PLC0415
    from decopilot_runner.default_agent.naming import find_title  # noqa: PLC0415

    models = Models(configuration, delay_ms=settings.demo_delay_ms)

    async def find(text: str) -> str:
        return await find_title(models.named(fast.model), fast.settings, text)

    return find


class Titler:
    """Takes every request of a run, and titles the threads that begin with one; with no finder it only takes them."""

    def __init__(self, nc: Client, journal: Journal, find: FindTitle | None) -> None:
        self._nc = nc
        self._journal = journal
        self._find = find
        self._stopping = False
        self._working: set[asyncio.Task[None]] = set()

    async def stop(self) -> None:
        """Let go of what is being titled: others go on with it."""
        self._stopping = True
        await end(self._working)

    async def handle(self, item: Msg) -> None:
        """Work one item off: acknowledged when the thread has its title, or is to do without."""
        try:
            recorded, text = _asked(item)
        except UnknownEventError as unknown:
            await _leave_to_newer(item, unknown)
            return
        if self._find is None or recorded is None:
            await item.ack()
            return
        async with heartbeats(self._nc, item.reply, on_lost=lambda: None) as heart:
            task = asyncio.create_task(self._title(self._find, recorded, text), name=f"title {recorded.thread}")
            self._working.add(task)
            task.add_done_callback(self._working.discard)
            if self._stopping:
                task.cancel()
            await asyncio.wait([task])
        if not heart.beats():
            # The item may be another runner's by now: leave it alone.
            return
        if task.cancelled():
            await item.nak()
            return
        error = task.exception()
        if error is None:
            await item.ack()
            return
        if isinstance(error, UnknownEventError):
            await _leave_to_newer(item, error)
            return
        tries = item.metadata.num_delivered
        log.warning(
            "title_not_found", org=recorded.org, thread=recorded.thread, tries=tries, error=type(error).__name__
        )
        if tries < TRIES:
            await item.nak(delay=BACKOFF_S * 4 ** (tries - 1))
        else:
            # Nobody is told: the thread goes on by the first words of its message.
            await item.ack()

    async def _title(self, find: FindTitle, recorded: Recorded, text: str) -> None:
        org, thread = recorded.org, recorded.thread
        attributes = {telemetry.ORG: org, telemetry.THREAD: thread, **attributes_of(recorded.event)}
        with telemetry.span("title", attributes, headers=origin(recorded), kind=SpanKind.CONSUMER):
            state = (await self._journal.load(org, thread, until=recorded.sequence)).state
            if state.is_titled or state.is_deleted:
                return
            async with asyncio.timeout(FIND_S):
                title = await find(text)
            if not title:
                return
            command = Title(now=datetime.now(UTC), title=title)
            executed = await self._journal.execute(org, thread, command, cause=recorded.event_id)
            if executed.appended is not None:
                log.info("thread_titled", org=org, thread=thread)


async def _leave_to_newer(item: Msg, error: UnknownEventError) -> None:
    """Hand an item back: what only a newer version can read is titled by such."""
    log.warning("event_unknown", subject=error.subject, sequence=error.sequence)
    await item.nak(delay=UNKNOWN_AGAIN_S)


def _asked(item: Msg) -> tuple[Recorded | None, str]:
    """Read what a thread begins with; None where it began before, with a title, or without a word.

    Raises:
        UnknownEventError: only a newer version can read it.

    """
    recorded = delivered(item)
    event = recorded.event
    if not isinstance(event, RunRequested) or event.thread is None or event.thread.is_titled or event.message is None:
        return None, ""
    text = event.message.text.strip()[:TEXT_LENGTH]
    return recorded if text else None, text
