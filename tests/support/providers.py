"""The default agent's loop over a fake provider, as the configuration of an operator has it."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from pydantic_ai import Agent as PydanticAgent
from pydantic_ai import Tool

from decopilot.agent import Agent
from decopilot.contracts.configuration import Configuration
from decopilot_runner.default_agent import adapt
from decopilot_runner.default_agent.models import Models
from support.fake_anthropic import FakeAnthropic
from support.fake_openai import FakeChat, FakeOpenAI
from support.fake_provider import FakeProvider

THINKS = {"anthropic_thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 4096}
KINDS = ("openai", "openai-chat", "anthropic")
_FAKES: dict[str, tuple[type[FakeProvider], str, str, dict[str, Any]]] = {
    "openai": (FakeOpenAI, "/v1", "gpt-5", {}),
    "openai-chat": (FakeChat, "/v1", "qwen3", {}),
    "anthropic": (FakeAnthropic, "", "claude-haiku-4-5", THINKS),
}


@dataclass
class Rig:
    """A fake provider, and models that are asked of it."""

    fake: FakeProvider
    configuration: Configuration
    models: Models

    def agent(self, *tools: Tool[Any]) -> Agent:
        """Make an agent with these tools."""
        return adapt(PydanticAgent[None, str](tools=tools or [LOOK]), self.models)


async def look(place: str) -> str:
    return f"{place}: sun"


LOOK = Tool(look)


def configured(kind: str, fake: FakeProvider, settings: dict[str, Any] | None = None) -> Configuration:
    """Make the configuration that has a provider's API at the fake's address."""
    _, path, model, usual = _FAKES[kind]
    entry = {"model": f"fake:{model}", "settings": usual if settings is None else settings}
    provider = {"type": kind, "base_url": fake.base_url + path}
    return Configuration.model_validate({"tiers": {"smart": entry}, "providers": {"fake": provider}})


@asynccontextmanager
async def rig(kind: str, settings: dict[str, Any] | None = None) -> AsyncIterator[Rig]:
    """Serve a fake of this kind."""
    async with _FAKES[kind][0]().serving() as fake:
        configuration = configured(kind, fake, settings)
        models = Models(configuration)
        try:
            yield Rig(fake, configuration, models)
        finally:
            await models.close()


def file_of(configuration: Configuration) -> str:
    """Write a configuration as its file; TOML takes JSON's texts, numbers and lists as they are."""
    told = configuration.model_dump(mode="json", exclude_defaults=True)
    return "".join(
        f"[{table}.{name}]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in entry.items())
        for table, entries in told.items()
        for name, entry in entries.items()
    )


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + "}"
    return json.dumps(value)


def roles(body: dict[str, Any]) -> Sequence[str]:
    """Tell what a request held, item by item, whoever's API it is."""
    told: list[str] = []
    for item in body.get("messages") or body["input"]:
        if item.get("type") in {"function_call", "function_call_output", "reasoning"}:
            told.append(
                {"function_call": "call", "function_call_output": "result", "reasoning": "thought"}[item["type"]]
            )
            continue
        content = item.get("content")
        if item.get("reasoning_content") or item.get("reasoning"):
            told.append("thought")
        blocks = [{"type": "text"}] if isinstance(content, str) else content or []
        names = {"tool_use": "call", "tool_result": "result", "thinking": "thought", "redacted_thinking": "thought"}
        told += [names.get(block["type"], item["role"]) for block in blocks if item["role"] != "tool"]
        told += ["result"] if item["role"] == "tool" else []
        told += ["call" for _ in item.get("tool_calls") or ()]
    return told
