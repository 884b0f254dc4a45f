"""What is promised, each in one sentence, and what it means to recover where a fault may hold a promise up."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Promised:
    """A promise; `recovery` says what its recovery time runs from and to, None where nothing is to be waited for."""

    meaning: str
    recovery: str | None = None


KNOWN = {
    "NO-GAP": Promised(
        "A viewer gets every chunk that counts, over as many connections as it takes.",
        "from a steady viewer's connection breaking to its being attached again",
    ),
    "NO-DUP": Promised("No viewer gets a chunk twice, or holds an answer that is not the one that was stored."),
    "ORDER": Promised("Chunks come in the order in which they were stored."),
    "PERSIST-FIRST": Promised("What a viewer gets is what is stored in that place, byte for byte."),
    "DETACHED": Promised("A run ends whether or not anybody is watching."),
    "ONE-CLOSE": Promised("A run's log is closed once, by its last frame, as the run ended."),
    "ONE-WRITER": Promised("A run's frames are of one writer at a time: what a fenced-off attempt says is not stored."),
    "ONE-END": Promised(
        "A run that began ends once, for a cause, and in time.",
        "by how much later than its pace allows a run ended that a fault hit: from its request, all faults together",
    ),
    "ONE-RUN": Promised("A message that was accepted is one run, and a thread has one active run at a time."),
    "ACK": Promised("What was acknowledged is in the log, word for word, and nothing that nobody asked for."),
    "RESUME": Promised(
        "A dead runner's run is gone on with as if nobody had died, and no call is executed twice without approval.",
        "from the last blow to an attempt's runner, or to the broker, to the first frame of a later attempt",
    ),
    "CANCEL": Promised(
        "A run that is to end is ended, and what was withdrawn never begins.",
        "from the log's holding that a run is to end to its end",
    ),
    "SNAPSHOT-SEAM": Promised("A history and its cursor are of the same moment."),
    "HONEST-CURSOR": Promised("A cursor that can't be served any more is said to be so, and only then."),
    "TENANT-WALL": Promised("Another org gets nothing, at no door."),
    "BAD-INPUT": Promised("What makes no sense is refused as documented, and nothing of it is stored."),
    "FOLD": Promised("A run's frames add up to the message that it ended with."),
    "VIEWS": Promised("In the end the views say what the log says."),
    "HISTORY": Promised("In the end every gateway shows what the log says."),
    "WATCH": Promised("Every watch event is told once, in order, to everybody who watches."),
    "BRANCH": Promised("A fork begins with what its source held; an answer made anew takes the place of the old one."),
    "FILES": Promised("A file that is stored is served as it was, a fork's copies too."),
    "ARCHIVE": Promised("What was put aside, or taken back, is shown so."),
    "PURGE": Promised("Of a run that ended its last frame is left, and nothing else."),
    "DELETE": Promised("Of a deleted thread nothing is left that it held."),
}
"""Those of the design, then what they rest on."""
