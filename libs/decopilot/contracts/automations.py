"""What is kept of an automation between its due times."""

from pydantic import AwareDatetime

from decopilot.contracts.ids import Thread
from decopilot.contracts.messages import Frozen


class Claim(Frozen):
    """A thread that the automation is to have, or has: one of those that it may have at once."""

    thread: Thread
    at: AwareDatetime
    """When it was claimed, by the clock of whoever did."""
    due: AwareDatetime | None = None
    """The due time it was claimed for; None where it was fired by hand."""


class Skipped(Frozen):
    """A due time that came to nothing.

    `reason` is `at_once` (so many runs went on already), `too_late` (nobody was there for a day), `thread_taken`
    (somebody had written to the thread before), or the code with which `command` refused the message.
    """

    due: AwareDatetime
    reason: str


class Ledger(Frozen):
    """The one place that says what was decided for an automation; written only in the place of what was read."""

    rule: str | None = None
    """The schedule that `decided` belongs to; None of one that is inactive, or has none."""
    decided: AwareDatetime | None = None
    """No due time up to it is decided any more: what is due is what comes behind it."""
    claims: tuple[Claim, ...] = ()
    fired: Claim | None = None
    """The last claim whose thread was seen."""
    skipped: Skipped | None = None
    """The last one."""
