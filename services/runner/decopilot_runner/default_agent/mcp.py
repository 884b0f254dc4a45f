"""Tools of MCP servers: a run has sessions of its own, the lists of what there is are shared by all runs."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog
from pydantic_ai import RunContext
from pydantic_ai.exceptions import ToolFailed
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.toolsets import AbstractToolset, ToolsetTool
from pydantic_core import SchemaValidator, core_schema, to_json

from decopilot.agent.outbound import Reach
from decopilot.contracts.chunks import MCP_UNAVAILABLE, Chunk
from decopilot.contracts.configuration import McpServer
from decopilot.kit.configuration import read_variable
from decopilot_runner.default_agent.mcp_session import Link, McpServerError, Session
from decopilot_runner.default_agent.progress import ToolProgress
from decopilot_runner.default_agent.tool_names import apart

LIST_S = 300.0
"""So long is a list of tools believed."""
FAILED_S = 10.0
"""So long is a server that failed left alone."""
SCHEMA_BYTES = 64 * 1024
DESCRIPTION_LENGTH = 8_000
_ARGS = SchemaValidator(core_schema.dict_schema(core_schema.str_schema(), core_schema.any_schema()))

log = structlog.get_logger()


@dataclass(slots=True)
class _Listing:
    """The last list of a server's tools, or why there is none; several wait for the same one."""

    tools: Sequence[ToolDefinition] = ()
    error: McpServerError | None = None
    until: float = 0.0
    looking: asyncio.Task[None] | None = None


class McpServers:
    """The MCP servers of a runner.

    Raises:
        MissingVariableError: a variable that one of them names is not set.

    """

    def __init__(self, servers: Mapping[str, McpServer], private_hosts: Sequence[str] = ()) -> None:
        reach = Reach.of(private_hosts)
        self._links = {name: _link(name, server, reach) for name, server in servers.items()}
        self._listings = {name: _Listing() for name in servers}
        self._held: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def opened(self, names: Sequence[str], taken: Collection[str]) -> AsyncGenerator["McpTools", None]:
        """Give the tools of some servers to a run, none of them under a name that is taken; its sessions end with it.

        A server that can't be used is left out.
        """
        sessions = {name: Session(self._links[name], self._held) for name in names}
        try:
            found = await asyncio.gather(*(self._listing(name, session) for name, session in sessions.items()))
            listings = dict(zip(names, found, strict=True))
            yield McpTools(
                sessions,
                _named({name: listing.tools for name, listing in listings.items()}, taken),
                [listing.error for listing in found if listing.error is not None],
            )
        finally:
            for name, session in sessions.items():
                self._close(session, self._listings[name].looking)

    async def closed(self) -> None:
        """Wait until every session has ended that is to."""
        while self._held:
            await asyncio.wait(self._held)

    async def _listing(self, name: str, session: Session) -> _Listing:
        listing = self._listings[name]
        if listing.until <= asyncio.get_running_loop().time():
            if listing.looking is None or listing.looking.done():
                # By the session of a run that may need it soon.
                listing.looking = asyncio.create_task(self._look(name, listing, session), name=f"mcp tools of {name}")
            # Not this run's alone: others wait for it too.
            await asyncio.shield(listing.looking)
        return listing

    async def _look(self, name: str, listing: _Listing, session: Session) -> None:
        loop = asyncio.get_running_loop()
        try:
            listing.tools, listing.error = _definitions(self._links[name], await session.tools()), None
            listing.until = loop.time() + LIST_S
        except McpServerError as error:
            listing.tools, listing.error = (), error
            listing.until = loop.time() + FAILED_S

    def _close(self, session: Session, looking: asyncio.Task[None] | None) -> None:
        if looking is None or looking.done():
            session.close()
        else:
            looking.add_done_callback(lambda _: session.close())


@dataclass
class McpTools(AbstractToolset[Any]):
    """The tools of one run, by the names that its model knows: each is a server's, under a name there."""

    sessions: Mapping[str, Session]
    tools: Mapping[str, tuple[str, ToolDefinition]]
    missing: Sequence[McpServerError] = field(default_factory=tuple)

    @property
    def id(self) -> str | None:
        """It has none: what it holds differs from run to run."""
        return None

    async def get_tools(self, ctx: RunContext[Any]) -> dict[str, ToolsetTool[Any]]:
        """Give the tools."""
        return {
            name: ToolsetTool(
                toolset=self,
                tool_def=ToolDefinition(
                    name=name,
                    description=tool.description,
                    parameters_json_schema=tool.parameters_json_schema,
                    metadata=tool.metadata,
                ),
                max_retries=ctx.max_retries,
                args_validator=_ARGS,
            )
            for name, (_, tool) in self.tools.items()
        }

    def notices(self) -> list[Chunk]:
        """Tell viewers which tools are missing; told again, it stands in the place of what was told before."""
        return [
            {"type": MCP_UNAVAILABLE, "id": error.server, "data": {"server": error.server, "text": str(error)}}
            for error in self.missing
        ]

    async def get_instructions(self, ctx: RunContext[Any]) -> str | None:
        """Tell the model which tools are missing, so that it does not make up what they would have said."""
        _ = ctx
        lines = [f"{error} Its tools are missing." for error in self.missing]
        return "\n".join(lines) or None

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[Any], tool: ToolsetTool[Any]
    ) -> object:
        """Call a tool at its server."""
        _ = tool
        server, there = self.tools[name]

        async def tell(progress: float, total: float | None, message: str | None) -> None:
            await ctx.emit(ToolProgress(progress=progress, total=total, message=message))

        try:
            return await self.sessions[server].call(there.name, tool_args, tell)
        except McpServerError as error:
            raise ToolFailed(str(error)) from error


def _link(name: str, server: McpServer, reach: Reach) -> Link:
    needed_by = f"[mcp.{name}]"
    return Link(
        name,
        server,
        reach,
        env={theirs: read_variable(ours, needed_by=needed_by) for theirs, ours in server.env.items()},
        headers={header: read_variable(ours, needed_by=needed_by) for header, ours in server.headers_env.items()},
    )


def _definitions(link: Link, listed: Sequence[Mapping[str, Any]]) -> list[ToolDefinition]:
    found: dict[str, ToolDefinition] = {}
    for tool in listed:
        name, schema = tool["name"], tool["inputSchema"]
        if not name or name in found or len(to_json(schema)) > SCHEMA_BYTES:
            log.warning("mcp_tool_left_out", server=link.name, tool=name[:100])
            continue
        found[name] = ToolDefinition(
            name=name,
            description=(tool.get("description") or "")[:DESCRIPTION_LENGTH],
            parameters_json_schema=schema,
            metadata={"annotations": tool.get("annotations") if link.server.trust_hints else None},
        )
    return list(found.values())


def _named(
    listed: Mapping[str, Sequence[ToolDefinition]], taken: Collection[str]
) -> dict[str, tuple[str, ToolDefinition]]:
    names = apart({server: [tool.name for tool in tools] for server, tools in listed.items()}, taken)
    return {names[server, tool.name]: (server, tool) for server, tools in listed.items() for tool in tools}
