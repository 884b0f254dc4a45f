"""Asking: one thread's user asks until there is an answer, and whatever was not expected is noted."""

import asyncio
import random
from collections.abc import Callable

from decopilot.cli.chaos.doors import Answer, Doors
from decopilot.cli.chaos.ledger import Ledger, Posted

PATIENCE_S = 20.0
PAUSE_S, LONGEST_PAUSE_S = 0.3, 5.0
"""Before the first further try, and at most: doubling, and by chance up to that, as well-behaved clients do."""
GONE = "thread_not_found"
DONE = {200, 201, 202}
ASK_AGAIN = {429, 503}
# What may be answered by what, beside these.
REFUSALS = {
    "post": {"run_active", "queue_full"},
    "cancel": set[str](),
    "withdraw": {"message_not_queued", "run_started"},
    "resolve": {"interaction_not_found", "interaction_resolved"},
    "retitle": set[str](),
    "delete": set[str](),
    "read": set[str](),
    "regenerate": {"run_active", "message_not_found", "too_many_runs"},
    "fork": {"message_not_found", "body_too_large"},
    "upload": set[str](),
    "archive": set[str](),
    "unarchive": set[str](),
}


class Asking:
    """Asks at these doors, of this thread."""

    def __init__(self, thread: str, doors: Doors, ledger: Ledger) -> None:
        self.thread = thread
        self.doors = doors
        self.ledger = ledger
        self._is_created = False

    def path(self, rest: str = "", *, of: str | None = None) -> str:
        """Tell where the thread, or what is below it, is."""
        return f"decopilot/threads/{of or self.thread}{rest}"

    async def ask(
        self,
        wish: str,
        chance: random.Random,
        method: str,
        rest: str,
        body: object = None,
        *,
        doors: Doors | None = None,
        on_doubt: Callable[[], None] = lambda: None,
    ) -> Answer | None:
        """Ask until there is an answer; a try without one, which may have been heard all the same, leaves a doubt."""
        clock = asyncio.get_running_loop().time
        deadline, pause_s = clock() + PATIENCE_S, PAUSE_S
        while clock() < deadline:
            # As it stood when it was asked: the answer to what created it may overtake this one.
            is_new = wish != "post" and not self._is_created
            answer = await (doors or self.doors).call(chance, method, rest, body)
            self.ledger.answers["none" if answer is None else f"{wish} {answer.status} {answer.code}".strip()] += 1
            if answer is not None and answer.status not in ASK_AGAIN:
                self._judge(wish, answer, is_new=is_new)
                return answer
            if answer is None or answer.status != 429:
                on_doubt()
            await asyncio.sleep(chance.uniform(0.05, pause_s))
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        return None

    def _judge(self, wish: str, answer: Answer, *, is_new: bool) -> None:
        known = answer.status in DONE or answer.code in REFUSALS[wish]
        is_deleting = self.thread in self.ledger.deleting
        # A thread that is not there yet, or no more; of one that goes the files may go first.
        gone = answer.code == GONE and (is_new or is_deleting)
        gone = gone or (answer.code == "file_not_found" and is_deleting)
        if not known and not gone:
            self.ledger.unexpected.append(f"{self.thread}: {wish} was answered by {answer}")

    async def send(self, posted: Posted, chance: random.Random) -> None:
        """Send a message, and note the run that it is."""
        post = posted.post
        parts = [{"type": "text", "text": post.text}, *posted.files]
        message = {"id": posted.message_id, "role": "user", "parts": parts}
        body = {"messages": [message], "toolApprovalLevel": post.level, "onConflict": post.on_conflict}

        def doubt() -> None:
            posted.is_doubtful = True

        answer = await self.ask("post", chance, "POST", self.path("/messages", of=posted.thread), body, on_doubt=doubt)
        if answer is not None and answer.status == 202:
            posted.runs.append(answer.body["runId"])
            self._is_created = True
