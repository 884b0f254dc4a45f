"""What an operator decides in `decopilot.toml`: agents, models, providers, tools, who may use what, automations."""

import re
from typing import Annotated, Any, Self, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from decopilot.contracts.commands import Role, Visibility
from decopilot.contracts.ids import ID_PATTERN, Org
from decopilot.contracts.messages import ApprovalLevel, Mode, Tier

DEMO = "demo"
"""The model that needs no key and no network."""
DEFAULT_AGENT = "default"
TIERS: tuple[Tier, ...] = get_args(Tier)
OPTIONAL_TIERS: frozenset[Tier] = frozenset({"image", "web_research"})
"""Tiers that `model` does not stand in for: what they are for, not every model can do."""


def _of_form(pattern: str, wanted: str) -> AfterValidator:
    form = re.compile(pattern)

    def check(text: str) -> str:
        if form.fullmatch(text) is None:
            msg = f"wanted is {wanted}"
            raise ValueError(msg)
        return text

    return AfterValidator(check)


ModelName = Annotated[str, _of_form(r"demo|[A-Za-z0-9_.-]+:\S{1,200}", "`demo`, or `provider:model`")]
"""`demo`, or `provider:model`, where the provider is one of pydantic-ai's or has a table of its own."""
ImportPath = Annotated[str, _of_form(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", "`package.module:name`")]
"""`package.module:name`."""
Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
"""Name of an environment variable. Keys and tokens are named, never written down."""
Name = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
AutomationName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,32}$")]
"""It is part of its threads' ids."""


class _Table(BaseModel):
    """A table of the file: a key that nobody knows is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelEntry(_Table):
    """The model of a tier. A line with just its name is short for a table with nothing else."""

    model: ModelName
    title: str | None = None
    vision: bool = True
    """Whether it reads images and documents."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Settings that pydantic-ai knows for it, such as `max_tokens`."""


def _whole(entry: object) -> object:
    return {"model": entry} if isinstance(entry, str) else entry


TierEntry = Annotated[ModelEntry, BeforeValidator(_whole)]


class Provider(_Table):
    """Where models are: one that pydantic-ai knows by the table's name, or any OpenAI-compatible `base_url`."""

    type: str | None = None
    """Name of a provider of pydantic-ai whose API this one speaks; its own name if that is one, else OpenAI's."""
    base_url: str | None = Field(default=None, pattern=r"^https?://\S+$")
    api_key_env: Variable | None = None


class McpServer(_Table):
    """An MCP server: a program that is started (`command`, stdio), or an address (`url`, streamable HTTP)."""

    command: str | None = None
    args: tuple[str, ...] = ()
    env: dict[Variable, Variable] = Field(default_factory=dict)
    """The program's variables, each with the name of ours that it is taken from."""
    url: str | None = Field(default=None, pattern=r"^https?://\S+$")
    headers_env: dict[str, Variable] = Field(default_factory=dict)
    """Headers of its requests, each with the name of the variable that holds its value."""
    trust_hints: bool = True
    """Whether a tool is believed that says it only reads."""
    timeout_s: float = Field(default=30.0, gt=0, le=600)

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.command is None) == (self.url is None):
            raise ValueError("needs either a command or a url")  # noqa: TRY003
        return self


class AgentEntry(_Table):
    """An agent: the default one with instructions and tools of its own, or one's own by its import path."""

    title: str | None = None
    description: str = ""
    instructions: str = ""
    agent: ImportPath | None = None
    """An agent as docs/agents.md describes it, or a `pydantic_ai.Agent`, in place of the default one."""
    tier: Tier = "smart"
    approval: ApprovalLevel = "auto"
    tools: tuple[ImportPath, ...] = ()
    mcp: tuple[Name, ...] = ()
    steps: int = Field(default=30, ge=1, le=1_000)
    subtask_steps: int = Field(default=15, ge=1, le=1_000)
    tool_timeout_s: float = Field(default=300.0, gt=0, le=86_400)


class Search(_Table):
    """A search endpoint for `web_search`; `{query}` in its address is what is searched for."""

    url: str = Field(pattern=r"^https?://\S*\{query\}\S*$")
    api_key_env: Variable | None = None
    """Sent as bearer token."""
    headers_env: dict[str, Variable] = Field(default_factory=dict)
    """Headers of its requests, each with the name of the variable that holds its value."""


class Automation(_Table):
    """A message that is posted on a fresh thread, at times (`schedule`, cron) or when it is fired."""

    org: Org
    message: Annotated[str, StringConstraints(min_length=1, max_length=100_000)]
    schedule: str | None = None
    timezone: str = "UTC"
    agent: str = DEFAULT_AGENT
    tier: Tier | None = None
    mode: Mode = "default"
    at_once: int = Field(default=3, ge=1, le=1_000)
    """So many of its runs at a time; one that would be more is skipped."""
    time_limit_s: float = Field(default=300.0, gt=0, le=86_400)
    visibility: Visibility = "org"
    """Who reads its threads: all of the org, or with `private` the org's owners only."""
    is_active: bool = Field(default=True, alias="active")


class Configuration(_Table):
    """The whole file; all of it may be left out."""

    model: ModelName = DEMO
    """What a tier without a line of its own uses."""
    agent: ImportPath | None = None
    """An agent of one's own in place of the default one."""
    tiers: dict[Tier, TierEntry] = Field(default_factory=dict)
    providers: dict[Name, Provider] = Field(default_factory=dict)
    agents: dict[Name, AgentEntry] = Field(default_factory=dict)
    mcp: dict[Name, McpServer] = Field(default_factory=dict)
    search: Search | None = None
    roles: dict[Role, tuple[str, ...]] = Field(default_factory=dict)
    """The models that a role may use: names, `provider:*`, `*`. A role without a line may use all; with none, none."""
    automations: dict[AutomationName, Automation] = Field(default_factory=dict)
    titles: bool = True
    """Whether the `fast` tier gives new threads their titles."""

    @model_validator(mode="after")
    def _refers_to_what_is_there(self) -> Self:
        for name, agent in self.agents.items():
            for server in agent.mcp:
                if server not in self.mcp:
                    msg = f"agents.{name}.mcp: there is no [mcp.{server}]"
                    raise ValueError(msg)
        for name, automation in self.automations.items():
            if automation.agent not in self.agents and automation.agent != DEFAULT_AGENT:
                msg = f"automations.{name}.agent: there is no [agents.{automation.agent}]"
                raise ValueError(msg)
            if automation.tier is not None and self.tier_entry(automation.tier) is None:
                msg = f"automations.{name}.tier: there is no model for the tier {automation.tier}"
                raise ValueError(msg)
        return self

    def agent_entry(self, agent_id: str) -> AgentEntry | None:
        """Find an agent; the default one is always there."""
        entry = self.agents.get(agent_id)
        if agent_id != DEFAULT_AGENT:
            return entry
        entry = entry or AgentEntry()
        return entry if entry.agent else entry.model_copy(update={"agent": self.agent})

    def tier_entry(self, tier: Tier) -> ModelEntry | None:
        """Find the model of a tier; None where it has none."""
        entry = self.tiers.get(tier)
        if entry is None and tier not in OPTIONAL_TIERS:
            return ModelEntry(model=self.model)
        return entry
