"""The widgets of the chat. Nothing here reads markup: what is shown comes from models, tools and other people."""

from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.events import Key
from textual.message import Message
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Markdown, OptionList, Static, TextArea
from textual.widgets.option_list import Option

from decopilot.cli.chat.showing import Shown, pieces
from decopilot.cli.printing import printable, short
from decopilot.client import RunEnd, ThreadSummary, UIMessage


class MessageView(Vertical):
    """One message; what changed of it is changed here, so that a growing answer does not flicker."""

    def __init__(self, message_id: str) -> None:
        super().__init__()
        self.message_id = message_id
        self._message: UIMessage | None = None
        self._end: RunEnd | None = None
        self._shown: list[Shown] = []

    async def show(self, message: UIMessage, end: RunEnd | None) -> None:
        """Show it as it is now."""
        if message is self._message and end == self._end:
            return
        self._message, self._end = message, end
        wanted = list(pieces(message, end))
        for place, shown in enumerate(wanted):
            if place < len(self._shown) and self._shown[place].kind == shown.kind:
                await self._change(place, shown)
            else:
                await self._cut(place)
                await self.mount(_widget(shown))
                self._shown.append(shown)
        await self._cut(len(wanted))

    async def _cut(self, place: int) -> None:
        if place < len(self._shown):
            await self.remove_children(list(self.children)[place:])
            del self._shown[place:]

    async def _change(self, place: int, shown: Shown) -> None:
        before, self._shown[place] = self._shown[place], shown
        if before == shown:
            return
        widget = self.children[place]
        if isinstance(widget, Markdown) and shown.text.startswith(before.text):
            await widget.append(shown.text[len(before.text) :])
        elif isinstance(widget, Markdown):
            await widget.update(shown.text)
        elif isinstance(widget, Static):
            widget.update(_line(shown))


def _widget(shown: Shown) -> Widget:
    if shown.kind == "markdown":
        # A link is shown and not opened: where it leads, its text does not say.
        return Markdown(shown.text, open_links=False, classes="markdown")
    return Static(_line(shown), markup=False, classes=shown.kind)


def _line(shown: Shown) -> str:
    return f"> {shown.text}" if shown.kind == "question" else shown.text


class Prompt(TextArea):
    """Where the user types; Enter sends, Ctrl-J begins a new line."""

    class Submitted(Message):
        """The user has typed something, and wants it taken; with `interrupts` at once."""

        def __init__(self, text: str, *, interrupts: bool = False) -> None:
            super().__init__()
            self.text, self.interrupts = text, interrupts

    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+o", "interrupt", "Send at once", show=False)]

    def __init__(self) -> None:
        super().__init__(id="prompt", show_line_numbers=False, soft_wrap=True, tab_behavior="focus", compact=True)

    async def _on_key(self, event: Key) -> None:
        if event.key == "enter":
            event.stop()
            event.prevent_default()
            self.post_message(self.Submitted(self.text))
        elif event.key == "ctrl+j":
            event.stop()
            event.prevent_default()
            self.insert("\n")
        else:
            await super()._on_key(event)

    def action_interrupt(self) -> None:
        """Have what was typed taken at once."""
        self.post_message(self.Submitted(self.text, interrupts=True))


class Threads(ModalScreen[str | None]):
    """Lists conversations; ends with the id of the one to open."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Close", show=False)]

    def __init__(self, threads: Sequence[ThreadSummary]) -> None:
        super().__init__()
        self._threads = threads

    def compose(self) -> ComposeResult:
        """Show them, the one that changed last first."""
        yield OptionList(*self._options(), id="threads")

    def on_mount(self) -> None:
        """Begin with the first."""
        self.query_one(OptionList).highlighted = 0

    def _options(self) -> Iterable[Option]:
        for thread in self._threads:
            told = f"{short(printable(thread.title))}  ({thread.status.replace('_', ' ')}, {thread.id})"
            yield Option(Content(told), id=thread.id)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """End with the one that was chosen."""
        self.dismiss(event.option.id)
