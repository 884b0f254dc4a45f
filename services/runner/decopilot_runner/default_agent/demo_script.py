"""What the demo model says: to the same conversation always the same.

A directive stands at the start of the user's message, alone in its line; one that is not well-formed is answered with
its form, and every other text as a text.
What is next is read from the messages since then, so that an answer can be gone on with wherever it was cut.
"""

import hashlib
import json
import re
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from pydantic_ai.exceptions import ModelHTTPError, ModelUnavailableError
from pydantic_ai.messages import (
    BinaryContent,
    FinishReason,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    ToolReturnPart,
    UserPromptPart,
)

from decopilot_runner.default_agent.demo_tools import Notebook, get_weather, take_time
from decopilot_runner.default_agent.history import ATTACHED
from decopilot_runner.default_agent.modes import SUBTASK, WEB_SEARCH
from decopilot_runner.default_agent.naming import CLOSE, NAMING, OPEN
from decopilot_runner.default_agent.tools import propose_plan, user_ask

NAME = "demo"
COUNT_MAX = 100_000
DELAY_MAX_MS = 60_000
STEPS_MAX = 29  # with the summary as many as an answer has
SLEEP_MAX_S = 3600.0
QUOTE_MAX = 200
TITLE_WORDS = 6
CITIES = ("Oslo", "Lisbon", "Nairobi", "Lima", "Osaka", "Perth", "Quito")


class Thought(NamedTuple):
    """A delta of reasoning."""

    text: str


class Call(NamedTuple):
    """A delta of a tool's input."""

    call_id: str
    tool: str | None
    args: str


class Silence(NamedTuple):
    """From here on the model says nothing, and does not end either."""


Delta = str | Thought | Call | Silence | ModelHTTPError


@dataclass(frozen=True, slots=True)
class Script:
    """What the model does in one step; an error among the deltas is raised. `delay_ms` None is the model's own."""

    deltas: Iterable[Delta]
    finish_reason: FinishReason = "stop"
    delay_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """What came since the user's message: the outputs of calls. `call` is the id of the next one."""

    text: str
    returns: Sequence[ToolReturnPart]
    call: str
    files: Sequence[str] = ()
    tools: Collection[str] | None = None


def script(
    messages: Sequence[ModelMessage],
    run_id: str | None = None,
    *,
    tools: Collection[str] | None = None,
    must_call: str | None = None,
) -> Script:
    """Tell what is to be done next: follow a directive, go on with it, or answer a text.

    Ids of calls are the same whenever the same run is at the same step, and different for all others. It calls one of
    the `tools` only (None: any); of those that it may be forced to call it knows `web_search`.
    """
    turn = replace(_turn(messages, run_id), tools=tools)
    if any(isinstance(message, ModelRequest) and message.instructions == NAMING for message in messages):
        return Script(_words(_title(turn.text)))
    if must_call == WEB_SEARCH:
        return _call(turn, WEB_SEARCH, {"query": turn.text})
    if turn.returns and turn.returns[-1].tool_name == WEB_SEARCH:
        return _found(turn)
    line = turn.text.partition("\n")[0].strip()
    name = line.partition(" ")[0]
    if (directive := _DIRECTIVES.get(name)) is not None:
        if match := re.fullmatch(directive.arguments, line.removeprefix(name)):
            return directive.follow(match, turn)
        return Script(_words(f"That is not how this directive is written. Its form: {directive.form}"))
    return Script(_words(_answer(turn.text, turn.files)))


def _turn(messages: Sequence[ModelMessage], run_id: str | None) -> Turn:
    text, files, returns, responses = "", list[str](), list[ToolReturnPart](), 0
    for message in messages:
        responses += isinstance(message, ModelResponse)
        for part in message.parts:
            if isinstance(part, UserPromptPart):
                # An output that stands before is of an earlier run, which may have ended before it was reported.
                (text, files), returns, responses = _said(part), [], 0
            elif isinstance(part, ToolReturnPart):
                returns.append(part)
    # Short, because histories outlive their model, and others have limits.
    run = hashlib.blake2s((run_id or "").encode(), digest_size=6).hexdigest()
    return Turn(text, returns, f"call_{run}_{responses + 1}", files)


