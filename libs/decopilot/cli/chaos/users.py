"""Users: each does what was drawn for one thread, repeats what was not answered, and notes what they were told."""

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from decopilot.cli.chaos.asking import Asking
from decopilot.cli.chaos.doors import Answer, Doors
from decopilot.cli.chaos.ledger import Ledger, Posted, Probe, Receipt, Resolved, Snapshot
from decopilot.cli.chaos.schedule import (
    Action,
    Blunder,
    Cancel,
    Delete,
    Post,
    PostAgain,
    Resolve,
    Retitle,
    TakeSnapshot,
    ThreadPlan,
    Trespass,
    Withdraw,
)
from decopilot.cli.chaos.stopping import comes
from decopilot.cli.chaos.wishing import Wisher

STOLEN = "Mine"
"""What a stranger would call a thread."""
ATTENTION_S = 6.0
"""So long a user looks whether they are asked something."""
BLUNDERS: tuple[tuple[str, str, object, tuple[int, str]], ...] = (
    ("POST", "messages", {"messages": [{"role": "root", "parts": []}]}, (400, "invalid_body")),
    ("POST", "interactions", {"resolutions": []}, (400, "invalid_body")),
    ("POST", "messages", {"messages": [], "thread_id": "another"}, (400, "invalid_body")),
)


