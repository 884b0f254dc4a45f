"""The model that needs no key and no network: it streams what its script says, word by word."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic_ai import RunContext
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import ModelMessage, ModelResponse, ModelResponseStreamEvent
from pydantic_ai.models import Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import RequestUsage

from decopilot_runner.default_agent.demo_script import NAME, Call, Script, Silence, Thought, script

BREATH = 16  # deltas without a delay between two turns of the event loop: heartbeats have to run


class DemoModel(Model):
    """Streams what `script` says, `delay_ms` between two deltas. Tokens are words."""

    def __init__(self, delay_ms: int = 20) -> None:
        super().__init__()
        self._delay_ms = delay_ms

    @property
    def model_name(self) -> str:
        """Its name."""
        return NAME

    @property
    def system(self) -> str:
        """Its provider."""
        return "decopilot"

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """Give the whole answer at once."""
        async with self.request_stream(messages, model_settings, model_request_parameters) as response:
            async for _ in response:
                pass
            return response.get()

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        """Stream the answer."""
        words = sum(_words_of(getattr(part, "content", "")) for message in messages for part in message.parts)
        settings, parameters = self.prepare_request(model_settings, model_request_parameters)
        choice = (settings or {}).get("tool_choice")
        play = script(
            messages,
            None if run_context is None else run_context.run_id,
            tools={tool.name for tool in parameters.function_tools},
            must_call=choice[0] if isinstance(choice, list) and choice else None,
        )
        delay_ms = self._delay_ms if play.delay_ms is None else play.delay_ms
        yield DemoResponse(parameters, script=play, delay_ms=delay_ms, words=words)


def _words_of(content: object) -> int:
    if isinstance(content, list):
        return sum(_words_of(item) for item in content if isinstance(item, str))
    return len(str(content).split())


@dataclass
class DemoResponse(StreamedResponse):
    """Plays a script; every delta of it is an event of its own."""

    _: KW_ONLY
    script: Script
    delay_ms: int
    words: int
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    async def _get_event_iterator(self) -> AsyncIterator[ModelResponseStreamEvent]:
        self._usage = RequestUsage(input_tokens=self.words)
        clock = asyncio.get_running_loop().time
        due = clock()
        for number, delta in enumerate(self.script.deltas):
            if self.delay_ms:
                # As a model does, it speaks at its own pace, however long each word takes to be dealt with.
                due += self.delay_ms / 1000
                await asyncio.sleep(due - clock())
            elif number % BREATH == 0:
                await asyncio.sleep(0)
            if isinstance(delta, ModelHTTPError):
                raise delta
            if isinstance(delta, Silence):
                await asyncio.Event().wait()
                return
            self._usage.output_tokens += 1
            for event in self._events(delta):
                yield event
        self.finish_reason = self.script.finish_reason

    def _events(self, delta: str | Thought | Call) -> Iterable[ModelResponseStreamEvent]:
        if isinstance(delta, str):
            return self._parts_manager.handle_text_delta(vendor_part_id="text", content=delta)
        if isinstance(delta, Thought):
            return self._parts_manager.handle_thinking_delta(vendor_part_id="thought", content=delta.text)
        return self._parts_manager.handle_tool_call_delta_events(
            vendor_part_id=delta.call_id, tool_name=delta.tool, args=delta.args, tool_call_id=delta.call_id
        )

    async def close_stream(self) -> None:
        """Close nothing: there is no connection."""

    @property
    def model_name(self) -> str:
        """Its model's name."""
        return NAME

    @property
    def provider_name(self) -> None:
        """It has no provider."""

    @property
    def provider_url(self) -> None:
        """It has no provider."""

    @property
    def timestamp(self) -> datetime:
        """When it began."""
        return self.started
