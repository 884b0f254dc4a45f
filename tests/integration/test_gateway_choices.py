"""What a caller may choose from, told by a gateway and checked by `command` over one configuration."""

from typing import Any

import aiohttp
import pytest

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts.configuration import Configuration
from decopilot.kit.settings import Settings
from decopilot_command.app import build
from support.brokers import as_user
from support.gateways import ORG, Gateway, make_token, running_gateway
from support.services import running
from support.stack import free_port

pytestmark = pytest.mark.usefixtures("store")

CONFIGURATION = Configuration.model_validate(
    {
        "model": "openai:gpt-5",
        "tiers": {"fast": {"model": "anthropic:haiku", "title": "Quick", "vision": False}},
        "agents": {
            "support": {"title": "Support", "description": "Knows the orders.", "tier": "fast", "approval": "readonly"}
        },
        "roles": {"member": ["anthropic:*", "openai:gpt-4", "demo"], "viewer": []},
    }
)
GPT = {"title": "openai:gpt-5", "model": "openai:gpt-5", "vision": True}
HAIKU = {"title": "Quick", "model": "anthropic:haiku", "vision": False}


async def get(gateway: Gateway, path: str, role: str) -> Any:  # noqa: ANN401
    headers = {"Authorization": f"Bearer {make_token(orgs={ORG: role})}"}
    async with aiohttp.ClientSession(headers=headers) as session, session.get(f"{gateway.url}/{ORG}/{path}") as got:
        assert got.status == 200
        return await got.json()


async def test_everybody_is_told_what_their_role_may_use(own_broker: EmbeddedBroker) -> None:
    async with running_gateway(own_broker.url, CONFIGURATION) as gateway:
        told = {role: await get(gateway, "decopilot/allowed-models", role) for role in ("owner", "member", "viewer")}

    def tiers(*, fast: bool, others: bool) -> dict[str, Any]:
        return {"fast": HAIKU | {"allowed": fast}} | dict.fromkeys(("smart", "thinking"), GPT | {"allowed": others})

    some = {"anthropic": ["*"], "demo": ["demo"], "openai": ["gpt-4"]}
    assert {
        "owner": {"allowAll": True, "models": {}, "tiers": tiers(fast=True, others=True)},
        "member": {"allowAll": False, "models": some, "tiers": tiers(fast=True, others=False)},
        "viewer": {"allowAll": False, "models": {}, "tiers": tiers(fast=False, others=False)},
    } == told


async def test_agents_are_listed_with_what_they_decide(own_broker: EmbeddedBroker) -> None:
    async with running_gateway(own_broker.url, CONFIGURATION) as gateway:
        told = await get(gateway, "decopilot/agents", "viewer")
    default = {"id": "default", "title": "default", "description": "", "tier": "smart", "toolApprovalLevel": "auto"}
    support = {
        "id": "support",
        "title": "Support",
        "description": "Knows the orders.",
        "tier": "fast",
        "toolApprovalLevel": "readonly",
    }
    assert {"agents": [default, support], "modes": ["default", "plan"]} == told


async def test_what_may_not_be_chosen_is_refused_by_a_code_of_its_own(own_broker: EmbeddedBroker) -> None:
    text = {"type": "text", "text": "Hello"}
    file = {"type": "file", "mediaType": "image/png", "url": "https://example.com/a.png"}
    port = free_port()

    def body(*parts: dict[str, str], **more: object) -> dict[str, Any]:
        return {"messages": [{"id": "m1", "role": "user", "parts": [*(parts or (text,))]}], **more}

    asked = [
        body(agent={"id": "poet"}),
        body(mode="gen-image"),
        body(tier="smart"),
        body(file, agent={"id": "support"}),
        body(agent={"id": "support"}),
    ]
    async with (
        running(build(as_user(Settings(nats_url=own_broker.url, health_port=port), "command"), CONFIGURATION), port),
        running_gateway(own_broker.url, CONFIGURATION) as gateway,
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {make_token(orgs={ORG: 'member'})}"}) as session,
    ):
        answers = []
        for one in asked:
            async with session.post(f"{gateway.url}/{ORG}/decopilot/threads/t1/messages", json=one) as got:
                answers.append((got.status, (await got.json()).get("code")))
    assert [
        (404, "agent_not_found"),
        (400, "tier_unavailable"),
        (403, "model_not_allowed"),
        (422, "files_not_supported"),
        (202, None),
    ] == answers
