"""The HTTP client of MCP servers: it connects to the address that was checked, and to no other host."""

from collections.abc import Callable
from typing import Any

import httpx2
from httpx2 import URL

from decopilot.agent.outbound import Reach

CONNECT_S, SILENCE_S = 30.0, 300.0
_PORTS = {"http": 80, "https": 443}

ClientFactory = Callable[..., httpx2.AsyncClient]


class CheckedTransport(httpx2.AsyncBaseTransport):
    """Sends requests for one host to the addresses that it has at this moment, if they are within reach."""

    def __init__(self, reach: Reach, host: str) -> None:
        self._reach = reach
        self._host = host
        self._inner = httpx2.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request.

        Raises:
            httpx2.ConnectError: its host is another one, can't be found, or has an address that is out of reach.

        """
        host = request.url.host
        if host != self._host:
            msg = f"{host} is not {self._host}"
            raise httpx2.ConnectError(msg, request=request)
        try:
            addresses = await self._reach.addresses(host, request.url.port or _PORTS[request.url.scheme])
        except OSError as error:
            raise httpx2.ConnectError(error.strerror or str(error), request=request) from error
        for address in addresses[:-1]:
            try:
                return await self._send(request, address)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                continue
        return await self._send(request, addresses[-1])

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()

    async def _send(self, request: httpx2.Request, address: str) -> httpx2.Response:
        # The certificate, and the server, are asked for by name all the same.
        there = httpx2.Request(
            request.method,
            request.url.copy_with(host=address),
            headers=request.headers,
            stream=request.stream,
            extensions=request.extensions | {"sni_hostname": request.url.host},
        )
        return await self._inner.handle_async_request(there)


def client_factory(url: str, reach: Reach) -> ClientFactory:
    """Make what makes clients for a server; redirects are followed by the MCP SDK, within the server's origin."""
    host = URL(url).host

    def make(
        headers: dict[str, str] | None = None,
        timeout: httpx2.Timeout | None = None,
        auth: httpx2.Auth | None = None,
        **_: Any,  # noqa: ANN401  what other versions may add
    ) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            headers=headers,
            timeout=timeout or httpx2.Timeout(CONNECT_S, read=SILENCE_S),
            auth=auth,
            transport=CheckedTransport(reach.with_literal(host), host),
        )

    return make
