"""The terminal chat as its user has it: keys in, what is on the screen out."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache

from rich.console import Console
from textual.pilot import Pilot
from textual.widgets import Markdown, Static

from decopilot.cli.chat.app import ChatApp
from decopilot.cli.chat.session import Choice
from decopilot.cli.chat.views import MessageView, Prompt
from decopilot.client import Client
from support.gateways import until
from support.stack import Stack

DEADLINE_S = 40


@dataclass(slots=True)
class Talker:
    """Somebody who sits at a terminal."""

    app: ChatApp
    pilot: Pilot[None]

    async def say(self, text: str, key: str = "enter") -> None:
        """Type, and send."""
        self.app.query_one(Prompt).insert(text)
        await self.pilot.press(key)

    async def sees(self, *texts: str) -> None:
        """Wait until all of this is shown."""
        await self.until(lambda: all(text in self.screen for text in texts), *texts)

    async def until(self, holds: Callable[[], object], *what: str) -> None:
        """Wait until something holds."""
        try:
            await until(holds, deadline_s=DEADLINE_S)
        except TimeoutError:
            msg = f"never came: {what}\n{self.screen}"
            raise AssertionError(msg) from None

    @property
    def answers(self) -> list[str]:
        """The Markdown of the answers, one after the other."""
        return [str(markdown.source) for markdown in self.app.query(Markdown)]

    @property
    def status(self) -> str:
        """How things stand."""
        return str(self.app.query_one("#status", Static).content)

    @property
    def talk(self) -> list[str]:
        """What is said, a text a piece, in its order."""
        pieces = [piece for view in self.app.query(MessageView) for piece in view.children]
        return [str(piece.source if isinstance(piece, Markdown) else getattr(piece, "content", "")) for piece in pieces]

    @property
    def screen(self) -> str:
        """Everything that is shown, without its looks, and what has scrolled away."""
        shown = [one for one in self.app.screen.query(Static) if all(node.display for node in one.ancestors_with_self)]
        asides = [str(static.content) for static in shown]
        return "\n".join([*self.talk, *asides])

    @property
    def drawn(self) -> str:
        """What the terminal is given, with every sequence that it would obey."""
        console = Console(width=120, height=50, force_terminal=True, color_system="truecolor")
        with console.capture() as capture:
            console.print(self.app.screen._compositor)  # noqa: SLF001  what is drawn is to be had nowhere else
        return capture.get()


@cache
def token_of(stack: Stack) -> str:
    """Make a token, once."""
    return stack.token()


@asynccontextmanager
async def chatting(
    stack: Stack, thread: str, choice: Choice | None = None, *, deadline_s: float = 15
) -> AsyncIterator[Talker]:
    """Sit at a terminal of one's own before a conversation."""
    token = await asyncio.to_thread(token_of, stack)
    async with Client(stack.url, token, "local", deadline_s=deadline_s) as client:
        app = ChatApp(client, thread, choice or Choice())
        async with app.run_test(size=(120, 50)) as pilot:
            talker = Talker(app, pilot)
            await talker.until(lambda: app.session.lost is None, "connected")
            yield talker
