"""A session with an MCP server: opened when it is first needed, by a task of its own, and dropped when it is broken."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TextIO

import structlog
from fastmcp.client.transports import ClientTransport, StdioTransport, StreamableHttpTransport
from mcp_types import CONNECTION_CLOSED
from pydantic import ValidationError
from pydantic_ai.exceptions import ModelRetry, ToolFailed
from pydantic_ai.mcp import MCPToolset

from decopilot.agent.outbound import Reach
from decopilot.contracts.configuration import McpServer
from decopilot_runner.default_agent.mcp_client import client_factory

UNREACHABLE = "can't be reached"
NO_LIST = "gives no list of its tools"
SILENT = "did not answer within {timeout_s:g} s"
LOST = "went away while it was called"
IN_DOUBT = "; whether the call had an effect is not known"
SAID_BYTES = 2_000
"""So much of what a program said last is kept for the operator, should it fail."""

Progress = Callable[[float, float | None, str | None], Awaitable[None]]

log = structlog.get_logger()


class McpServerError(Exception):
    """A server can't be used; its text is for model and user."""

    def __init__(self, server: str, what: str) -> None:
        self.server, self.what = server, what
        super().__init__(f"The MCP server {server} {what}.")


@dataclass(frozen=True, slots=True)
class Link:
    """How a server is reached; its secrets are read from the environment already."""

    name: str
    server: McpServer
    reach: Reach
    env: dict[str, str] = field(default_factory=dict, repr=False)
    headers: dict[str, str] = field(default_factory=dict, repr=False)

    def transport(self, said: TextIO) -> ClientTransport:
        """Make what carries one session. A program gets no variables but those named, `PATH`, `HOME` and the like."""
        if self.server.command is not None:
            args = list(self.server.args)
            return StdioTransport(self.server.command, args, env=self.env, keep_alive=False, log_file=said)
        url = str(self.server.url)
        return StreamableHttpTransport(url, self.headers, httpx_client_factory=client_factory(url, self.reach))


class Session:
    """One session at a time over a link, in a task of its own among those `held`: users may be cancelled anywhere."""

    def __init__(self, link: Link, held: set[asyncio.Task[None]]) -> None:
        self._link = link
        self._held = held
        self._holding: asyncio.Task[None] | None = None
        self._opened: asyncio.Future[MCPToolset[Any]] | None = None
        self._closing = asyncio.Event()
        self._progress: set[Progress] = set()

    async def tools(self) -> list[dict[str, Any]]:
        """List the server's tools, in their wire form.

        Raises:
            McpServerError: it can't be reached, does not answer in time, or gives no list.

        """
        toolset = await self._open()
        try:
            async with asyncio.timeout(self._link.server.timeout_s):
                listed = await toolset.list_tools()
        except TimeoutError as error:
            raise self._silent() from error
        except Exception as error:
            log.warning("mcp_tools_not_listed", server=self._link.name, error=_brief(error))
            raise McpServerError(self._link.name, NO_LIST) from error
        return [tool.model_dump(mode="json", by_alias=True) for tool in listed]

    async def call(self, tool: str, args: dict[str, Any], progress: Progress) -> object:
        """Call a tool.

        Raises:
            McpServerError: the server is not there, or went meanwhile, or does not answer in time.
            ToolFailed: the tool says that it failed, or the server refuses the call.

        """
        toolset = await self._open()
        self._progress.add(progress)
        try:
            async with asyncio.timeout(self._link.server.timeout_s):
                return await toolset.direct_call_tool(tool, args)
        except TimeoutError as error:
            if len(self._progress) == 1:
                # It may hang for good, and nobody else is served.
                self.close()
            raise self._silent(IN_DOUBT) from error
        except ToolFailed:
            raise
        except ModelRetry as error:
            if getattr(error.__cause__, "code", None) == CONNECTION_CLOSED:
                raise self._lost(error) from error
            raise ToolFailed(error.message) from error
        except Exception as error:
            raise self._lost(error) from error
        finally:
            self._progress.discard(progress)

    def close(self) -> None:
        """Have the session end; its program is asked to, then made to."""
        self._closing.set()
        self._holding = self._opened = None

    async def _open(self) -> MCPToolset[Any]:
        if self._holding is None or self._holding.done() or self._opened is None:
            self._closing = asyncio.Event()
            self._opened = asyncio.get_running_loop().create_future()
            # Nobody may wait for it any more when it fails.
            self._opened.add_done_callback(lambda opened: opened.cancelled() or opened.exception())
            self._holding = asyncio.create_task(self._hold(self._opened, self._closing), name=f"mcp {self._link.name}")
            self._held.add(self._holding)
            self._holding.add_done_callback(self._held.discard)
        try:
            async with asyncio.timeout(self._link.server.timeout_s):
                return await asyncio.shield(self._opened)
        except TimeoutError as error:
            if self._holding is not None:
                self._holding.cancel()
            self.close()
            raise self._silent() from error

    async def _hold(self, opened: asyncio.Future[MCPToolset[Any]], closing: asyncio.Event) -> None:
        said = _Said()
        toolset = MCPToolset[Any](
            self._link.transport(said.to),
            id=self._link.name,
            max_retries=0,
            tool_error_behavior="failed",
            progress_handler=self._tell,
            init_timeout=self._link.server.timeout_s,
            read_timeout=None,
        )
        try:
            async with toolset:
                if not opened.done():
                    opened.set_result(toolset)
                await closing.wait()
        except Exception as error:  # noqa: BLE001  whatever a server or its transport does wrong
            log.warning("mcp_session_failed", server=self._link.name, error=_brief(error), said=said.last())
            if not opened.done():
                opened.set_exception(McpServerError(self._link.name, UNREACHABLE))
        finally:
            said.close()

    async def _tell(self, progress: float, total: float | None, message: str | None) -> None:
        # What comes says nothing of the call that it belongs to.
        if len(self._progress) == 1:
            await next(iter(self._progress))(progress, total, message)

    def _silent(self, then: str = "") -> McpServerError:
        return McpServerError(self._link.name, SILENT.format(timeout_s=self._link.server.timeout_s) + then)

    def _lost(self, error: Exception) -> McpServerError:
        log.warning("mcp_session_lost", server=self._link.name, error=_brief(error.__cause__ or error))
        self.close()
        return McpServerError(self._link.name, LOST + IN_DOUBT)


def _brief(error: BaseException) -> str:
    """Say what is wrong, without what a server sent."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return repr(error)


class _Said:
    """What a program says on its standard error; only the last of it is kept."""

    def __init__(self) -> None:
        self._reader, writer = os.pipe()
        os.set_blocking(self._reader, False)
        self.to: TextIO = os.fdopen(writer, "w")
        self._last = b""
        asyncio.get_running_loop().add_reader(self._reader, self._read)

    def last(self) -> str:
        """Give it."""
        self._read()
        return self._last.decode(errors="replace").strip()

    def close(self) -> None:
        """Listen no more."""
        asyncio.get_running_loop().remove_reader(self._reader)
        os.close(self._reader)
        self.to.close()

    def _read(self) -> None:
        while True:
            try:
                said = os.read(self._reader, 65_536)
            except BlockingIOError:
                return
            if not said:
                return
            self._last = (self._last + said)[-SAID_BYTES:]