def _said(part: UserPromptPart) -> tuple[str, list[str]]:
    """Take the text out of what a user said, and what is to be told of the files."""
    content = [part.content] if isinstance(part.content, str) else list(part.content)
    text, files = "", list[str]()
    for item in content:
        if isinstance(item, BinaryContent):
            files.append(f"I got a file of **{len(item.data)}** bytes, `{item.media_type}`.")
        elif not isinstance(item, str):
            continue
        elif not item.startswith(ATTACHED):
            text = item.strip()
        elif "\n" in item:
            files.append(f"I got a text of **{len(item.partition(chr(10))[2])}** characters.")
    return text, files


def _count(match: re.Match[str], _turn: Turn) -> Script:
    last, delay_ms = min(int(match["last"]), COUNT_MAX), match["delay"]
    numbers = (str(number) if number == 1 else f" {number}" for number in range(1, last + 1))
    return Script(numbers, delay_ms=None if delay_ms is None else min(int(delay_ms), DELAY_MAX_MS))


def _think(match: re.Match[str], _turn: Turn) -> Script:
    about = _quote(match["about"] or "this")
    thoughts = f"The user wants me to think about {about}. I look at it from two sides, and then I decide."
    answer = f"I have thought about {about}: there are **two sides** to it."
    return Script([*map(Thought, _words(thoughts)), *_words(answer)])


def _weather(match: re.Match[str], turn: Turn) -> Script:
    if turn.returns:
        return Script(_words(_weather_report(turn.returns[-1])))
    return _call(turn, get_weather.__name__, {"city": match["city"]})


def _note(match: re.Match[str], turn: Turn) -> Script:
    if turn.returns:
        return _report(turn, f"I have noted {_quote(match['text'])}.", "Nothing was noted.")
    return _call(turn, Notebook.note.__name__, {"text": match["text"]})


def _delete(match: re.Match[str], turn: Turn) -> Script:
    if turn.returns:
        return _report(turn, f"I have deleted {_quote(match['name'])}.", "Nothing was deleted.")
    return _call(turn, Notebook.delete_note.__name__, {"name": match["name"]})


def _sleep(match: re.Match[str], turn: Turn) -> Script:
    seconds = min(float(match["seconds"]), SLEEP_MAX_S)
    if turn.returns:
        return _report(turn, f"The tool took {seconds:g} s.", "The tool did not finish.")
    return _call(turn, take_time.__name__, {"seconds": seconds})


def _ask(match: re.Match[str], turn: Turn) -> Script:
    if turn.returns:
        content = turn.returns[-1].content
        told = content.get("response", content) if isinstance(content, dict) else content
        answer = told if isinstance(told, str) else json.dumps(told, ensure_ascii=False, default=str)
        return _report(turn, f"You answered: {_quote(answer)}", "You did not answer.")
    return _call(turn, user_ask.__name__, {"prompt": match["question"], "type": "text"})


def _plan(match: re.Match[str], turn: Turn) -> Script:
    text, returned = match["text"], {part.tool_name: part for part in turn.returns}
    if (proposed := returned.get(propose_plan.__name__)) is None:
        return _call(turn, propose_plan.__name__, {"plan": f"1. Note: {text}"})
    if not (isinstance(proposed.content, dict) and proposed.content.get("approved") is True):
        return Script(_words("The plan was not approved, and nothing was done."))
    if Notebook.note.__name__ not in returned:
        return _call(turn, Notebook.note.__name__, {"text": text}, "The plan was approved.")
    return _report(turn, f"As planned, I have noted {_quote(text)}.", "The plan could not be carried out.")


def _subtask(match: re.Match[str], turn: Turn) -> Script:
    if turn.returns:
        result = f"The subtask says: {_quote(str(turn.returns[-1].content))}"
        return _report(turn, result, "The subtask was not done.")
    return _call(turn, SUBTASK, {"prompt": match["text"]})


