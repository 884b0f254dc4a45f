"""Choosing: what a run is done with, and what speaks against it."""

from typing import Any

import pytest

from decopilot.contracts.commands import Role
from decopilot.contracts.configuration import Configuration
from decopilot.contracts.ids import MessageId
from decopilot.contracts.messages import AskedConfig, RunConfig, UIMessage
from decopilot.domain.choosing import check_still, choose, is_allowed
from decopilot.domain.commands import RefusedError

TEXT = {"type": "text", "text": "Look!"}
FILE = {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,AA=="}
CONFIGURATION = Configuration.model_validate(
    {
        "model": "openai:gpt-5",
        "tiers": {
            "fast": {"model": "openai:gpt-5-mini", "vision": False},
            "thinking": "anthropic:opus",
            "image": "openai:gpt-image",
        },
        "agents": {
            "support": {"tier": "fast", "approval": "readonly"},
            "own": {"agent": "my_pkg.bots:own", "tier": "web_research"},
        },
        "roles": {"member": ["anthropic:*", "openai:gpt-5-mini"], "viewer": []},
    }
)


def message(*parts: dict[str, Any]) -> UIMessage:
    return UIMessage(id=MessageId("m1"), role="user", parts=[*(parts or (TEXT,))])


def chosen(role: Role = "owner", *parts: dict[str, Any], **asked: object) -> RunConfig:
    return choose(CONFIGURATION, AskedConfig.model_validate(asked), role, message(*parts))


def refused(role: Role = "owner", *parts: dict[str, Any], **asked: object) -> tuple[str, str]:
    with pytest.raises(RefusedError) as refusal:
        chosen(role, *parts, **asked)
    return refusal.value.code, refusal.value.detail


def test_what_is_left_open_is_as_the_agent_has_it() -> None:
    config = chosen(agent_id="support")
    wanted = ("support", "fast", "openai:gpt-5-mini", "owner", "default", "readonly", 0.5)
    assert wanted == (
        config.agent_id,
        config.tier,
        config.model,
        config.role,
        config.mode,
        config.tool_approval_level,
        config.temperature,
    )
    assert ("smart", "openai:gpt-5", "auto") == (chosen().tier, chosen().model, chosen().tool_approval_level)


def test_what_is_asked_for_comes_before_what_the_agent_has() -> None:
    config = chosen(
        "member",
        agent_id="support",
        tier="thinking",
        tool_approval_level="auto",
        temperature=0,
        mode="plan",
        window_size=3,
        instructions=["Be brief."],
        time_limit_s=9,
    )
    assert (
        RunConfig(
            agent_id="support",
            tier="thinking",
            model="anthropic:opus",
            role="member",
            mode="plan",
            temperature=0,
            window_size=3,
            instructions=("Be brief.",),
            time_limit_s=9,
        )
        == config
    )


def test_an_image_is_made_by_the_tier_for_images_whatever_is_asked_for() -> None:
    assert ("image", "openai:gpt-image") == (chosen(mode="gen-image").tier, chosen(mode="gen-image", tier="fast").model)


def test_an_agent_that_is_not_there_is_refused_by_name() -> None:
    assert ("agent_not_found", 'There is no agent "poet".') == refused(agent_id="poet")


def test_a_tier_without_a_model_is_refused_by_name() -> None:
    code, detail = refused(tier="web_research")
    assert "tier_unavailable" == code
    assert detail.startswith('No model available for tier "web_research". ')


@pytest.mark.parametrize("asked", [{}, {"mode": "gen-image"}])
def test_a_model_that_the_role_may_not_use_is_refused(asked: dict[str, object]) -> None:
    assert "model_not_allowed" == refused("member", **asked)[0]


@pytest.mark.parametrize(
    ("allowed", "may"),
    [
        (None, True),
        ([], False),
        (["*"], True),
        (["openai:*"], True),
        (["openai:gpt-5"], True),
        (["openai:gpt-5-mini", "anthropic:*"], False),
        (["open:*", "openai", "gpt-5", "openai:"], False),
    ],
)
def test_a_role_without_a_line_may_use_all_models_and_one_with_an_empty_line_none(
    allowed: list[str] | None, *, may: bool
) -> None:
    roles = {} if allowed is None else {"member": allowed, "owner": allowed}
    configuration = Configuration.model_validate({"roles": roles})
    assert may is is_allowed(configuration, "openai:gpt-5", "member")
    assert is_allowed(configuration, "openai:gpt-5", "viewer")
    assert is_allowed(configuration, "openai:gpt-5", "owner")


def test_the_demo_model_is_allowed_by_its_name() -> None:
    assert is_allowed(Configuration.model_validate({"roles": {"member": ["demo"]}}), "demo", "member")


def test_files_for_a_model_that_reads_none_are_refused() -> None:
    assert "files_not_supported" == refused("owner", TEXT, FILE, tier="fast")[0]
    assert "openai:gpt-5" == chosen("owner", TEXT, FILE).model


def test_what_is_said_of_models_does_not_bind_an_agent_of_ones_own() -> None:
    config = chosen("viewer", FILE, agent_id="own")
    assert (None, "web_research") == (config.model, config.tier)


def test_a_run_goes_on_with_the_model_that_its_tier_had() -> None:
    begun = chosen("owner", tier="thinking")
    check_still(Configuration(), begun)
    check_still(CONFIGURATION, RunConfig(agent_id="own"))


@pytest.mark.parametrize(
    ("now", "code"),
    [({"roles": {"member": []}}, "model_not_allowed"), ({"agents": {"support": {}}}, None), ({}, "agent_not_found")],
)
def test_a_run_goes_on_only_while_its_agent_is_there_and_its_role_may_use_its_model(
    now: dict[str, Any], code: str | None
) -> None:
    begun = chosen("member", agent_id="support")
    configuration = Configuration.model_validate({"agents": {"support": {}}} | now if now else {})
    if code is None:
        check_still(configuration, begun)
    else:
        with pytest.raises(RefusedError) as refusal:
            check_still(configuration, begun)
        assert code == refusal.value.code
