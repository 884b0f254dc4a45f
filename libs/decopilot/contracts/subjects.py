"""Subjects, streams and buckets by name (DESIGN of the broker: docs/adr/0004)."""

from decopilot.contracts.ids import MessageId, OrgId, RunId, ThreadId

EVENTS_STREAM = "DECOPILOT_EVENTS"
CHUNKS_STREAM = "DECOPILOT_CHUNKS"
WATCH_STREAM = "DECOPILOT_WATCH"
COUNTS_STREAM = "DECOPILOT_COUNTS"
PLACES_STREAM = "DECOPILOT_PLACES"
RESTORING_STREAM = "DECOPILOT_RESTORING"
"""There while a restore is not finished."""
RESTORING = "decopilot_restoring"
"""Metadata of the event log while a restore is not finished, so that no service is ready."""
THREADS_BUCKET = "decopilot_threads"
MESSAGES_BUCKET = "decopilot_messages"
READERS_BUCKET = "decopilot_readers"
BLOBS_BUCKET = "decopilot_blobs"
BLOBS_STREAM = f"OBJ_{BLOBS_BUCKET}"
BLOBS_FILTER = f"$O.{BLOBS_BUCKET}.M.*"
"""What the object store says of each blob."""
AUTOMATIONS_BUCKET = "decopilot_automations"

RUNNER_CONSUMER = "runner"
TITLER_CONSUMER = "titler"
REACTOR_CONSUMER = "reactor"
JANITOR_CONSUMER = "janitor"
SWEEPER_CONSUMER = "sweeper"

EVENT_PREFIX = "decopilot.event"
CHUNK_PREFIX = "decopilot.chunk"
TAIL_PREFIX = "decopilot.tail"
WATCH_PREFIX = "decopilot.watch"
WATCHTAIL_PREFIX = "decopilot.watchtail"
COUNT_PREFIX = "decopilot.count"
PLACE_PREFIX = "decopilot.place"
COMMAND_PREFIX = "decopilot.command"
COMMAND_QUEUE = "command"
GIVEN_UP = "decopilot.given_up"
"""Where whoever asked `command` says the id of a try for which nothing is to be appended any more."""


def event(org: OrgId, thread: ThreadId, event_type: str) -> str:
    """Subject of one event."""
    return f"{EVENT_PREFIX}.{org}.{thread}.{event_type}"


def events_of(org: OrgId, thread: ThreadId) -> str:
    """Filter over every event of a thread; also what guards an append to it."""
    return f"{EVENT_PREFIX}.{org}.{thread}.>"


def events_of_type(event_type: str) -> str:
    """Filter over one type of event in all threads."""
    return f"{EVENT_PREFIX}.*.*.{event_type}"


def chunks(org: OrgId, thread: ThreadId, run: RunId) -> str:
    """Subject of a run's chunk frames."""
    return f"{CHUNK_PREFIX}.{org}.{thread}.{run}"


def chunks_of(org: OrgId, thread: ThreadId) -> str:
    """Filter over the chunk frames of all runs of a thread."""
    return f"{CHUNK_PREFIX}.{org}.{thread}.>"


def tail_of(org: OrgId, thread: ThreadId) -> str:
    """Where the chunk frames of a thread are re-published once stored."""
    return f"{TAIL_PREFIX}.{org}.{thread}.>"


def watch(org: OrgId, thread: ThreadId, event_type: str) -> str:
    """Subject of one watch event; its type keeps its dots."""
    return f"{WATCH_PREFIX}.{org}.{thread}.{event_type}"


def watch_of_thread(org: OrgId, thread: ThreadId) -> str:
    """Filter over the watch events of a thread; also what guards an append to them."""
    return f"{WATCH_PREFIX}.{org}.{thread}.>"


def watch_of(org: OrgId) -> str:
    """Filter over the watch events of an org."""
    return f"{WATCH_PREFIX}.{org}.>"


def watchtail_of(org: OrgId) -> str:
    """Where the watch events of an org are re-published once stored."""
    return f"{WATCHTAIL_PREFIX}.{org}.>"


def count(org: OrgId, who: str, window: int) -> str:
    """Subject of the counter of what somebody of an org asked for in a window of time."""
    return f"{COUNT_PREFIX}.{org}.{who}.{window}"


def place(org: OrgId, who: str, thread: ThreadId, run: RunId) -> str:
    """Subject of the place that a run takes among those that go on at once."""
    return f"{PLACE_PREFIX}.{org}.{who}.{thread}.{run}"


def places_of(org: OrgId) -> str:
    """Filter over the places of an org."""
    return f"{PLACE_PREFIX}.{org}.>"


def places_of_user(org: OrgId, who: str) -> str:
    """Filter over the places that somebody of an org has."""
    return f"{PLACE_PREFIX}.{org}.{who}.>"


def places_of_thread(org: OrgId, thread: ThreadId) -> str:
    """Filter over the places that runs of a thread take, whoever asked for them."""
    return f"{PLACE_PREFIX}.{org}.*.{thread}.*"


def watchtail_of_type(kind: str) -> str:
    """Where the watch events of one kind are re-published, of all threads."""
    return f"{WATCHTAIL_PREFIX}.*.*.{kind}"


def command(name: str) -> str:
    """Subject on which `command` answers one kind of request."""
    return f"{COMMAND_PREFIX}.{name}"


def signal(org: OrgId, run: RunId) -> str:
    """Wake-ups and are-you-there questions to whoever drives a run; never truth."""
    return f"decopilot.signal.{org}.{run}"


def every_signal() -> str:
    """Filter over the signals of all runs."""
    return "decopilot.signal.*.*"


def track(org: OrgId, name: str) -> str:
    """Product analytics, at most once: for whoever cares to subscribe."""
    return f"decopilot.track.{org}.{name}"


def every_track() -> str:
    """Filter over the product analytics of all orgs."""
    return "decopilot.track.*.*"


def inbox(user: str) -> str:
    """Prefix of the subjects on which one user of the broker is answered, and nobody else may listen."""
    return f"_INBOX_{user}"


def thread_key(org: OrgId, thread: ThreadId) -> str:
    """Key of a thread's view."""
    return f"{org}.{thread}"


def message_key(org: OrgId, thread: ThreadId, message: MessageId) -> str:
    """Key of a finished message."""
    return f"{org}.{thread}.{message}"


def automation_key(org: OrgId, name: str) -> str:
    """Key of what was decided for an automation."""
    return f"{org}.{name}"


def bucket_key(bucket: str, key: str) -> str:
    """Subject under which a bucket keeps a key."""
    return f"$KV.{bucket}.{key}"


def owner_of(subject: str) -> tuple[OrgId, ThreadId, str]:
    """Take org, thread and the rest out of an event, chunk, tail, watch or watchtail subject.

    Raises:
        ValueError: the subject is not of ours, or too short.

    """
    root, _, org, thread, rest = subject.split(".", 4)
    if root != "decopilot":
        msg = f"not a subject of ours: {subject}"
        raise ValueError(msg)
    return OrgId(org), ThreadId(thread), rest