def _search(match: re.Match[str], turn: Turn) -> Script:
    return _call(turn, WEB_SEARCH, {"query": match["query"]})


def _found(turn: Turn) -> Script:
    found = turn.returns[-1].content
    sources = found.get("sources") if isinstance(found, dict) else None
    titles = [_quote(str(source.get("title"))) for source in sources or []]
    return _report(turn, f"I found {len(titles)}: {', '.join(titles) or 'nothing'}.", "The web could not be searched.")


def _steps(match: re.Match[str], turn: Turn) -> Script:
    count, note, number = min(int(match["count"]), STEPS_MAX), match["note"], len(turn.returns) + 1
    if number > count:
        done = sum(returned.outcome == "success" for returned in turn.returns)
        steps = "That was 1 step" if count == 1 else f"Those were {count} steps"
        calls = "1 call was" if done == 1 else f"{done} calls were"
        return Script(_words(f"{steps}: {calls} done, {count - done} were not."))
    if note:
        tool, args, about = Notebook.note.__name__, {"text": f"{note} {number}"}, f"I note {_quote(note)}"
    else:
        city = CITIES[(number - 1) % len(CITIES)]
        tool, args, about = get_weather.__name__, {"city": city}, f"I look at {city}"
    return _call(turn, tool, args, f"Step {number} of {count}: {about}.")


def _tool(match: re.Match[str], turn: Turn) -> Script:
    tool, args = match["tool"], match["args"] or "{}"
    if turn.returns:
        returned = turn.returns[-1]
        told = returned.model_response_str(wrap_if_error=False)
        done = f"The tool {_quote(tool)} gave: {_quote(told)}"
        return _report(turn, done, f"The tool {_quote(tool)} gave nothing: {_quote(told)}")
    try:
        parsed = json.loads(args)
    except (ValueError, RecursionError):
        return Script(_words("The arguments are no JSON object."))
    return _call(turn, tool, parsed)


def _hang(_match: re.Match[str], _turn: Turn) -> Script:
    return Script([*_words("I say a few words and then"), Silence()])


def _call(turn: Turn, tool: str, args: Mapping[str, object], ahead: str = "") -> Script:
    if turn.tools is not None and tool not in turn.tools:
        return Script(_words(f"I have no tool `{tool}` here."))
    typed = json.dumps(args, ensure_ascii=False)
    pieces = [typed[start : start + 6] for start in range(0, len(typed), 6)]
    # The name comes with the first piece only: pydantic-ai strings names together, as it does arguments.
    calls = [Call(turn.call, None if n else tool, piece) for n, piece in enumerate(pieces)]
    return Script([*_words(ahead), *calls], "tool_call")


def _report(turn: Turn, done: str, not_done: str) -> Script:
    return Script(_words(done if turn.returns[-1].outcome == "success" else not_done))


def _fail(match: re.Match[str], _turn: Turn) -> Script:
    spoken = min(int(match["after"] or 0), COUNT_MAX)

    def deltas() -> Iterator[Delta]:
        yield from ("word" if number == 0 else " word" for number in range(spoken))
        yield ModelHTTPError.for_category(ModelUnavailableError, status_code=503, model_name=NAME, body="as asked")

    return Script(deltas())


def _length(_match: re.Match[str], _turn: Turn) -> Script:
    return Script(_words("This answer ends in the middle of a sentence because the model"), "length")


class _Directive(NamedTuple):
    """What follows a directive's name as a pattern, the same in words, and what is done then."""

    arguments: str
    form: str
    follow: Callable[[re.Match[str], Turn], Script]


