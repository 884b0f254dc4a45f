"""What `command` grants is within the configuration; what it granted before stays, whatever that has become."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from decopilot.contracts import subjects
from decopilot.contracts.commands import RESOLVE_INTERACTIONS, SEND_MESSAGE, Accepted, Refused, decode_reply
from decopilot.contracts.configuration import Configuration
from decopilot.contracts.events import RunRequested
from decopilot.contracts.messages import RunConfig
from decopilot.kit.settings import Settings
from decopilot_command.app import build
from support.brokers import as_user
from support.services import ORG, Record, again_told, running
from support.stack import free_port
from support.threads import Threads, approval

WHOLE: dict[str, Any] = {
    "tiers": {"fast": {"model": "openai:gpt-5-mini", "vision": False}},
    "agents": {"support": {"tier": "fast", "approval": "readonly"}},
}
"""Anybody may do anything."""
LESS: dict[str, Any] = {"roles": {"member": []}}
"""The agent is gone, and members may use no model."""
FILE = {"type": "file", "mediaType": "image/png", "url": "https://example.com/a.png"}


@asynccontextmanager
async def command(settings: Settings, configuration: dict[str, Any]) -> AsyncIterator[None]:
    port = free_port()
    told = as_user(settings.model_copy(update={"health_port": port}), "command")
    async with running(build(told, Configuration.model_validate(configuration)), port):
        yield


def request(number: int = 1, *parts: dict[str, Any], **config: object) -> dict[str, Any]:
    message = {"id": f"m{number}", "role": "user", "parts": [{"type": "text", "text": "Hello"}, *parts]}
    return {"org": ORG, "thread": "t1", "user": "ada", "role": "member", "message": message, "config": config}


async def ask(record: Record, body: dict[str, Any], name: str = SEND_MESSAGE) -> Accepted | Refused:
    reply = decode_reply((await record.store.nc.request(subjects.command(name), json.dumps(body).encode())).data)
    assert isinstance(reply, Accepted | Refused)
    return reply


async def test_a_run_is_recorded_with_what_its_agent_decided(settings: Settings, record: Record) -> None:
    async with command(settings, WHOLE):
        assert isinstance(await ask(record, request(agent_id="support")), Accepted)
    (requested,) = await record.events("t1")
    assert isinstance(requested.event, RunRequested)
    wanted = RunConfig(
        agent_id="support", tier="fast", model="openai:gpt-5-mini", role="member", tool_approval_level="readonly"
    )
    assert wanted == requested.event.config


@pytest.mark.parametrize(
    ("configuration", "body", "code"),
    [
        (WHOLE, request(agent_id="poet"), "agent_not_found"),
        (WHOLE, request(tier="image"), "tier_unavailable"),
        (WHOLE, request(mode="gen-image"), "tier_unavailable"),
        (WHOLE, request(1, FILE, agent_id="support"), "files_not_supported"),
        (LESS, request(), "model_not_allowed"),
    ],
)
async def test_what_the_configuration_does_not_allow_is_refused_and_changes_nothing(
    settings: Settings, record: Record, configuration: dict[str, Any], body: dict[str, Any], code: str
) -> None:
    async with command(settings, configuration):
        refused = await ask(record, body)
    assert isinstance(refused, Refused)
    assert code == refused.code
    assert [] == await record.events("t1")


async def test_a_message_that_was_accepted_stays_so_whatever_the_configuration_has_become(
    settings: Settings, record: Record
) -> None:
    async with command(settings, WHOLE):
        first = await ask(record, request(agent_id="support"))
    async with command(settings, LESS):
        assert again_told(first) == await ask(record, request(agent_id="support"))
        another = await ask(record, request(2, agent_id="support"))
        changed = await ask(record, request(1, FILE, agent_id="support"))
    assert isinstance(first, Accepted)
    assert isinstance(another, Refused)
    assert isinstance(changed, Refused)
    assert ("agent_not_found", "message_conflict") == (another.code, changed.code)
    assert 1 == len(await record.events("t1"))


async def test_an_answer_waits_for_a_configuration_that_lets_its_run_go_on(settings: Settings, record: Record) -> None:
    threads = Threads(record.journal, ORG)
    verdict = {"kind": "approval", "approval_id": "approval_1", "approved": True}
    answer = {"org": ORG, "thread": "t1", "user": "ada", "role": "member", "resolutions": [verdict]}
    async with command(settings, WHOLE):
        await ask(record, request(agent_id="support"))
        await threads.wait("t1", approval())
    async with command(settings, LESS):
        refused = await ask(record, answer, RESOLVE_INTERACTIONS)
    assert isinstance(refused, Refused)
    assert "agent_not_found" == refused.code
    assert (await threads.state("t1")).waiting is not None
    async with command(settings, WHOLE):
        granted = await ask(record, answer, RESOLVE_INTERACTIONS)
    async with command(settings, LESS):
        assert again_told(granted) == await ask(record, answer, RESOLVE_INTERACTIONS)
    assert isinstance(granted, Accepted)
