"""What the made-up next version changes, file by file: as an upgrade may, and so that all of it is really written."""

from collections.abc import Mapping

RENAMED = "thread_renamed"
PRIORITY = 7
FLAVOUR = "lemon"
HEADER = "Decopilot-Following"
CHUNK = "data-following"

_CLASS = f'''class ThreadRenamed(Frozen):
    """The thread goes by a name that it was given by a person."""

    type: Literal["{RENAMED}"] = "{RENAMED}"
    at: AwareDatetime
    user_id: User
    name: str


class ThreadArchived(Frozen):'''
_EVOLVE = """        case ThreadRenamed():
            renamed = {"title": event.name, "is_titled": True, "updated_at": event.at.isoformat()}
            return state.model_copy(update=renamed)
        case ThreadArchived():
"""
_WATCH = """        case ThreadRenamed():
            told = [("thread.renamed", {})]
        case ThreadArchived():
"""
_QUEUED = f"""        config=command.config.model_copy(update={{"flavour": "{FLAVOUR}"}}),
        priority={PRIORITY},
        interrupts"""
_NAMES = """    events = [recorded.event for recorded in thread.events]
    renamed = {event.name for event in events if isinstance(event, ThreadRenamed)}
    return renamed | {recorded.event.title for"""
_IMPORT = ("    ThreadArchived,\n", "    ThreadArchived,\n    ThreadRenamed,\n")
_PRIORITY = "    priority: int = 0\n"

CHANGES: Mapping[str, tuple[tuple[str, str], ...]] = {
    # A new type of event, and two new fields.
    "contracts/events.py": (
        ("class ThreadArchived(Frozen):", _CLASS),
        _IMPORT,
        ("    | ThreadArchived\n", "    | ThreadArchived\n    | ThreadRenamed\n"),
        ("_OF_THREADS = ", "_OF_THREADS = ThreadRenamed | "),
        ("    interrupts: bool = False\n", f"    interrupts: bool = False\n{_PRIORITY}"),
        ("    regenerates: Message | None = None\n", f"    regenerates: Message | None = None\n{_PRIORITY}"),
    ),
    "contracts/messages.py": (
        ("    role: str | None = None\n    tool", '    role: str | None = None\n    flavour: str = ""\n    tool'),
    ),
    # New headers.
    "contracts/frames.py": (("headers = {FRAME_ID:", f'headers = {{"{HEADER}": "1", FRAME_ID:'),),
    "log/journal.py": (
        (
            "            CORRELATION: run_of(event)",
            f'            "{HEADER}": "1",\n            CORRELATION: run_of(event)',
        ),
    ),
    # What the new event means, and who says it when.
    "log/permissions.py": (('"thread_titled",\n', f'"thread_titled",\n                "{RENAMED}",\n'),),
    "domain/thread.py": (
        ("FOLD_VERSION = ", "FOLD_VERSION = 1000 + "),
        _IMPORT,
        ("        case ThreadArchived():\n", _EVOLVE),
    ),
    "domain/wishing.py": (
        _IMPORT,
        (
            "return ThreadTitled(at=command.now, user_id=command.user_id, title=command.title)",
            "return ThreadRenamed(at=command.now, user_id=command.user_id, name=command.title)",
        ),
        ("        config=command.config,\n        interrupts", _QUEUED),
    ),
    "domain/decider.py": (
        ("        config=head.config,\n", "        config=head.config,\n        priority=head.priority,\n"),
    ),
    # Its own judge knows what it means, too.
    "cli/chaos/judging_words.py": (
        ("import RunQueued, RunRequested, ThreadTitled", "import RunQueued, RunRequested, ThreadRenamed, ThreadTitled"),
        ("    return {recorded.event.title for", _NAMES),
    ),
    # A new type of watch event, and of chunk.
    "domain/watching.py": (_IMPORT, ("        case ThreadArchived():\n", _WATCH)),
    "domain/margins.py": (
        (
            "    question = requested.message\n",
            f'    chunks.append(transient("{CHUNK}", {{"says": "hello"}}))\n    question = requested.message\n',
        ),
    ),
}