_DIRECTIVES = {
    "/count": _Directive(
        r" +(?P<last>0*[1-9][0-9]{0,17})(?: +(?P<delay>[0-9]{1,9}))?",
        f"`/count N [MS]`, N from 1 to {COUNT_MAX}, MS the pause in milliseconds, at most {DELAY_MAX_MS}.",
        _count,
    ),
    "/think": _Directive(r"(?: +(?:about|of)\b)?(?: +(?P<about>.+))?", "`/think [TEXT]`.", _think),
    "/weather": _Directive(r" +(?P<city>.{1,80})", "`/weather CITY`, CITY of at most 80 characters.", _weather),
    "/fail": _Directive(r"(?: +(?P<after>[0-9]{1,9}))?", "`/fail [AFTER]`, AFTER the number of chunks.", _fail),
    "/length": _Directive(r"", "`/length`, and nothing else in the line.", _length),
    "/note": _Directive(r" +(?P<text>.{1,200})", "`/note TEXT`, TEXT of at most 200 characters.", _note),
    "/delete": _Directive(r" +(?P<name>.{1,200})", "`/delete NAME`, NAME of at most 200 characters.", _delete),
    "/ask": _Directive(r" +(?P<question>.{1,200})", "`/ask QUESTION`, QUESTION of at most 200 characters.", _ask),
    "/plan": _Directive(r" +(?P<text>.{1,200})", "`/plan TEXT`, TEXT of at most 200 characters.", _plan),
    "/subtask": _Directive(r" +(?P<text>.{1,200})", "`/subtask TEXT`, TEXT of at most 200 characters.", _subtask),
    "/search": _Directive(r" +(?P<query>.{1,200})", "`/search QUERY`, QUERY of at most 200 characters.", _search),
    "/steps": _Directive(
        r" +(?P<count>0*[1-9][0-9]{0,3})(?: +/note +(?P<note>.{1,200}))?",
        f"`/steps N [/note TEXT]`, N from 1 to {STEPS_MAX}, TEXT of at most 200 characters.",
        _steps,
    ),
    "/slowtool": _Directive(
        r" +(?P<seconds>[0-9]{1,4}(?:\.[0-9]{1,3})?)",
        f"`/slowtool S`, S in seconds, at most {SLEEP_MAX_S:g}.",
        _sleep,
    ),
    "/tool": _Directive(
        r" +(?P<tool>[A-Za-z_][A-Za-z0-9_-]{0,63})(?: +(?P<args>\{.*\}))?",
        '`/tool NAME [JSON]`, NAME a tool of the agent, JSON its arguments: `/tool get_weather {"city": "Oslo"}`.',
        _tool,
    ),
    "/hang": _Directive(r"", "`/hang`, and nothing else in the line.", _hang),
}


def _weather_report(result: ToolReturnPart) -> str:
    weather = result.content
    if not isinstance(weather, dict) or "city" not in weather:
        return "The weather could not be found out."
    return f"In **{_quote(str(weather['city']))}** it is {weather['sky']}, {weather['temperature_c']} °C."


def _answer(text: str, files: Sequence[str]) -> str:
    words = len(text.split())
    got = "".join(f"- {file}\n" for file in files)
    return f"""\
You wrote:

> {_quote(text) or "nothing"}

I am the **demo** model and answer without a network. What I can tell about your text:

- It has **{words}** {"word" if words == 1 else "words"} and **{len(text)}** characters.
{got}- The same text always gets the same answer.
- A message that starts with `/count 20`, `/weather Oslo` or `/steps 3` makes me do more.

```python
print("{zlib.crc32(text.encode(errors="replace")):08x}")
```"""


def _title(asked: str) -> str:
    """Make a title of a message's first words; of a directive, its name is the first of them."""
    words = asked.removeprefix(OPEN).removesuffix(CLOSE).removeprefix("/").split()
    title = " ".join(words[:TITLE_WORDS])
    return title[:1].upper() + title[1:]


def _quote(text: str) -> str:
    """Make one line of text that is shown as it was written, whatever Markdown it holds."""
    # Without question marks: some readers of an answer take one for a question to the user.
    line = " ".join(text.replace("?", "").encode(errors="replace").decode().split())
    if len(line) > QUOTE_MAX:
        line = line[:QUOTE_MAX].rstrip() + "…"
    return re.sub(r"([\\`*_\[\]<>#|~&!])", r"\\\1", line)


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+", text)
