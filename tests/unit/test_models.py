from typing import Any

import pytest

from decopilot.agent import AgentError
from decopilot.contracts.configuration import Configuration
from decopilot.contracts.messages import RunConfig
from decopilot.kit.program import ConfigurationError
from decopilot_runner.default_agent.models import Models, run_settings
from decopilot_runner.default_agent.providers import IDLE_S, NO_KEY

KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_BASE_URL", "CORP_KEY")
OLLAMA = {"ollama": {"base_url": "http://127.0.0.1:11434/v1"}}


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in KEYS:
        monkeypatch.delenv(key, raising=False)


def models(**told: Any) -> Models:  # noqa: ANN401  as TOML has it
    return Models(Configuration.model_validate(told))


def client(made: Models, name: str) -> Any:  # noqa: ANN401  of another SDK each
    return made.named(name).client  # type: ignore[attr-defined]


async def test_a_provider_is_known_by_its_name_and_takes_its_usual_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-anthropic")
    made = models()

    assert ("openai", "gpt-5") == (made.named("openai:gpt-5").system, made.named("openai:gpt-5").model_name)
    assert "sk-openai" == client(made, "openai:gpt-5").api_key
    assert "sk-anthropic" == client(made, "anthropic:claude-haiku-4-5").api_key
    await made.close()


async def test_a_model_at_an_address_of_ones_own_needs_no_key() -> None:
    made = models(providers={"lab": {"base_url": "http://lab.example/v1"}, **OLLAMA})

    for name in ("lab:qwen3", "ollama:llama3:8b"):
        assert str(client(made, name).base_url).endswith("/v1/")
    assert "lab" == made.named("lab:qwen3").system
    assert "llama3:8b" == made.named("ollama:llama3:8b").model_name
    await made.close()


async def test_the_usual_key_is_never_sent_to_somebody_elses_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    corp = {"type": "openai", "base_url": "http://corp.example/v1"}

    assert NO_KEY == client(models(providers={"corp": corp}), "corp:m").api_key
    assert NO_KEY == client(models(providers={"corp": {"base_url": "http://c.example/v1"}}), "corp:m").api_key
    monkeypatch.setenv("CORP_KEY", "sk-corp")
    assert "sk-corp" == client(models(providers={"corp": {**corp, "api_key_env": "CORP_KEY"}}), "corp:m").api_key


async def test_models_of_one_provider_share_a_client_that_is_closed_at_the_end() -> None:
    made = models(providers=OLLAMA)
    http = [client(made, f"ollama:{name}")._client for name in ("a", "b")]  # noqa: SLF001  the SDK shows it nowhere

    assert http[0] is http[1]
    await made.close()
    assert http[0].is_closed


async def test_settings_are_those_of_the_tier_behind_those_of_all() -> None:
    made = models(
        providers=OLLAMA, tiers={"fast": "ollama:m", "smart": {"model": "ollama:m", "settings": {"max_tokens": 5}}}
    )

    usual = {"max_retries": 0, "timeout": IDLE_S}
    assert {**usual, "max_tokens": 5} == made.of_run(RunConfig(tier="smart")).settings
    assert usual == made.of_run(RunConfig(tier="fast", model="ollama:m")).settings
    assert made.of_run(RunConfig(tier="smart")) is made.of_run(RunConfig(tier="smart", model="ollama:m"))


async def test_a_run_keeps_the_model_that_it_was_promised() -> None:
    made = models(providers=OLLAMA, tiers={"smart": "ollama:new"})

    assert "old" == made.of_run(RunConfig(tier="smart", model="ollama:old")).model_name
    with pytest.raises(AgentError, match="model_unavailable"):
        made.of_run(RunConfig(tier="smart", model="gone:old"))
    with pytest.raises(AgentError, match="tier_unavailable"):
        made.of_run(RunConfig(tier="image"))


@pytest.mark.parametrize(
    ("name", "providers", "says"),
    [
        ("openia:gpt-5", {}, "provider openia: unknown; did you mean openai"),
        ("labs:m", {"lab": {"base_url": "http://lab.example/v1"}}, "did you mean lab"),
        ("corp:m", {"corp": {"type": "antropic"}}, "provider corp: unknown; did you mean anthropic"),
        ("corp:m", {"corp": {"type": "openai-chat"}}, "provider corp: needs a base_url"),
        ("openai:gpt-5", {}, "provider openai: set the `OPENAI_API_KEY` environment variable"),
        ("anthropic:m", {}, "provider anthropic: set the `ANTHROPIC_API_KEY` environment variable"),
        ("corp:m", {"corp": {"base_url": "http://c.example", "api_key_env": "CORP_KEY"}}, "CORP_KEY, which is not set"),
        ("deepseek:m", {"deepseek": {"base_url": "http://d.example", "api_key_env": "PATH"}}, "takes no base_url"),
        ("groq:m", {}, "pip install 'decopilot\\[groq\\]'"),
        ("google:gemini-3-flash", {}, "pip install 'decopilot\\[google\\]'"),
    ],
)
def test_what_is_wrong_is_said_so_that_it_can_be_mended(name: str, providers: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        models(providers=providers).named(name)


async def test_a_temperature_is_asked_for_only_where_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "x")
    thinking = {"model": "anthropic:claude-haiku-4-5", "settings": {"thinking": True}}
    made = models(tiers={"thinking": thinking}, providers=OLLAMA)
    config = RunConfig(temperature=0.7)

    assert {"temperature": 0.7} == run_settings(made.named("ollama:m"), config)
    # An agent of one's own asks what it asks.
    assert {} == run_settings(None, config)
    for name in ("openai:gpt-5", "anthropic:claude-opus-4-8", "anthropic:claude-haiku-4-5"):
        assert {} == run_settings(made.named(name), config), name
