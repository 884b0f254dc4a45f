"""Outbound: HTTP to public addresses, unless more is allowed; what was checked is connected to (ADR 0041)."""

import asyncio
import errno
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

Address = IPv4Address | IPv6Address

_NAT64 = IPv6Network("64:ff9b::/96")
_UNICAST = IPv6Network("2000::/3")
_LOCALHOST = "localhost"


class ForbiddenAddressError(OSError):
    """A host is, or is at, an address that is not public, and that nobody allowed."""

    def __init__(self, host: str, address: str) -> None:
        self.host, self.address = host, address
        where = "is" if host == address else f"is at {address}, which is"
        super().__init__(errno.EACCES, f"{host} {where} no public address, and private_hosts does not allow it")


@dataclass(frozen=True, slots=True)
class Reach:
    """What may be connected to: every public address, and beyond these some hosts and networks."""

    hosts: frozenset[str] = frozenset()
    networks: tuple[str, ...] = ()

    @classmethod
    def of(cls, allowed: Iterable[str]) -> Self:
        """Read names, addresses and networks such as `10.1.0.0/16`."""
        entries = [entry.lower() for entry in allowed]
        networks = tuple(entry for entry in entries if "/" in entry)
        return cls(frozenset(_canonical(entry) for entry in entries if "/" not in entry), networks)

    def with_literal(self, host: str | None) -> Self:
        """Allow a host, too, that the operator wrote down, if what it stands for is no matter of name servers."""
        host = _canonical(host or "")
        is_fixed = host == _LOCALHOST or _literal(host) is not None
        return type(self)(self.hosts | {host}, self.networks) if is_fixed else self

    def check(self, host: str, address: str) -> None:
        """Check an address that a host has.

        Raises:
            ForbiddenAddressError: it may not be connected to.

        """
        found = _literal(address)
        if _canonical(host) in self.hosts or (found is not None and self._holds(found)):
            return
        raise ForbiddenAddressError(host, address)

    async def addresses(self, host: str, port: int) -> list[str]:
        """Look a host up; all that it has may be connected to.

        Raises:
            OSError: it has none, or one that is forbidden.

        """
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(where[0]) for *_, where in found))
        for address in addresses:
            self.check(host, address)
        return addresses

    def _holds(self, address: Address) -> bool:
        return is_public(address) or any(address in ip_network(network, strict=False) for network in self.networks)


def is_public(address: Address) -> bool:
    """Tell whether an address is one of the open internet; an IPv6 address that stands for an IPv4 one is as that."""
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address not in _UNICAST or not all(
            is_public(one) for one in (address.sixtofour, *(address.teredo or ())) if one
        ):
            return False
    return address.is_global and not address.is_multicast


def is_numeric(host: str) -> bool:
    """Tell whether a host is one that no name server is asked about: `127.1` is an address to whoever connects."""
    return ":" in host or host.replace(".", "").isdigit()


def outbound_session(allowed: Iterable[str] = (), **more: Any) -> aiohttp.ClientSession:  # noqa: ANN401  aiohttp's own
    """Make a session for addresses that somebody else chose: a model, a user, a page that links to others.

    It connects to public addresses, and to those `allowed` (names, addresses, networks), redirects included; for any
    other it raises `aiohttp.ClientConnectorError` before anything is sent.
    """
    return session_within(Reach.of(allowed), **more)


def session_within(reach: Reach, **more: Any) -> aiohttp.ClientSession:  # noqa: ANN401  aiohttp's own
    """Make a session that connects to nothing beyond its reach."""

    async def check_literal(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        # Of every hop; aiohttp asks no resolver about what is an address already.
        host = request.url.host or ""
        if is_numeric(host):
            try:
                reach.check(host, host)
            except ForbiddenAddressError as error:
                raise aiohttp.ClientConnectorError(request.connection_key, error) from error
        return await handler(request)

    connector = aiohttp.TCPConnector(resolver=_Resolver(reach), use_dns_cache=False)
    return aiohttp.ClientSession(connector=connector, middlewares=(check_literal,), **more)


class _Resolver(AbstractResolver):
    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._inner = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        for one in found:
            self._reach.check(host, one["host"])
        return found

    async def close(self) -> None:
        await self._inner.close()


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host.partition("%")[0].strip("[]"))
    except ValueError:
        return None


def _canonical(host: str) -> str:
    host = host.lower().rstrip(".")
    literal = _literal(host)
    return host if literal is None else str(literal)
