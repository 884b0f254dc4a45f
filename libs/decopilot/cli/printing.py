"""Printing an answer as it comes: its text on stdout, what happens besides on stderr.

A terminal shows text at once, and says so where some of it is taken back. A pipe gets text only once nothing can take
it back.
"""

import json
import os
from typing import Protocol, TextIO

import typer

from decopilot.contracts.chunks import MCP_UNAVAILABLE, RESET, RETRY, RUN, RUN_REWIND, Chunk
from decopilot.contracts.ids import MessageId
from decopilot.contracts.messages import UIMessage
from decopilot.domain.fold import Fold, FoldError
from decopilot.domain.resuming import is_cut

SHORT = 200
VOID = "Another attempt goes on with the answer: the end of what stands above is void."
_CONTROLS = (*range(32), *range(127, 160))
# What turns the direction of a text around makes a terminal show arguments that are others.
_DIRECTIONS = (*range(0x2028, 0x202F), *range(0x2066, 0x206A))
_UNPRINTABLE = {code: None for code in (*_CONTROLS, *_DIRECTIONS) if chr(code) not in "\n\t"}


def printable(text: str) -> str:
    """Return a text without control characters: whoever said it, a terminal shows it and obeys nothing in it."""
    return text.translate(_UNPRINTABLE)


class ReaderGoneError(Exception):
    """Nobody reads what is printed any more."""


class Paper:
    """Where is printed; a terminal gets no control characters, whatever a model says."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self.out_is_terminal = out.isatty()
        self._err_is_terminal = err.isatty()
        self._out, self._err = out, err
        self._at_line_start = True

    def text(self, text: str) -> None:
        """Print a piece of the answer; raises `ReaderGoneError`, as everything that prints does."""
        if text:
            _write(self._out, printable(text) if self.out_is_terminal else text)
            self._at_line_start = text.endswith("\n")

    def end_line(self) -> None:
        """Begin a new line, unless one has just begun."""
        if not self._at_line_start:
            self.text("\n")

    def note(self, text: str) -> None:
        """Say something about the answer, on a line of its own."""
        if self.out_is_terminal:
            self.end_line()
        plain = printable(text)
        _write(self._err, (typer.style(plain, dim=True) if self._err_is_terminal else plain) + "\n")

    def aside(self, text: str) -> None:
        """Say what only somebody who watches wants to know."""
        if self._err_is_terminal:
            self.note(text)


def _write(file: TextIO, text: str) -> None:
    try:
        file.write(text)
        file.flush()
    except BrokenPipeError as error:
        # Python would try once more to write what is left, and complain, when it ends.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, file.fileno())
        os.close(nowhere)
        raise ReaderGoneError from error


class Text(Protocol):
    """One way to print an answer's text."""

    def take(self, chunk: Chunk) -> None:
        """Take the run's next chunk."""

    def end(self, text: str) -> None:
        """Take the whole text, as it stands at the run's end."""


class LiveText:
    """For a terminal: each delta at once."""

    def __init__(self, paper: Paper) -> None:
        self._paper = paper
        self._shown: list[str] = []
        self._blocks = 0
        self._skip = 0
        self._step = ("", 0)

    def take(self, chunk: Chunk) -> None:
        """Show what the chunk adds."""
        match chunk["type"]:
            case "start":
                # Not the first one: behind a reset the run is told again from its beginning.
                self._skip, self._blocks = len("".join(self._shown)), 0
            case "text-start":
                if self._blocks:
                    self._say("\n")
                self._blocks += 1
            case "text-delta":
                self._say(chunk["delta"])
            case "start-step":
                self._step = ("".join(self._shown), self._blocks)
            case "reset-step":
                self._take_back(*self._step)
            case "data-run-rewind":
                message = UIMessage.model_validate(chunk["data"]["message"])
                self._take_back(message.text, sum(part.get("type") == "text" for part in message.parts))
            case _:
                pass

    def end(self, text: str) -> None:
        """Show what was not shown yet."""
        shown = "".join(self._shown)
        if not text.startswith(shown):
            self._paper.note("The answer as it stands:")
            shown = ""
        self._paper.text(text[len(shown) :])
        self._paper.end_line()

    def _say(self, text: str) -> None:
        skipped = min(self._skip, len(text))
        self._skip -= skipped
        if new := text[skipped:]:
            self._shown.append(new)
            if new == "\n":
                # A note may have ended the line already.
                self._paper.end_line()
            else:
                self._paper.text(new)

    def _take_back(self, kept: str, blocks: int) -> None:
        shown = "".join(self._shown)
        if kept.startswith(shown):
            self._paper.text(kept[len(shown) :])
        else:
            self._paper.note(VOID)
        self._shown, self._blocks, self._skip = [kept], blocks, 0


