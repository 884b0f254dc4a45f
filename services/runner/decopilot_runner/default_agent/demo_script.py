"""What the demo model says: to the same conversation always the same.

A directive stands at the start of the user's message, alone in its line; what is not a well-formed one is plain text.
"""

import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pydantic_ai.exceptions import ModelHTTPError, ModelUnavailableError
from pydantic_ai.messages import FinishReason, ModelMessage, ModelRequest, ToolReturnPart, UserPromptPart

NAME = "demo"
COUNT_MAX = 100_000
DELAY_MAX_MS = 60_000
QUOTE_MAX = 200
SKIES = ("clear", "cloudy", "foggy", "rainy", "snowy", "stormy")


class Thought(NamedTuple):
    """A delta of reasoning."""

    text: str


class Call(NamedTuple):
    """A delta of a tool's input."""

    call_id: str
    tool: str | None
    args: str


Delta = str | Thought | Call | ModelHTTPError


@dataclass(frozen=True, slots=True)
class Script:
    """What the model does in one step; an error among the deltas is raised. `delay_ms` None is the model's own."""

    deltas: Iterable[Delta]
    finish_reason: FinishReason = "stop"
    delay_ms: int | None = None


def get_weather(city: str) -> dict[str, str | int]:
    """Tell the weather in a city (made up, and the same for ever)."""
    seed = zlib.crc32(city.casefold().encode(errors="replace"))
    return {"city": city, "sky": SKIES[seed % len(SKIES)], "temperature_c": seed // 7 % 45 - 10}


def script(messages: Sequence[ModelMessage]) -> Script:
    """Tell what is to be done next: report a tool's output, follow a directive, or answer a text."""
    for part in reversed(messages[-1].parts):
        # A tool's output that stands before a question is of an earlier run, which ended before it was reported.
        if isinstance(part, UserPromptPart):
            break
        if isinstance(part, ToolReturnPart):
            return Script(_words(_weather_report(part)))
    text = _question(messages)
    line = text.partition("\n")[0].strip()
    for pattern, follow in _DIRECTIVES:
        if match := re.fullmatch(pattern, line):
            return follow(match, len(messages))
    return Script(_words(_answer(text)))


def _question(messages: Sequence[ModelMessage]) -> str:
    for message in reversed(messages):
        if isinstance(message, ModelRequest):
            for part in reversed(message.parts):
                if isinstance(part, UserPromptPart) and isinstance(part.content, str):
                    return part.content.strip()
    return ""


def _count(match: re.Match[str], _turn: int) -> Script:
    last, delay_ms = min(int(match["last"]), COUNT_MAX), match["delay"]
    numbers = (str(number) if number == 1 else f" {number}" for number in range(1, last + 1))
    return Script(numbers, delay_ms=None if delay_ms is None else min(int(delay_ms), DELAY_MAX_MS))


def _think(match: re.Match[str], _turn: int) -> Script:
    about = _quote(match["about"] or "this")
    thoughts = f"The user wants me to think about {about}. I look at it from two sides, and then I decide."
    answer = f"I have thought about {about}: there are **two sides** to it."
    return Script([*map(Thought, _words(thoughts)), *_words(answer)])


def _weather(match: re.Match[str], turn: int) -> Script:
    args = json.dumps({"city": match["city"]}, ensure_ascii=False)
    call = f"call_{turn}"
    pieces = [args[start : start + 6] for start in range(0, len(args), 6)]
    # The name comes with the first piece only: pydantic-ai strings names together, as it does arguments.
    return Script(
        [Call(call, None if n else get_weather.__name__, piece) for n, piece in enumerate(pieces)], "tool_call"
    )


def _fail(match: re.Match[str], _turn: int) -> Script:
    spoken = min(int(match["after"] or 0), COUNT_MAX)

    def deltas() -> Iterator[Delta]:
        yield from ("word" if number == 0 else " word" for number in range(spoken))
        yield ModelHTTPError.for_category(ModelUnavailableError, status_code=503, model_name=NAME, body="as asked")

    return Script(deltas())


def _length(_match: re.Match[str], _turn: int) -> Script:
    return Script(_words("This answer ends in the middle of a sentence because the model"), "length")


_DIRECTIVES: tuple[tuple[str, Callable[[re.Match[str], int], Script]], ...] = (
    (r"/count +(?P<last>0*[1-9][0-9]{0,17})(?: +(?P<delay>[0-9]{1,9}))?", _count),
    (r"/think(?: +(?P<about>.+))?", _think),
    (r"/weather +(?P<city>.{1,80})", _weather),
    (r"/fail(?: +(?P<after>[0-9]{1,9}))?", _fail),
    (r"/length", _length),
)


def _weather_report(result: ToolReturnPart) -> str:
    weather = result.content
    if not isinstance(weather, dict) or "city" not in weather:
        return "The weather could not be found out."
    return f"In **{_quote(str(weather['city']))}** it is {weather['sky']}, {weather['temperature_c']} °C."


def _answer(text: str) -> str:
    words = len(text.split())
    return f"""\
You wrote:

> {_quote(text) or "nothing"}

I am the **demo** model and answer without a network. What I can tell about your text:

- It has **{words}** {"word" if words == 1 else "words"} and **{len(text)}** characters.
- The same text always gets the same answer.
- A message that starts with `/count 20` or `/weather Oslo` makes me do more.

```python
print("{zlib.crc32(text.encode(errors="replace")):08x}")
```"""


def _quote(text: str) -> str:
    """Make one line of text that is shown as it was written, whatever Markdown it holds."""
    # Without question marks: some readers of an answer take one for a question to the user.
    line = " ".join(text.replace("?", "").encode(errors="replace").decode().split())
    if len(line) > QUOTE_MAX:
        line = line[:QUOTE_MAX].rstrip() + "…"
    return re.sub(r"([\\`*_\[\]<>#|~&!])", r"\\\1", line)


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+", text)
