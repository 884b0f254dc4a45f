"""Files, as the default agent gives them to its model: from the store alone, the newest first, within a limit."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_ai.messages import BinaryContent, ModelMessage, ModelRequest, UserPromptPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from decopilot.agent import AgentRequest, File
from decopilot.contracts.configuration import Configuration
from decopilot.contracts.files import file_ref
from decopilot.contracts.ids import MessageId, OrgId, RunId, ThreadId
from decopilot.contracts.messages import RunConfig, UIMessage
from decopilot_runner.default_agent import adapt
from decopilot_runner.default_agent.answering import PydanticAgent
from decopilot_runner.default_agent.files import FILES_BYTES, TEXT_BYTES, read_attached
from decopilot_runner.default_agent.models import Models
from support.demo import demo_agent

URL = "/org/decopilot/threads/thread/files/"
PNG = b"\x89PNG"


def file(name: str, kind: str = "image/png") -> dict[str, str]:
    return {"type": "file", "url": URL + name, "mediaType": kind, "filename": name}


def message(*parts: Mapping[str, Any], text: str = "Look") -> UIMessage:
    return UIMessage(id=MessageId("m"), role="user", parts=[{"type": "text", "text": text}, *map(dict, parts)])


class Shelf:
    """Files by their urls, and which were asked for."""

    def __init__(self, **files: bytes) -> None:
        self._files = files
        self.asked: list[str] = []

    async def read(self, url: str, at_most_bytes: int) -> File | None:
        self.asked.append(url)
        data = self._files.get(url.removeprefix(URL))
        return None if data is None or len(data) > at_most_bytes else File(data, "unknown/unknown")


def request(shelf: Shelf, *history: UIMessage, **config: Any) -> AgentRequest:  # noqa: ANN401  of any field
    ids = OrgId("org"), ThreadId("thread"), RunId("run"), MessageId("answer")
    return AgentRequest(*ids, history=history, config=RunConfig(**config), read_file=shelf.read)


async def heard(shelf: Shelf, *history: UIMessage) -> list[object]:
    """Tell what a model hears of the users' messages."""
    found: list[object] = []

    async def model(messages: list[ModelMessage], _info: AgentInfo) -> Any:  # noqa: ANN401  a stream
        for one in messages:
            if isinstance(one, ModelRequest):
                found.extend(part.content for part in one.parts if isinstance(part, UserPromptPart))
        yield "seen"

    agent = adapt(PydanticAgent(FunctionModel(stream_function=model)))
    async for _ in agent(request(shelf, *history)):
        pass
    return found


async def test_a_model_is_given_images_and_documents_and_reads_texts() -> None:
    shelf = Shelf(cat=PNG, doc=b"%PDF", notes=b"# Notes", table=b"{}")
    given = (file("cat"), file("doc", "application/pdf"), file("notes", "text/markdown"), file("t", "application/zip"))
    assert [
        [
            "Look\n[The user attached t (application/zip), which you can't read.]",
            "[The user attached cat (image/png):]",
            BinaryContent(PNG, media_type="image/png"),
            "[The user attached doc (application/pdf):]",
            BinaryContent(b"%PDF", media_type="application/pdf"),
            "[The user attached notes (text/markdown):]\n# Notes",
        ]
    ] == await heard(shelf, message(*given))
    assert [URL + "cat", URL + "doc", URL + "notes"] == shelf.asked


async def test_files_earlier_in_the_history_are_given_again() -> None:
    answer = UIMessage(id=MessageId("a"), role="assistant", parts=[{"type": "text", "text": "A cat."}])
    first, second = await heard(Shelf(cat=PNG), message(file("cat")), answer, message(text="And its colour?"))
    assert isinstance(first, list)
    assert BinaryContent(PNG, media_type="image/png") == first[-1]
    assert "And its colour?" == second


async def test_what_is_gone_is_named() -> None:
    named = "Look\n[The user attached cat (image/png), which you can't read.]"
    assert [named] == await heard(Shelf(), message(file("cat")))


async def test_of_too_much_the_newest_is_given() -> None:
    half = bytes(FILES_BYTES // 2)
    shelf = Shelf(a=half, b=half, c=half, long=bytes(TEXT_BYTES + 1))
    history = [message(file("a")), message(file("b")), message(file("long", "text/plain")), message(file("c"))]
    assert {URL + "b", URL + "c"} == set(await read_attached(history, shelf.read, sees=True))


async def test_a_model_without_vision_reads_texts_only() -> None:
    shelf = Shelf(cat=PNG, notes=b"# Notes")
    history = [message(file("cat"), file("notes", "text/markdown"))]
    assert {URL + "notes": "# Notes"} == await read_attached(history, shelf.read, sees=False)
    assert [URL + "notes"] == shelf.asked


@pytest.mark.parametrize(
    ("config", "sees"),
    [
        ({"tier": "smart"}, True),
        ({"tier": "fast"}, False),
        ({"tier": "smart", "model": "test:blind"}, False),
        ({"tier": "fast", "model": "test:elsewhere"}, True),
    ],
)
def test_a_model_sees_what_its_tier_says(config: dict[str, Any], sees: bool) -> None:  # noqa: FBT001
    configuration = Configuration.model_validate({"tiers": {"fast": {"model": "test:blind", "vision": False}}})
    assert sees == Models(configuration).sees(RunConfig(**config))


async def test_the_demo_model_tells_what_it_got() -> None:
    shelf = Shelf(cat=bytes(1234), notes=b"# Notes")
    asked = message(file("cat"), file("notes", "text/markdown"), text="Hello there")
    chunks = [chunk async for chunk in demo_agent(delay_ms=0)(request(shelf, asked))]
    text = "".join(chunk["delta"] for chunk in chunks if chunk["type"] == "text-delta")
    assert "> Hello there\n" in text
    assert "I got a file of **1234** bytes, `image/png`." in text
    assert "I got a text of **7** characters." in text


async def test_the_demo_model_follows_directives_that_come_with_files() -> None:
    asked = request(Shelf(cat=PNG), message(file("cat"), text="/count 2"))
    chunks = [chunk async for chunk in demo_agent(delay_ms=0)(asked)]
    assert "1 2" == "".join(chunk["delta"] for chunk in chunks if chunk["type"] == "text-delta")


@given(st.one_of(st.text(), st.from_regex(r"(https?:)?//\w+/org/decopilot/threads/t/files/f", fullmatch=True)))
def test_no_address_on_another_host_is_a_file_of_ours(url: str) -> None:
    assert file_ref(url) is None
    assert file_ref(f"/chat{URL}f?a=b") == ("org", "thread", "f")
