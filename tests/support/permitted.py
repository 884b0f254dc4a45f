"""What each service may do at the broker, said a second time, and everything else that somebody could try."""

from dataclasses import dataclass, field

from decopilot.contracts.events import EVENTS
from decopilot.log.permissions import USERS

EVENT_TYPES = {str(event.model_fields["type"].default) for event in EVENTS}
CONSUMERS = {"runner", "titler", "reactor", "janitor"}
EV, CH, WA, BL = "DECOPILOT_EVENTS", "DECOPILOT_CHUNKS", "DECOPILOT_WATCH", "OBJ_decopilot_blobs"
CO, PL = TALLIES = ("DECOPILOT_COUNTS", "DECOPILOT_PLACES")
KV = {"threads", "messages", "automations", "readers"}
KEPT = {EV, CH, WA, BL, *(f"KV_decopilot_{name}" for name in KV)}
EVERY_STREAM = {*KEPT, *TALLIES}
RESTORING = "DECOPILOT_RESTORING"
ENDS = {"run_completed", "run_requires_action", "run_failed", "run_requested", "interactions_denied"}


@dataclass(frozen=True)
class Rights:
    """What one service may do; everything else that is tried is refused."""

    appends: set[str] = field(default_factory=set)
    writes: set[str] = field(default_factory=set)
    gets: set[str] = field(default_factory=set)
    scans: set[str] = field(default_factory=set)
    looks_at: set[str] = field(default_factory=set)
    purges: set[str] = field(default_factory=set)
    takes_from: set[str] = field(default_factory=set)
    works_off: set[str] = field(default_factory=set)
    asks_after: set[str] = field(default_factory=set)
    makes: set[str] = field(default_factory=set)
    makes_anew: set[str] = field(default_factory=set)
    hears: set[str] = field(default_factory=set)


KV_OF = {name: f"KV_decopilot_{name}" for name in KV}
RIGHTS = {
    "gateway": Rights(
        writes={"command send_message", "command any", "blob", "blob chunk", "key automations", "key readers"},
        gets=KEPT - {KV_OF["readers"]},
        scans={EV, CH, WA, KV_OF["threads"]},
        looks_at={EV},
        purges={BL},
        hears={"tail", "watchtail"},
    ),
    "command": Rights(
        appends=EVENT_TYPES
        - {"run_started", "run_handed_back", "step_completed", "run_completed", "run_requires_action", "run_failed"},
        writes={"signal", "track", "blob", "blob chunk", "count", "place"},
        gets={EV, BL, PL, KV_OF["threads"], KV_OF["messages"]},
        scans={EV, PL},
        looks_at={EV, CH, PL},
        purges={BL},
        takes_from={PL},
        hears={"commands"},
    ),
    "runner": Rights(
        appends={"run_started", "run_handed_back", "step_completed", "thread_titled", *ENDS},
        writes={"chunk", "signal", "blob", "blob chunk"},
        gets={EV, CH, BL, KV_OF["threads"], KV_OF["messages"]},
        scans={EV, CH},
        looks_at={EV},
        purges={BL},
        works_off={"runner", "titler"},
        hears={"signals"},
    ),
    "reactor": Rights(
        appends=ENDS,
        writes={"chunk", "watch", "signal", "place", "blob", "key threads", "key messages", "key automations"}
        | {"command send_message"},
        gets=KEPT,
        scans={EV, CH},
        looks_at={EV, CH, BL, PL, KV_OF["messages"]},
        purges={EV, CH, BL, PL},
        works_off={"reactor", "janitor", "sweeper"},
        asks_after={"runner", "titler"},
    ),
    "provision": Rights(looks_at={*EVERY_STREAM, RESTORING}, makes=EVERY_STREAM, makes_anew={*TALLIES}),
}
WRITES = {
    "command send_message": "decopilot.command.send_message",
    "command any": "decopilot.command.any",
    "chunk": "decopilot.chunk.acme.t1.r1",
    "watch": "decopilot.watch.acme.t1.decopilot.thread.status",
    "signal": "decopilot.signal.acme.r1",
    "track": "decopilot.track.acme.chat_message_started",
    "count": "decopilot.count.acme.org.1",
    "place": "decopilot.place.acme.u1.t1.r1",
    "blob": "$O.decopilot_blobs.M.bmFtZQ==",
    "blob chunk": "$O.decopilot_blobs.C.acme.t1.b1.w1",
    **{f"key {name}": f"$KV.decopilot_{name}.acme.t1" for name in KV},
}
HEARD = {
    "commands": "decopilot.command.* command",
    "signals": "decopilot.signal.acme.r1",
    "tail": "decopilot.tail.acme.t1.>",
    "watchtail": "decopilot.watchtail.acme.>",
}
FORBIDDEN = {
    "publish": [
        "decopilot.tail.acme.t1.r1",
        "decopilot.watchtail.acme.t1.x",
        "decopilot.event.acme.t1.no_such_type",
        "$KV.another.key",
        "$O.another.M.x",
        "$SYS.REQ.SERVER.PING",
        "$SRV.PING",
        "$JS.API.INFO",
        "$JS.API.STREAM.NAMES",
        "$JS.API.STREAM.LIST",
        "$JS.API.STREAM.CREATE.MINE",
        "$JS.API.META.LEADER.STEPDOWN",
        *(f"_INBOX_{user}.x.y" for user in USERS),
        *(
            f"$JS.API.{call}.{stream}"
            for stream in EVERY_STREAM
            for call in ("STREAM.SNAPSHOT", "STREAM.RESTORE", "CONSUMER.LIST")
        ),
        *(f"$JS.API.CONSUMER.DELETE.{EV}.{name}" for name in CONSUMERS),
        *(f"$JS.API.CONSUMER.DURABLE.CREATE.{EV}.{name}" for name in CONSUMERS),
    ],
    "subscribe": [
        ">",
        "*.>",
        "_INBOX.>",
        "decopilot.>",
        "decopilot.event.>",
        "decopilot.chunk.>",
        "decopilot.command.send_message",
        "decopilot.track.>",
        "$KV.>",
        "$O.>",
        "$JS.>",
        "$SYS.>",
    ],
}


