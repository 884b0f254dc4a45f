"""Two tenants who ask a gateway for whatever comes to mind, by the same ids, and a watch over what each is told.

All that an org writes (texts, titles, names and bytes of files, its users' ids) carries its canary, a word that no id
and no path has. Nobody sends the other's: where it comes back, it has leaked.
"""

import asyncio
import json
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from support.gateways import make_token

CANARIES = {"acme": "quokka7f3a91", "bolt": "numbat58c2d4"}
OTHER = {"acme": "bolt", "bolt": "acme"}
ROLES = ("owner", "member", "member", "viewer")
THREADS = [f"t{number}" for number in range(24)]
MESSAGES = [f"m{number}" for number in range(6)]
STREAM_S = 0.15
"""So long a stream is read that is one of the calls."""
DIRECTIVES = ("", "", "", "/ask Which one?", "/count 40 100")
"""Some ask back, some take their time, so that messages wait."""

NONE = {
    "attach": "/acme/decopilot/attach/t0?token=x",
    "run": "t0/none",
    "call": "t0/none",
    "file": "/acme/decopilot/threads/t0/files/none",
    "link": "/bolt/decopilot/threads/t0/files/none?expires=1&signature=x",
}

Sent = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Leak:
    """The canary of another org came in an answer to this request."""

    org: str
    request: str
    told: bytes


@dataclass
class Ears:
    """Hears all that the tenants are told."""

    leaks: list[Leak] = field(default_factory=list)
    own: Counter[str] = field(default_factory=Counter)
    """Where their own canaries were heard: a watch that hears nothing proves nothing."""

    def hear(self, org: str, request: str, where: str, told: bytes) -> None:
        """Listen to a body, headers, or a piece of a stream together with what came just before it."""
        if CANARIES[OTHER[org]].encode() in told:
            self.leaks.append(Leak(org, f"{request} ({where})", told[:2_000]))
        if CANARIES[org].encode() in told:
            self.own[where] += 1