class User:
    """The user of one thread, a `rival` who may write to it too, and a `stranger` who may not even know of it.

    `abroad` are the stranger's doors in their own org.
    """

    def __init__(
        self,
        plan: ThreadPlan,
        ledger: Ledger,
        *,
        seed: int,
        doors: Doors,
        rival: Doors,
        stranger: Doors | None,
        abroad: Doors | None = None,
        newest_event: Callable[[], int],
        attach: Callable[[str, str, bool], None],
        stopping: asyncio.Event,
    ) -> None:
        self._plan = plan
        self._ledger = ledger
        self._seed = seed
        self._doors, self._rival, self._stranger = doors, rival, stranger
        self._abroad = abroad
        self._newest_event = newest_event
        self._attach = attach
        self._stopping = stopping
        self._path = f"decopilot/threads/{plan.name}"
        self._asking = Asking(plan.name, doors, ledger)
        self._wisher = Wisher(self._asking, plan.wishes, seed, stopping)

    async def act(self) -> None:
        """Do everything at its time, each thing by itself; begin nothing more once everything is to stop."""
        clock = asyncio.get_running_loop().time
        began = clock()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._wisher.act())
            for number, action in enumerate(self._plan.actions):
                if not await comes(began + action.at_s, self._stopping):
                    return
                chance = random.Random(f"{self._seed}/{self._plan.name}/{number}")
                tasks.create_task(self._do(action, chance), name=f"{self._plan.name} {action}")

    async def _do(self, action: Action, chance: random.Random) -> None:  # noqa: C901  one case per action
        match action:
            case Post():
                await self._post(action, chance)
            case PostAgain():
                if (posted := self._posted(action.number)) is not None:
                    await self._asking.send(posted, chance)
            case Cancel():
                await self._cancel(action, chance)
            case Withdraw():
                await self._wish("withdraw", chance, "DELETE", f"{self._path}/queue/{self._message_id(action.number)}")
            case Resolve():
                await self._resolve(action, chance)
            case TakeSnapshot():
                await self._take_snapshot(action, chance)
            case Retitle():
                await self._wish("retitle", chance, "PATCH", self._path, {"title": action.title}, title=action.title)
            case Delete():
                self._ledger.deleting.add(self._plan.name)
                await self._wish("delete", chance, "DELETE", self._path)
            case Trespass():
                await self._trespass(action, chance)
            case Blunder():
                await self._blunder(action, chance)

    def _message_id(self, number: int) -> str:
        return f"{self._plan.name}-m{number}"

    def _posted(self, number: int) -> Posted | None:
        return self._ledger.posts.get(self._message_id(number))

    async def _post(self, post: Post, chance: random.Random) -> None:
        posted = Posted(self._plan.name, self._message_id(post.number), post)
        self._ledger.posts[posted.message_id] = posted
        copies = (random.Random(f"{chance.random()}") for _ in range(post.copies))
        await asyncio.gather(*(self._asking.send(posted, copy) for copy in copies))

    async def _wish(
        self,
        wish: str,
        chance: random.Random,
        method: str,
        rest: str,
        body: object = None,
        *,
        title: str | None = None,
    ) -> None:
        answer = await self._asking.ask(wish, chance, method, rest, body)
        if answer is not None and answer.status == 202:
            run_id = answer.body["runId"]
            self._ledger.receipts.append(Receipt(self._plan.name, wish, answer.body["status"], run_id, title))

    async def _cancel(self, action: Cancel, chance: random.Random) -> None:
        rest = f"decopilot/cancel/{self._plan.name}"
        body: object = None
        if action.number is not None:
            posted = self._posted(action.number)
            if posted is None or not posted.runs:
                return
            if chance.random() < 0.5:
                body = {"runId": posted.runs[0]}
            else:
                rest += f"?runId={posted.runs[0]}"
        await self._wish("cancel", chance, "POST", rest, body)

    async def _resolve(self, action: Resolve, chance: random.Random) -> None:
        answer = await self._find_pending(chance)
        if answer is None:
            return
        pending = answer.body["pending"]
        waiting = answer.body["messages"][-1]
        tries = [self._say(pending, waiting, chance, action, approves=action.approves, doors=self._doors)]
        if action.rival:
            other = random.Random(f"{chance.random()}")
            tries.append(self._say(pending, waiting, other, action, approves=not action.approves, doors=self._rival))
        await asyncio.gather(*tries)

    async def _find_pending(self, chance: random.Random) -> Answer | None:
        clock = asyncio.get_running_loop().time
        deadline = clock() + ATTENTION_S
        while clock() < deadline:
            answer = await self._asking.ask("read", chance, "GET", f"{self._path}/messages")
            if answer is not None and answer.status == 200 and answer.body["pending"]:
                return answer
            await asyncio.sleep(chance.uniform(0.2, 0.8))
        return None

    async def _say(
        self,
        pending: list[dict[str, Any]],
        waiting: dict[str, Any],
        chance: random.Random,
        action: Resolve,
        *,
        approves: bool,
        doors: Doors,
    ) -> None:
        if action.is_whole_message:
            asked = {one["toolCallId"]: one for one in pending}
            parts = [_resolved_part(part, asked.get(part.get("toolCallId")), approves) for part in waiting["parts"]]
            rest, body = "messages", {"messages": [waiting | {"parts": parts}]}
        else:
            facts = [_fact(one, approves=approves) for one in pending]
            rest, body = "interactions", {"resolutions": facts}
        answer = await self._asking.ask("resolve", chance, "POST", f"{self._path}/{rest}", body, doors=doors)
        if answer is not None and answer.status == 202:
            for one in pending:
                told = Resolved(self._plan.name, f"{one['kind']}:{one['id']}", approves, answer.body["runId"])
                self._ledger.resolved.append(told)

    async def _take_snapshot(self, action: TakeSnapshot, chance: random.Random) -> None:
        known, at = self._newest_event(), datetime.now(UTC)
        answer = await self._asking.ask("read", chance, "GET", f"{self._path}/messages")
        if answer is not None and answer.status == 200:
            messages, cursor = answer.body["messages"], answer.body["cursor"]
            self._ledger.snapshots.append(Snapshot(self._plan.name, known, messages, cursor, at))
            self._attach(self._plan.name, cursor, action.rewind)

    async def _trespass(self, action: Trespass, chance: random.Random) -> None:
        if self._stranger is None:
            return
        method, rest, body = (
            ("GET", self._path, None),
            ("GET", f"{self._path}/messages", None),
            ("GET", f"{self._path}/queue", None),
            ("GET", f"decopilot/attach/{self._plan.name}", None),
            ("GET", "watch", None),
            ("DELETE", self._path, None),
            ("POST", f"decopilot/cancel/{self._plan.name}", None),
            ("PATCH", self._path, {"title": STOLEN}),
        )[action.door]
        answer = await self._stranger.call(chance, method, rest, body)
        if answer is not None:
            probe = Probe(f"{method} {rest}", (403, "forbidden"), answer.status, answer.code)
            self._ledger.trespasses.append(probe)
        if self._abroad is not None:
            await self._look_from_abroad(self._abroad, chance)

    async def _look_from_abroad(self, abroad: Doors, chance: random.Random) -> None:
        """Ask for the thread by its id in the stranger's own org, whose door is open to them: there is none."""
        rest = f"{self._path}/messages"
        answer = await abroad.call(chance, "GET", rest)
        if answer is not None:
            probe = Probe(f"GET {rest} of {abroad.org}", (404, "thread_not_found"), answer.status, answer.code)
            self._ledger.trespasses.append(probe)

    async def _blunder(self, action: Blunder, chance: random.Random) -> None:
        method, rest, body, expected = BLUNDERS[action.kind]
        answer = await self._doors.call(chance, method, f"{self._path}/{rest}", body)
        if answer is not None:
            self._ledger.blunders.append(Probe(f"{method} {rest} {body}", expected, answer.status, answer.code))


def _output(asked: dict[str, Any], *, approves: bool) -> dict[str, str]:
    return {"response": f"{'blue' if approves else 'red'} for {asked['id']}"}


def _fact(asked: dict[str, Any], *, approves: bool) -> dict[str, Any]:
    if asked["kind"] == "approval":
        return {"approvalId": asked["id"], "approved": approves}
    return {"toolCallId": asked["toolCallId"], "output": _output(asked, approves=approves)}


def _resolved_part(part: dict[str, Any], asked: dict[str, Any] | None, approves: bool) -> dict[str, Any]:  # noqa: FBT001
    """Bring a part into the state in which an AI SDK client sends it back."""
    if asked is None:
        return part
    if asked["kind"] == "approval":
        approval = part["approval"] | {"approved": approves}
        return part | {"state": "approval-responded", "approval": approval}
    return part | {"state": "output-available", "output": _output(asked, approves=approves)}