def operations() -> dict[str, tuple[str, str]]:
    """Everything that is tried: what it is called, whether it publishes or subscribes, and where."""
    found = {f"append {name}": ("publish", f"decopilot.event.acme.t1.{name}") for name in EVENT_TYPES}
    found |= {f"write {name}": ("publish", subject) for name, subject in WRITES.items()}
    calls = {"get": "STREAM.MSG.GET", "scan": "DIRECT.GET", "look": "STREAM.INFO", "purge": "STREAM.PURGE"}
    calls |= {"create": "STREAM.CREATE", "update": "STREAM.UPDATE"}
    calls |= {"delete": "STREAM.DELETE", "take": "STREAM.MSG.DELETE"}
    for stream in (*EVERY_STREAM, RESTORING):
        found |= {f"{name} {stream}": ("publish", f"$JS.API.{call}.{stream}") for name, call in calls.items()}
    for name, stream in {**dict.fromkeys(CONSUMERS, EV), "sweeper": BL}.items():
        found[f"pull {name}"] = ("publish", f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}")
        found[f"consumer {name}"] = ("publish", f"$JS.API.CONSUMER.INFO.{stream}.{name}")
        found[f"ack {name}"] = ("publish", f"$JS.ACK.{stream}.{name}.1.1.1.1.0")
        found[f"make {name}"] = ("publish", f"$JS.API.CONSUMER.CREATE.{stream}.{name}")
    found |= {f"hear {name}": ("subscribe", subject) for name, subject in HEARD.items()}
    found |= {f"hear {user}'s inbox": ("subscribe", f"_INBOX_{user}.>") for user in USERS}
    found |= {f"{kind} {subject}": (kind, subject) for kind, those in FORBIDDEN.items() for subject in those}
    return found


def allowed(user: str) -> set[str]:
    """What of it a service may do."""
    rights = RIGHTS[user]
    found = {f"append {name}" for name in rights.appends} | {f"write {name}" for name in rights.writes}
    for name, streams in (
        ("get", rights.gets),
        ("scan", rights.scans),
        ("look", rights.looks_at),
        ("purge", rights.purges),
        ("create", rights.makes),
        ("update", rights.makes),
        ("delete", rights.makes_anew),
        ("take", rights.takes_from),
    ):
        found |= {f"{name} {stream}" for stream in streams}
    found |= {f"{what} {name}" for name in rights.works_off for what in ("pull", "consumer", "ack")}
    found |= {f"consumer {name}" for name in rights.asks_after}
    if rights.makes:
        found |= {f"{what} {name}" for what in ("make", "consumer") for name in (*CONSUMERS, "sweeper")}
    return found | {f"hear {name}" for name in rights.hears} | {f"hear {user}'s inbox"}