@dataclass
class Tenants:
    """Two orgs, their users, and the ids that they have heard of, which all of them use."""

    url: str
    session: aiohttp.ClientSession
    chance: random.Random
    ears: Ears = field(default_factory=Ears)
    pool: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    answered: Counter[tuple[str, int]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.tokens = {
            org: [make_token(sub=f"{role}{number}-{canary}", orgs={org: role}) for number, role in enumerate(ROLES)]
            for org, canary in CANARIES.items()
        }

    async def begin(self) -> None:
        """Have an owner of each org begin every thread, and put a file into it."""
        for org in sorted(CANARIES):
            await self.write(org, CANARIES[org])

    async def write(self, org: str, word: str) -> None:
        """Have an owner of an org write a word into every thread, and into a file of it."""
        token = self.tokens[org][0]
        for thread in THREADS:
            message = {"role": "user", "parts": [{"type": "text", "text": f"hello {word}"}]}
            path = f"/{org}/decopilot/threads/{thread}"
            await self.ask(org, "post", "POST", f"{path}/messages", {"json": {"messages": [message]}}, token)
            named = {"data": word, "params": {"filename": f"{word}.txt"}, "headers": {"Content-Type": "text/plain"}}
            await self.ask(org, "upload", "POST", f"{path}/files", named, token)

    async def call(self) -> None:
        """Make one random call."""
        org = self.chance.choice(sorted(CANARIES))
        name = self.chance.choices([*CALLS], [weight for weight, _ in CALLS.values()])[0]
        method, path, sent = CALLS[name][1](self, org)
        # Now and then it is the other's org that is asked.
        named = OTHER[org] if self.chance.random() < 0.1 else org
        await self.ask(org, name, method, path.format(org=named), sent)

    async def ask(  # noqa: PLR0917  a request is that wide
        self, org: str, name: str, method: str, path: str, sent: Sent, token: str | None = None
    ) -> int:
        """Ask as somebody of an org, and listen to the answer; returns its status."""
        said = {"Authorization": f"Bearer {token or self.chance.choice(self.tokens[org])}"}
        headers = said if not sent.pop("anonymous", False) else {}
        async with self.session.request(
            method, self.url + path, **{**sent, "headers": headers | sent.get("headers", {})}
        ) as response:
            request = f"{method} {path} {response.status}"
            self.answered[name, response.status] += 1
            self.ears.hear(org, request, "headers", b"\n".join(b": ".join(pair) for pair in response.raw_headers))
            if response.content_type == "text/event-stream":
                await self.listen(org, request, response, STREAM_S)
            else:
                body = await response.read()
                self.ears.hear(org, request, "body", body)
                self._learn(path, body)
            return response.status

    async def listen(self, org: str, request: str, response: aiohttp.ClientResponse, seconds: float) -> None:
        """Listen to a stream for a while."""
        rest = b""
        try:
            async with asyncio.timeout(seconds):
                async for piece in response.content.iter_any():
                    # A word may come in two pieces.
                    self.ears.hear(org, request, "stream", rest + piece)
                    rest = (rest + piece)[-64:]
                    for line in piece.split(b"\n"):
                        if line.startswith(b"id: "):
                            self._keep("cursor", line[4:].decode())
        except TimeoutError:
            pass

    async def follow(self, org: str, path: str) -> None:
        """Listen to a stream until cancelled; it goes on where it ends."""
        headers = {"Authorization": f"Bearer {self.tokens[org][0]}"}
        while True:
            async with self.session.get(self.url + path, headers=headers) as response:
                await self.listen(org, f"GET {path}", response, 3_600)

    def _learn(self, path: str, body: bytes) -> None:
        try:
            told = json.loads(body)
        except ValueError:
            return
        thread = path.partition("/threads/")[2].partition("/")[0]
        for name, value in _ids(told):
            if name not in {"run", "call"}:
                self._keep(name, value)
            elif thread:
                # They are of a thread: without it they are nowhere.
                self._keep(name, f"{thread}/{value}")

    def _keep(self, name: str, value: str) -> None:
        pool = self.pool[name]
        if len(pool) < 200:
            pool.append(value)
        else:
            pool[self.chance.randrange(200)] = value

    def known(self, name: str) -> str:
        """Choose an id that anybody was told."""
        return self.chance.choice(self.pool[name] or [NONE.get(name, "none")])

    def text(self, org: str) -> str:
        """Make a text of an org's."""
        directive = self.chance.choice(DIRECTIVES)
        return f"{directive}\nhello {CANARIES[org]}" if directive else f"hello {CANARIES[org]} {self.chance.random()}"


_KEPT = {"runId": "run", "next": "cursor", "cursor": "cursor", "approvalId": "call", "toolCallId": "call"}


def _ids(told: object) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if isinstance(told, list):
        return [pair for one in told[:20] for pair in _ids(one)]
    if isinstance(told, Mapping):
        for name, value in told.items():
            if isinstance(value, str):
                if name in _KEPT:
                    found.append((_KEPT[name], value))
                elif name == "url" and "/files/" in value:
                    found.append(("link" if "?" in value else "file", value))
                elif name == "url" and "/attach/" in value:
                    found.append(("attach", value))
            else:
                found += _ids(value)
    return found


Making = Callable[[Tenants, str], tuple[str, str, Sent]]
_THREAD = "/{{org}}/decopilot/threads/{thread}"


def _on_thread(method: str, rest: str, make: Callable[[Tenants, str], Sent] | None = None) -> Making:
    """Make a call about a thread, and perhaps a message of it."""

    def made(tenants: Tenants, org: str) -> tuple[str, str, Sent]:
        path = _THREAD.format(thread=tenants.chance.choice(THREADS))
        message = tenants.chance.choice(MESSAGES)
        return method, path + rest.format(message=message), make(tenants, org) if make else {}

    return made


def _on_run(rest: str) -> Making:
    """Make a call about a run that one of both was told of."""

    def made(tenants: Tenants, _: str) -> tuple[str, str, Sent]:
        thread, run = tenants.known("run").split("/", 1)
        cursor = tenants.known("cursor")
        return "GET", f"{_THREAD.format(thread=thread)}/runs/{run}" + rest.format(cursor=cursor), {}

    return made


def _file(method: str, rest: str) -> Making:
    """Make a call about the file of an id that one of both was told of, in the org that is asked."""

    def made(tenants: Tenants, _: str) -> tuple[str, str, Sent]:
        path = tenants.known("file").split("/", 2)[2]
        return method, f"/{{org}}/{path}{rest}", {}

    return made


def _plain(method: str, path: str, make: Callable[[Tenants, str], Sent] | None = None) -> Making:
    return lambda tenants, org: (method, path, make(tenants, org) if make else {})


def _message(tenants: Tenants, org: str) -> Sent:
    chance, parts = tenants.chance, [{"type": "text", "text": tenants.text(org)}]
    canary = CANARIES[org]
    if chance.random() < 0.2:
        parts.append({"type": "file", "url": f"data:text/plain,{canary}", "filename": f"{canary}.txt"})
    elif chance.random() < 0.3:
        # Whoever's it is: its org is made the other's now and then.
        url = tenants.known("file").replace(chance.choice(["/acme/", "/bolt/"]), f"/{org}/")
        parts.append({"type": "file", "url": url, "mediaType": "text/plain"})
    message = {"id": chance.choice(MESSAGES), "role": "user", "parts": parts}
    return {"json": {"messages": [message], "onConflict": chance.choice(["queue", "reject", "interrupt"])}}


def _upload(_: Tenants, org: str) -> Sent:
    canary = CANARIES[org]
    return {
        "data": f"bytes of {canary}",
        "params": {"filename": f"{canary}.txt"},
        "headers": {"Content-Type": "text/plain"},
    }


def _resolve(tenants: Tenants, org: str) -> tuple[str, str, Sent]:
    thread, call = tenants.known("call").split("/", 1)
    resolution = {"toolCallId": call, "output": CANARIES[org]}
    return "POST", f"{_THREAD.format(thread=thread)}/interactions", {"json": {"resolutions": [resolution]}}


def _fork(tenants: Tenants, _: str) -> Sent:
    chance = tenants.chance
    return {"json": chance.choice([{}, {"threadId": chance.choice(THREADS)}, {"messageId": chance.choice(MESSAGES)}])}


def _linked(tenants: Tenants, org: str) -> tuple[str, str, Sent]:
    """Read by a link; one of the other org's is tried on a file of one's own, and one's own on the other's."""
    parts = urlsplit(tenants.known("link"))
    owner = parts.path.split("/")[1]
    # Whoever has a link may read its file, that is what it is for: so nobody is given the other's as it is.
    named = org if owner != org or tenants.chance.random() < 0.5 else OTHER[org]
    return "GET", f"{parts.path.replace(f'/{owner}/', f'/{named}/', 1)}?{parts.query}", {"anonymous": True}


def _attach(tenants: Tenants, _: str) -> tuple[str, str, Sent]:
    chance = tenants.chance
    query = chance.choice(["", "?cursor=0-0", "?replay=compact", "?replay=message&rewind=true", "?cursor={cursor}"])
    path = f"/{{org}}/decopilot/attach/{chance.choice(THREADS)}" + query.replace("{cursor}", tenants.known("cursor"))
    return "GET", path, {}


def _attach_by_token(tenants: Tenants, org: str) -> tuple[str, str, Sent]:
    """Attach by a token that one of both was given, to a thread of one's own."""
    return "GET", f"/{org}/{tenants.known('attach').split('/', 2)[2]}", {"anonymous": True}


def _watch(tenants: Tenants, _: str) -> tuple[str, str, Sent]:
    return (
        "GET",
        "/{org}/watch" + tenants.chance.choice(["", "?cursor=1", f"?cursor={tenants.chance.randrange(5_000)}"]),
        {},
    )


def _list(tenants: Tenants, org: str) -> tuple[str, str, Sent]:
    params = tenants.chance.choice(
        [
            {},
            {"q": "hello"},
            {"q": CANARIES[org]},
            {"archived": "all", "limit": "5"},
            {"before": tenants.known("cursor")},
        ]
    )
    return "GET", "/{org}/decopilot/threads", {"params": params}


def _title(tenants: Tenants, org: str) -> Sent:
    change = {"title": f"title {CANARIES[org]}"} if tenants.chance.random() < 0.6 else {"archived": True}
    return {"json": change}


CALLS: dict[str, tuple[float, Making]] = {
    "post": (5, _on_thread("POST", "/messages", _message)),
    "upload": (4, _on_thread("POST", "/files", _upload)),
    "file": (8, lambda tenants, _: ("GET", tenants.known("file"), {})),
    "file of this org": (8, _file("GET", "")),
    "link": (6, _file("POST", "/link")),
    "linked": (6, _linked),
    "thread": (9, _on_thread("GET", "")),
    "messages": (10, _on_thread("GET", "/messages")),
    "queue": (4, _on_thread("GET", "/queue")),
    "runs": (5, _on_thread("GET", "/runs")),
    "run": (6, _on_run("")),
    "chunks": (5, _on_run("/chunks")),
    "chunks behind": (3, _on_run("/chunks?from={cursor}")),
    "list": (6, _list),
    "attach": (6, _attach),
    "attach token": (2, _on_thread("POST", "/attach-token")),
    "attach by token": (2, _attach_by_token),
    "watch": (3, _watch),
    "title": (3, _on_thread("PATCH", "", _title)),
    "resolve": (3, _resolve),
    "withdraw": (2, _on_thread("DELETE", "/queue/{message}")),
    "regenerate": (1, _on_thread("POST", "/regenerate")),
    "fork": (2, _on_thread("POST", "/fork", _fork)),
    "delete": (0.2, _on_thread("DELETE", "")),
    "cancel": (2, lambda tenants, _: ("POST", f"/{{org}}/decopilot/cancel/{tenants.chance.choice(THREADS)}", {})),
    "automations": (2, _plain("GET", "/{org}/decopilot/automations")),
    "fire": (1, _plain("POST", "/{org}/decopilot/automations/report-acme/fire")),
    "fire the other": (1, _plain("POST", "/{org}/decopilot/automations/report-bolt/fire")),
    "agents": (1, _plain("GET", "/{org}/decopilot/agents")),
    "models": (1, _plain("GET", "/{org}/decopilot/allowed-models")),
    "page": (1, _plain("GET", "/?org={org}")),
}
"""Each call by its name: how often it is made, and how."""


async def together(count: int, make: Callable[[], Awaitable[object]], *, at_once: int = 24) -> None:
    """Make so many calls, some at once."""
    left = iter(range(count))

    async def work() -> None:
        for _ in left:
            await make()

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(work())
