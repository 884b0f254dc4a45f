"""The terminal application: shows a session, and tells it what its user does."""

import asyncio
import uuid
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widget import MountError
from textual.widgets import Static
from textual.worker import Worker

from decopilot.cli.chat.commands import GREETING, Line, help_text, parse
from decopilot.cli.chat.session import Choice, Session
from decopilot.cli.chat.showing import Card, card
from decopilot.cli.chat.views import MessageView, Prompt, Threads
from decopilot.cli.printing import printable, short
from decopilot.client import Client, ClientError
from decopilot.contracts.ids import is_id

SHOWN_MESSAGES = 50
"""A terminal is no place to read what was said long ago; the page is."""
THREADS = 100
FRAME_S = 1 / 15
LINES = ("earlier", "card-title", "card-body", "card-hint", "waiting", "notice", "status")


class ChatApp(App[None]):
    """Shows one conversation at a time."""

    CSS = """
    #talk { height: 1fr; padding: 0 1; }
    MessageView { height: auto; margin-bottom: 1; }
    .question { text-style: bold; color: $accent; }
    .markdown { height: auto; margin: 0; padding: 0; background: transparent; }
    .thought, .note, #earlier { color: $text-muted; text-style: italic; }
    .tool { color: $text-muted; }
    .error, #notice { color: $warning; }
    #card { height: auto; max-height: 50%; border: round $warning; padding: 0 1; }
    #card-title { text-style: bold; }
    #card-hint { color: $text-muted; }
    #waiting { color: $text-muted; padding: 0 1; }
    #notice { padding: 0 1; }
    Prompt { height: auto; max-height: 8; border: round $primary; padding: 0 1; }
    #status { height: 1; padding: 0 1; color: $text-muted; }
    Threads { align: center middle; }
    #threads { width: 90%; max-height: 80%; }
    .gone { display: none; }
    """
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c", "break", "Cancel, leave", priority=True, show=False),
        Binding("escape", "cancel", "Cancel", show=False),
        Binding("pageup", "page(-1)", "Up", show=False),
        Binding("pagedown", "page(1)", "Down", show=False),
    ]

    def __init__(self, client: Client, thread: str, choice: Choice) -> None:
        super().__init__()
        self._client = client
        self._choice = choice
        self._changed = asyncio.Event()
        self._following: Worker[None] | None = None
        self._wants_to_leave = False
        self._card: Card | None = None
        self._draft = ""
        # Held, not looked for: another screen may lie above theirs, or theirs be taken down.
        self._talk = VerticalScroll(id="talk", can_focus=False)
        self._asking = VerticalScroll(id="card", classes="gone")
        self._prompt = Prompt()
        self._line = {name: Static("", id=name, classes="gone", markup=False) for name in LINES}
        self.session = Session(client, thread, choice, on_change=self._changed.set)

    def compose(self) -> ComposeResult:
        """Lay out: the talk, what is asked, what waits, the prompt, how things stand."""
        with self._talk:
            yield self._line["earlier"]
        with self._asking:
            for name in ("card-title", "card-body", "card-hint"):
                yield self._line[name]
        yield self._line["waiting"]
        yield self._line["notice"]
        yield self._prompt
        yield self._line["status"]

    def on_mount(self) -> None:
        """Begin to follow."""
        self._talk.anchor()
        self._prompt.focus()
        self._following = self.run_worker(self.session.run(), name="follow")
        self.run_worker(self._draw_for_ever(), name="draw")
        self._changed.set()

    async def on_prompt_submitted(self, event: Prompt.Submitted) -> None:
        """Take what was typed: a command, a decision, or a message."""
        line = parse(event.text)
        if line.command:
            self._clear()
            await self._command(line)
        elif self._card is not None and self.session.asked == self._card.interaction and not event.interrupts:
            resolution = self._card.resolution(event.text)
            if resolution is None:
                self._say(f"Answer with {self._card.hint}; or /instead and a message.")
            else:
                self._clear()
                self.run_worker(self.session.resolve(resolution))
        elif line.text:
            self._clear()
            self._send(line.text, interrupts=event.interrupts)

    async def action_break(self) -> None:
        """Cancel what goes on; once more, or where nothing does, leave."""
        if selected := self.screen.get_selected_text():
            self.copy_to_clipboard(selected)
            self.screen.clear_selection()
        elif self.session.is_busy and not self._wants_to_leave:
            self._wants_to_leave = True
            self.action_cancel()
            self._say("Cancelling. Ctrl-C again leaves, and the run goes on until it has ended.")
        elif not self.session.is_busy and self._prompt.text:
            self._clear()
        else:
            self.exit()

    def action_cancel(self) -> None:
        """Cancel what goes on."""
        self.session.cancel()

    def action_page(self, pages: int) -> None:
        """Read what was said before."""
        if pages < 0:
            self._talk.scroll_page_up()
        else:
            self._talk.scroll_page_down()

    async def open(self, thread: str) -> None:
        """Show another conversation."""
        if self._following is not None:
            self._following.cancel()
        for view in self._talk.query(MessageView):
            await view.remove()
        self._draft = ""
        self.session = Session(self._client, thread, replace(self._choice, files=()), on_change=self._changed.set)
        self._following = self.run_worker(self.session.run(), name="follow")
        self._changed.set()

    async def _command(self, line: Line) -> None:
        match line.command:
            case "threads":
                self.run_worker(self._choose_thread())
            case "new":
                await self.open(f"thr_{uuid.uuid4().hex}")
            case "open" if is_id(line.text):
                await self.open(line.text)
            case "interrupt" | "instead" if line.text:
                self._send(line.text, interrupts=True)
            case "cancel":
                self.action_cancel()
            case "back":
                self.run_worker(self._take_back())
            case "file":
                self._attach_file(Path(line.text))
            case "quit":
                self.exit()
            case _:
                self._say(help_text())

    def _attach_file(self, path: Path) -> None:
        if path.expanduser().is_file():
            self.session.files.append(path.expanduser())
            self._changed.set()
        else:
            self._say(f"There is no file {path}.")

    def _send(self, text: str, *, interrupts: bool) -> None:
        self._wants_to_leave = False
        self._talk.anchor()
        self.run_worker(self._sent(text, interrupts=interrupts))

    async def _sent(self, text: str, *, interrupts: bool) -> None:
        accepted = await self.session.send(text, on_conflict="interrupt" if interrupts else "queue")
        if not accepted and not self._prompt.text:
            self._type(text)

    async def _take_back(self) -> None:
        text = await self.session.take_back()
        if text is not None and not self._prompt.text:
            self._type(text)

    async def _choose_thread(self) -> None:
        try:
            threads = await self._client.threads(limit=THREADS)
        except ClientError as error:
            self._say(f"The conversations can't be listed: {error}")
            return
        chosen = await self.push_screen_wait(Threads(threads)) if threads else None
        if chosen is not None:
            await self.open(chosen)
        elif not threads:
            self._say("There are no conversations yet.")

    async def _draw_for_ever(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            with suppress(MountError):  # the screen is being taken down
                await self._draw()
            await asyncio.sleep(FRAME_S)

    async def _draw(self) -> None:
        session = self.session
        if not session.is_busy:
            self._wants_to_leave = False
        await self._draw_talk()
        self._draw_card()
        waiting = [f"sending: {short(printable(message.text))}" for message in session.sending]
        waiting += [f"queued: {short(printable(queued.message.text))}" for queued in session.queue]
        waiting += [f"to be attached: {printable(str(path))}" for path in session.files]
        self._put("waiting", "\n".join(waiting))
        self._put("notice", printable(session.notice))
        self._put("status", printable(f"{short(session.title) or session.thread}  ·  {session.standing}"))

    async def _draw_talk(self) -> None:
        known = self.session.conversation
        messages = known.messages
        hidden = max(0, len(messages) - SHOWN_MESSAGES)
        is_new = not messages and not self.session.sending and self.session.lost is None
        earlier = f"… {hidden} earlier messages are not shown." if hidden else ""
        self._put("earlier", GREETING if is_new else earlier)
        messages = messages[hidden:]
        ids = [message.id for message in messages]
        views = [view for view in self._talk.query(MessageView) if view.message_id in ids]
        if [view.message_id for view in views] != ids[: len(views)]:
            views = []
        for view in self._talk.query(MessageView):
            if view not in views:
                await view.remove()
        for message in messages[len(views) :]:
            view = MessageView(message.id)
            await self._talk.mount(view)
            views.append(view)
        for view, message in zip(views, messages, strict=True):
            await view.show(message, known.ends.get(message.id))

    def _draw_card(self) -> None:
        asked = self.session.asked
        before = None if self._card is None else self._card.interaction
        if asked == before:
            return
        if before is None:
            # What was being typed is a message, and must not become the answer to what is asked now.
            self._draft = self._prompt.text
        if asked is None:
            self._card = None
            self._type(self._draft)
        else:
            self._card = card(asked, next(iter(reversed(self.session.conversation.messages)), None))
            self._put("card-title", self._card.title)
            self._put("card-body", self._card.body)
            self._put("card-hint", f"Answer below: {self._card.hint}.")
            self._clear()
        self._asking.set_class(asked is None, "gone")

    def _put(self, name: str, text: str) -> None:
        widget = self._line[name]
        if widget.content != text:
            widget.update(text)
        widget.set_class(not text, "gone")

    def _say(self, text: str) -> None:
        self.session.notice = text
        self._changed.set()

    def _clear(self) -> None:
        self._type("")
        self._say("")

    def _type(self, text: str) -> None:
        self._prompt.text = text
        self._prompt.move_cursor(self._prompt.document.end)