class SureText:
    """For a pipe: what no attempt and no retry of a step can take back any more."""

    def __init__(self, paper: Paper) -> None:
        self._paper = paper
        self._fold: Fold | None = None
        self._printed = ""

    def take(self, chunk: Chunk) -> None:
        """Print what the chunk makes sure."""
        kind = chunk["type"]
        if kind == RESET:
            self._fold = None
        elif kind == "start":
            self._fold = Fold(MessageId(chunk["messageId"]))
        elif kind == RUN_REWIND and self._fold is None:
            self._fold = Fold(MessageId(chunk["data"]["message"]["id"]))
        if self._fold is None:
            return
        try:
            self._fold.add(chunk)
        except FoldError:
            # The end brings the text whole.
            self._fold = None
            return
        # Of all cuts only the end of a step: before it, `reset-step` may still drop what the step said.
        if kind == "finish-step" and is_cut(chunk) and self._fold.is_settled:
            self._print(self._fold.message().text)

    def end(self, text: str) -> None:
        """Print what was not printed yet."""
        if not text.startswith(self._printed):
            self._paper.note("What was printed is not how the answer begins; it stands whole behind it.")
            self._paper.end_line()
            self._printed = ""
        self._print(text)
        self._paper.end_line()

    def _print(self, text: str) -> None:
        if text.startswith(self._printed):
            self._paper.text(text[len(self._printed) :])
            self._printed = text


class Asides:
    """What a run does besides talking, a line each."""

    def __init__(self, paper: Paper) -> None:
        self._paper = paper
        self._thoughts: dict[str, list[str]] = {}
        self._tools: dict[str, str] = {}

    def take(self, chunk: Chunk) -> None:
        """Say what the chunk tells."""
        kind: str = chunk["type"]
        if kind.startswith("reasoning-"):
            self._think(kind, chunk)
        elif kind.startswith("tool-"):
            self._use_tool(kind, chunk)
        elif kind == RUN and chunk["data"].get("attempt", 1) > 1:
            self._paper.aside(f"Attempt {chunk['data']['attempt']}")
        elif kind == RETRY:
            data = chunk["data"]
            self._paper.note(f"The model is asked again in {data['delayMs'] / 1000:.0f} s ({data['category']}).")
        elif kind == MCP_UNAVAILABLE:
            self._paper.note(short(chunk["data"]["text"]))
        elif kind == RESET:
            self._paper.aside("The stream has a hole; asking how the run stands.")

    def _think(self, kind: str, chunk: Chunk) -> None:
        if kind == "reasoning-delta":
            self._thoughts.setdefault(chunk["id"], []).append(chunk["delta"])
        elif kind == "reasoning-end" and (thought := "".join(self._thoughts.pop(chunk["id"], [])).strip()):
            self._paper.aside(thought)

    def _use_tool(self, kind: str, chunk: Chunk) -> None:
        call = str(chunk.get("toolCallId", ""))
        tool = self._tools.setdefault(call, str(chunk.get("toolName", "tool")))
        match kind:
            case "tool-input-available":
                self._paper.aside(f"{tool}({short(chunk['input'])})")
            case "tool-output-available":
                self._paper.aside(f"{tool} {'…' if chunk.get('preliminary') else '→'} {short(chunk['output'])}")
            case "tool-input-error" | "tool-output-error":
                self._paper.aside(f"{tool} failed: {short(chunk['errorText'])}")
            case "tool-output-denied":
                self._paper.aside(f"{tool} was denied")
            case _:
                pass


class Printer:
    """Prints one answer; `is_silent` leaves its text out, for whoever prints the result in another form."""

    def __init__(self, paper: Paper, *, is_silent: bool = False) -> None:
        self._asides = Asides(paper)
        live = LiveText if paper.out_is_terminal else SureText
        self._text: Text | None = None if is_silent else live(paper)

    def take(self, chunk: Chunk) -> None:
        """Take the run's next chunk."""
        self._asides.take(chunk)
        if self._text is not None:
            self._text.take(chunk)

    def end(self, message: UIMessage | None) -> None:
        """Take the message as the run left it."""
        if self._text is not None:
            self._text.end("" if message is None else message.text)


def short(value: object) -> str:
    """Show a value in one line of at most 200 characters."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    line = " ".join(text.split())
    return line if len(line) <= SHORT else line[: SHORT - 1] + "…"
